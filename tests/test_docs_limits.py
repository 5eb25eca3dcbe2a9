"""The program of docs/limits.md runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_program_of_the_limits_page_runs_and_prints_what_it_should(tmp_path: Path) -> None:
    """Copied into a file of its own and run by a fresh interpreter."""
    (program,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/limits.md").read_text(), re.MULTILINE | re.DOTALL)
    file = tmp_path / "shop.py"
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
        "paid INV-7",
        'queue "small" holds 2 jobs, its max_depth is 2; insert again later',
        "cleared prices",
    ]
