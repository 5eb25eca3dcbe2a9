"""What the README shows runs as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
EXPECTED = {
    "import App, Job, Queue": ["completed {'receipt': 'INV-99: 1250 ct at attempt 1'}", "7", "queue billing", "zygote"],
    "import Actor, open_actor_system": ["15 15", "killed", "\n15"],
    "from supervisors": ["late is up", "clock running", "pool (one_for_all"],
}


@pytest.mark.parametrize("opening", EXPECTED)
def test_a_program_of_the_readme_runs_and_prints_what_it_should(opening: str, tmp_path: Path) -> None:
    """Copied into a file of its own and run by a fresh interpreter."""
    program = next(text for text in PROGRAMS if opening in text)
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
    for words in EXPECTED[opening]:
        assert words in done.stdout


def test_every_program_of_the_readme_is_run() -> None:
    """No example goes untested."""
    assert len(PROGRAMS) == len(EXPECTED)


@pytest.mark.parametrize("marker", ["main job", "tests"])
def test_the_two_commands_are_one_line_each_and_begin_with_nothing_but_python(marker: str) -> None:
    """The gate runs the second one as it stands here."""
    block = README.split(f"<!-- {marker} -->\n```sh\n")[1].split("```")[0]
    assert block.count("\n") == 1
    assert block.startswith("python3.11 -m venv .venv && ")


def test_every_document_that_is_linked_exists() -> None:
    """Links within the project lead somewhere, in the README and in the docs."""
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
