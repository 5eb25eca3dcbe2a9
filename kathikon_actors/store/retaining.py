"""Putting away what has ended, on a Postgres connection, a batch at a time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from kathikon_actors.jobs import json
from kathikon_actors.store.external import give_back_expired
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import is_heard, note_moved

if TYPE_CHECKING:
    from kathikon_actors.jobs.retention import Retention
    from kathikon_actors.store.connection import Raw

__all__ = ["BATCH", "Pruned", "RetentionStore", "promote", "prune", "tidy"]

BATCH: Final = 1_000
"""Rows of one statement."""

MOST: Final = 100
"""Batches of one round: the connection is free for others in between, and a round ends."""

PROMOTED_AT_ONCE: Final = 10_000


@dataclass(frozen=True)
class Pruned:
    """What one round of pruning did.

    Attributes:
        archived: jobs that moved to the archive.
        deleted: jobs that were deleted from it.
    """

    archived: int = 0
    deleted: int = 0


class RetentionStore(Protocol):
    """The part of a store that puts away what has ended. Safe to call by several at once: each row moves once."""

    async def prune(self, retention: Retention) -> Pruned:
        """Do one round: at most `MOST` batches of each kind."""
        ...

    async def tidy(self) -> None:
        """Add counters up, forget commands that were answered long ago, and workers that no node has any more."""

    async def promote(self) -> int:
        """Make rows that nobody owns and that are due available; give how many."""
        ...


async def prune(raw: Raw, retention: Retention) -> Pruned:
    """See `RetentionStore.prune`."""
    archived = await _batches(raw, "archive", retention.archive_after)
    deleted = await _batches(raw, "delete_archived", retention.delete_after)
    return Pruned(archived, deleted)


async def _batches(raw: Raw, name: str, seconds: float | None) -> int:
    total = 0
    if seconds is not None:
        for _ in range(MOST):
            number = int((await raw.execute(statement(name), float(seconds), BATCH)).rpartition(" ")[2])
            total += number
            if number < BATCH:
                break
    return total


async def tidy(raw: Raw) -> None:
    """See `RetentionStore.tidy`."""
    await raw.execute(statement("add_up_counts"))
    await raw.execute(statement("forget_commands"))
    await raw.execute(statement("forget_figures"))
    await raw.execute(statement("withdraw_workers"))
    await give_back_expired(raw, time.time_ns() // 1000)


async def promote(raw: Raw) -> int:
    """See `RetentionStore.promote`."""
    row = await raw.fetchrow(statement("promote"), PROMOTED_AT_ONCE, is_heard())
    assert row is not None
    note_moved("due", json.decode(row["moved"].encode()) if row["moved"] else (), "available")
    number: int = row["number"]
    return number
