"""How figures are printed: a table for people, or one JSON list of rows."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterable
from typing import Literal, TypedDict

__all__ = ["Row", "print_rows", "row"]


class Row(TypedDict):
    """One figure: `floor` is what the machine gave for the bare operation in the same run, `ratio` value by floor."""

    figure: str
    value: float
    unit: str
    goal: float | None
    better: Literal["higher", "lower"]
    floor: float | None
    peer: float | None
    ratio: float | None


def row(
    figure: str,
    value: float,
    unit: str,
    *,
    goal: float | None = None,
    better: Literal["higher", "lower"] = "higher",
    floor: float | None = None,
    peer: float | None = None,
) -> Row:
    """Make a row; the ratio is value by floor."""
    return {
        "figure": figure,
        "value": _round(value),
        "unit": unit,
        "goal": goal,
        "better": better,
        "floor": None if floor is None else _round(floor),
        "peer": None if peer is None else _round(peer),
        "ratio": None if not floor else round(value / floor, 2),
    }


def print_rows(rows: Iterable[Row], *, as_json: bool) -> None:
    """Print to stdout."""
    rows = list(rows)
    if as_json:
        json.dump(rows, sys.stdout, indent=1)
        print()
        return
    build = " ".join(platform.python_build())
    print(f"Python {platform.python_version()} ({build}, {platform.python_compiler()}) on {platform.machine()}")
    print(_line("figure", "value", "unit", "goal", "floor", "peer", "ratio"))
    for r in rows:
        numbers = (
            _cell(r["value"]),
            r["unit"],
            _cell(r["goal"]),
            _cell(r["floor"]),
            _cell(r["peer"]),
            _cell(r["ratio"]),
        )
        print(_line(r["figure"], *numbers))


def _line(figure: str, value: str, unit: str, goal: str, floor: str, peer: str, ratio: str) -> str:
    return f"{figure:58} {value:>11} {unit:8} {goal:>9} {floor:>10} {peer:>9} {ratio:>6}"


def _round(value: float) -> float:
    return round(value) if abs(value) >= 1000 else round(value, 3)


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
