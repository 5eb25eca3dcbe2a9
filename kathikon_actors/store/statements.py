"""The SQL statements of the Postgres store, each in a file of its own under `sql/`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["statement"]

_MEETS: Final = "/* meets */"
"""Stands for the conditions of a `Filter`, parameters 1 to 8, which several statements share."""


@cache
def statement(name: str) -> str:
    """Give the text of `sql/<name>.sql`."""
    text = _read(name)
    return text.replace(_MEETS, _read("meets").strip()) if _MEETS in text else text


def _read(name: str) -> str:
    return (files("kathikon_actors.store") / "sql" / f"{name}.sql").read_text("utf-8")
