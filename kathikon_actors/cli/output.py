"""Data on standard output, words on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence

__all__ = ["Output", "printable"]


class Output:
    """Where a command's answer goes.

    Attributes:
        json: data goes out as JSON, else as text for people.
    """

    def __init__(self) -> None:
        self.json = False

    def say(self, words: str) -> None:
        """Tell the user something that is not data."""
        print(printable(words), file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Print a line of data for people."""
        print(printable(text))

    def text(self, text: str) -> None:
        """Print a text as it is."""
        sys.stdout.write(text)

    def data(self, value: object) -> None:
        """Print JSON data, indented; a number that JSON has not, such as a timeout without end, is `null`."""
        print(_json(value, indent=2))

    def event(self, value: object) -> None:
        """Print JSON data on one line, at once: one of many to come."""
        print(_json(value), flush=True)

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table: with rich where that is installed and a terminal shows it, else as plain columns."""
        cells = [[printable(str(cell)) for cell in row] for row in rows]
        if sys.stdout.isatty() and _rich_table(headers, cells):
            return
        widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
        for line in (headers, *cells):
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _json(value: object, indent: int | None = None) -> str:
    import json

    try:
        return json.dumps(value, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent)


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def printable(text: str) -> str:
    """Escape what would move the cursor or colour the screen: what jobs hold comes from anywhere."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    try:
        from rich.box import SIMPLE_HEAD
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)
    return True
