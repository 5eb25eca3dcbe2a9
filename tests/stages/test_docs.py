"""The manual page: its programs run, and its table of rules is the tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "stages.md"
PROGRAMS = PAGE.read_text().split("```python\n")[1:]
NUMBERS = list(range(182, 190))


def checklist() -> dict[int, list[str]]:
    """Return the tests of each number."""
    tests: dict[int, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for name, number in re.findall(r"^(?:async )?def (test_r(\d+)_\w+)", path.read_text(), re.MULTILINE):
            tests.setdefault(int(number), []).append(name)
    return tests


def table() -> str:
    """Return the table as the page must have it."""
    lines = ["| rule | test |", "|---|---|"]
    for number, names in sorted(checklist().items()):
        lines += [f"| R{number} | {name.split('_', 2)[2].replace('_', ' ')} |" for name in sorted(names)]
    return "\n".join(lines)


def test_docs_every_rule_of_stages_has_its_test() -> None:
    """R 182 to 189."""
    assert sorted(checklist()) == NUMBERS


def test_docs_the_table_is_up_to_date() -> None:
    """The page shows the tests that exist."""
    shown = PAGE.read_text().split("<!-- checklist: begin -->")[1].split("<!-- checklist: end -->")[0].strip()
    assert shown == table(), table()


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, ["[0, 1]", "[4, 9]", "[16, 25]"]),
        (1, ["fetched a", "fetched b", "fetched c"]),
        (2, ["4"]),
        (3, ["1", "2", "3", "4"]),
    ],
    ids=["a line of stages", "a child for each event", "snapshots", "actors in a node"],
)
def test_docs_the_programs_run_as_printed(number: int, shown: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Each prints what the page says or means."""
    code = PROGRAMS[number].split("```")[0]
    exec(compile(code, str(PAGE), "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    if number == 1:
        lines.sort()  # three tasks at the same time
    assert lines[: len(shown)] == shown
