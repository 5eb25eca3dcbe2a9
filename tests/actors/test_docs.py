"""The manual page: its programs run, and its table of rules is the tests that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "actors.md"
PROGRAMS = [block.split("```")[0] for block in PAGE.read_text().split("```python\n")[1:]]
NUMBERS = {*range(117, 170), 197, 198} - {161, 163, 164, 166}
"""161, 163, 164 and 166 are about the registry alone, and tested with `supervisors`."""

ONE_SIDED = {
    "test_m142": "task: the loop's own clock is turned",
    "test_n157": "process: tasks get no signal",
    "test_s197": "process: a task cannot be killed",
    "test_s198": "process: a task is no process",
}


def checklist() -> list[tuple[int, str, str]]:
    """Return number, name and where the actor lives, of each test."""
    tests: list[tuple[int, str, str]] = []
    for path in sorted(HERE.glob("test_group_*.py")):
        text = path.read_text()
        for name, number, parameters in re.findall(
            r"^(?:async )?def (test_[a-z](\d+)_\w+)\((.*?)\) -> None", text, re.MULTILINE | re.DOTALL
        ):
            both = "isolation: Isolation" in parameters
            tests.append((int(number), name, "task and process" if both else ONE_SIDED[name[:9]]))
    return sorted(tests)


def table() -> str:
    """Return the table as the page must have it."""
    lines = ["| rule | test | the actor as |", "|---|---|---|"]
    for number, name, where in checklist():
        lines.append(f"| {name[5].upper()}{number} | {name.split('_', 2)[2].replace('_', ' ')} | {where} |")
    return "\n".join(lines)


def test_docs_every_rule_of_actors_has_its_test() -> None:
    """L, M, N, P, what O means for actors' names, S 197 and 198."""
    assert {number for number, _, _ in checklist()} == NUMBERS


def test_docs_the_table_is_up_to_date() -> None:
    """The page shows the tests that exist, and which of them run once."""
    shown = PAGE.read_text().split("<!-- checklist: begin -->")[1].split("<!-- checklist: end -->")[0].strip()
    assert shown == table()


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "crash: ZeroDivisionError: integer division or modulo by zero"),
        (1, "w: crash: RuntimeError: broken"),
        (2, "THERE"),
    ],
    ids=["task and process", "monitors", "a subtree"],
)
def test_docs_the_programs_run(number: int, shown: str, tmp_path: Path) -> None:
    """As printed, as scripts: their classes are those of `__main__`."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAMS[number])
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PYTHONPATH": str(PAGE.parents[1]), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


def test_docs_has_three_programs() -> None:
    """All of them are run."""
    assert len(PROGRAMS) == 3
