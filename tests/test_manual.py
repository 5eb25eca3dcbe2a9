"""The programs of the manual's pages run as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPECTED = {
    "workers": [
        "charge completed {'receipt': '5 ct', 'attempt': 1}",
        "charge discarded None",
        "Nightly discarded None",
    ],
    "scheduling": ["report of today", "weekly 0 4 * * SUN", "report of sunday"],
    "encryption": ["{'card': '4111'} {'customer': 'Ada'} charged 4111", "jobs cannot be filtered by args"],
    "telemetry": ["add None -> available", "add available -> executing", "add executing -> completed"],
}


@pytest.mark.parametrize("page", EXPECTED)
def test_the_program_of_a_page_runs_and_prints_what_it_should(page: str, tmp_path: Path) -> None:
    """Copied into a file of its own and run by a fresh interpreter."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    programs = re.findall(r"^<!-- run -->\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(programs) == text.count("```python")
    for program in programs:
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
    for words in EXPECTED[page]:
        assert words in done.stdout
