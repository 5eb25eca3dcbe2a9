"""Unique keys that jobs hold by their own rows: the usual kind, for which nothing is written elsewhere.

An index over the rows that hold keys keeps them unique. Everywhere such rows are inserted in the order of their keys,
so that two inserts never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.rows import pg_id

if TYPE_CHECKING:
    import asyncpg

__all__ = ["TRIES", "KeyTaken", "by_key", "is_of_key", "only_keys"]

TRIES: Final = 20
"""How often an insert decides anew because somebody took, or let go of, a key meanwhile; each time somebody got on."""

_INDEX: Final = "jobs_key"


class KeyTaken(KathikonError):
    """A key came to another job, or lost its job, since it was looked at: decide again, in another transaction."""


def is_of_key(error: asyncpg.UniqueViolationError) -> bool:
    """Tell whether it is about a unique key, and not about an id."""
    return error.constraint_name == _INDEX


def by_key(records: Sequence[Record]) -> list[Record]:
    """Give records in the order in which their rows are stored."""
    return sorted(records, key=_key)


def only_keys(records: Sequence[Record]) -> list[Any] | None:
    """Give the keys of records that have nothing to decide on but those, each once; else `None`."""
    keys = []
    for record in records:
        extra = record.extra
        if extra is None:
            continue
        if extra.batch_id is not None or extra.depends_on or not (extra.unique is None or extra.unique.is_simple):
            return None
        if extra.unique_key is not None:
            keys.append(extra.unique_key)
    return list(map(pg_id, keys)) if len(set(keys)) == len(keys) else None


def _key(record: Record) -> bytes:
    return (record.extra.unique_key or b"") if record.extra is not None else b""
