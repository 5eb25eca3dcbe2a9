"""The manual page: its program runs, and its table of rules is the tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "supervision.md"
NUMBERS = [*range(1, 117), *range(159, 167), *range(170, 182), *range(190, 199)]


def checklist() -> dict[int, str]:
    """Return the test of each number."""
    tests: dict[int, str] = {}
    for path in sorted(HERE.glob("test_group_*.py")):
        letter = path.stem[-1]
        for name, number in re.findall(rf"^(?:async )?def (test_{letter}(\d+)_\w+)", path.read_text(), re.MULTILINE):
            assert int(number) not in tests, f"{number} is tested twice"
            tests[int(number)] = name
    return tests


def table() -> str:
    """Return the table as the page must have it."""
    lines = ["| rule | test |", "|---|---|"]
    for number, name in sorted(checklist().items()):
        letter, words = re.fullmatch(r"test_([a-z])\d+_(\w+)", name).groups()  # type: ignore[union-attr]
        lines.append(f"| {letter.upper()}{number} | {words.replace('_', ' ')} |")
    return "\n".join(lines)


def test_docs_every_rule_has_its_test() -> None:
    """One a number; those of actors, stages and processes are elsewhere."""
    assert sorted(checklist()) == NUMBERS


def test_docs_the_table_is_up_to_date() -> None:
    """The page shows the tests that exist."""
    page = PAGE.read_text()
    shown = page.split("<!-- checklist: begin -->")[1].split("<!-- checklist: end -->")[0].strip()
    assert shown == table()


def test_docs_the_first_program_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """As printed."""
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    exec(compile(code, str(PAGE), "exec"), {"__name__": "__main__"})
    assert "└── late running" in capsys.readouterr().out
