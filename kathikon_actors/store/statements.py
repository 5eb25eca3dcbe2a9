"""The SQL statements of the Postgres store, each in a file of its own under `sql/`."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

__all__ = ["statement"]


@cache
def statement(name: str) -> str:
    """Give the text of `sql/<name>.sql`."""
    return (files("kathikon_actors.store") / "sql" / f"{name}.sql").read_text("utf-8")
