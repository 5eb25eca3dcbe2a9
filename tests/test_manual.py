"""The programs of the manual's pages run as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXPECTED = {
    "testing": [
        "completed INV-1 charged at attempt 3",
        "INV-2 charged at attempt 3",
        "{'completed': 1}",
        "42 after 1 cut",
        "8 at attempt 3",
        "audit: clean",
    ],
    "workers": [
        "charge completed {'receipt': '5 ct', 'attempt': 1}",
        "charge discarded None",
        "Nightly discarded None",
    ],
    "cookbook": [
        "completed True 3\ncard declined\n5000\n0\n",
        "the same job: True True",
        "discarded 2 3 ['api', 'sync']",
        "runs: 1 users\ncancelled: 3\ntotal: 15 100\ntenant: acme acme\n",
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
    assert len(programs) >= 1
    printed = ""
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
        printed += done.stdout
    for words in EXPECTED[page]:
        assert words in printed


@pytest.mark.parametrize("page", ["guarantees", "contract"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    """A promise whose proof was renamed or removed is found here."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^\s*(?:async )?def (test_[a-z0-9_]+)", file.read_text(), re.MULTILINE)
    }
    assert len(named) > 20
    assert not named - there
