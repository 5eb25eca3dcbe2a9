"""The program of docs/composing.md runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_program_prints_what_the_page_promises(tmp_path: Path) -> None:
    """Copied into a file of its own and run by a fresh interpreter."""
    page = (ROOT / "docs" / "composing.md").read_text()
    program = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[-1]
    file = tmp_path / "hang_together.py"
    file.write_text(program)
    done = subprocess.run(
        [sys.executable, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "total 12", "rebuilt for the third reason", "succeeded", "100 of 100", "all squared",
    ]  # fmt: skip
