"""Data on standard output: safe to show, as a table with rich or without."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from kathikon_actors.cli.output import Output, printable
from tests.cli.program import PROGRAM, Directory


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


ROWS = [("a", 1), ("[bold]b", "\x1b[2J")]


def test_what_would_move_the_cursor_is_escaped() -> None:
    """Line ends and letters of every language stay."""
    assert printable("κάθηκον\n\x1b[31m\x07\u202e") == "κάθηκον\n\\x1b[31m\\x07\\u202e"


def test_a_table_without_a_terminal_is_plain_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready for `cut` and `awk`; nothing is taken for markup."""
    monkeypatch.setattr(sys, "stdout", stdout := io.StringIO())
    Output().table(("name", "n"), ROWS)
    assert stdout.getvalue() == "name     n\na        1\n[bold]b  \\x1b[2J\n"


def test_a_terminal_gets_a_table_of_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same cells."""
    pytest.importorskip("rich")
    monkeypatch.setattr(sys, "stdout", stdout := Terminal())
    Output().table(("name", "n"), ROWS)
    assert "─" in stdout.getvalue() and "[bold]b" in stdout.getvalue() and "\x1b[2J" not in stdout.getvalue()


def test_a_terminal_without_rich_gets_the_plain_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rich is an extra."""
    for name in ("rich", "rich.box", "rich.console", "rich.table", "rich.text"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "stdout", stdout := Terminal())
    Output().table(("name", "n"), ROWS)
    assert stdout.getvalue().startswith("name     n\n")


def test_a_reader_that_goes_away_is_no_error(place: Directory) -> None:
    """As with `| head -1`."""
    process = subprocess.Popen(
        [*PROGRAM, "schema", "sql"], cwd=place.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(30), err) == (0, b"")


def test_a_number_without_end_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has no word for it."""
    output = Output()
    value = {"timeout": float("inf"), "args": {"x": [1.5, float("nan")]}}
    output.data(value)
    output.event(value)
    indented, line = capsys.readouterr().out.rsplit("\n}\n", 1)
    for text in (indented + "\n}", line):
        assert json.loads(text, parse_constant=pytest.fail) == {"timeout": None, "args": {"x": [1.5, None]}}
