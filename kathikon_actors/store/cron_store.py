"""Cron entries in a store: kept, changed, and fired so that each tick makes one job.

A tick is settled by moving the entry's `last_tick` in the transaction that inserts its job, from the very value that
it was reckoned from. The row is locked for that, so of two leaders that fire the same tick one waits and then finds it
settled: entry and `last_tick` together are the key of which there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.cron import StoredCron
from kathikon_actors.jobs.record import Record

__all__ = ["CronChange", "CronStore", "Firing", "ids_of"]


@dataclass(frozen=True)
class CronChange:
    """What is to be different about an entry; `None` leaves it.

    Attributes:
        now: microseconds since 1970; ticks until then are settled, so that nothing is made up for.
    """

    now: int
    expression: str | None = None
    timezone: str | None = None
    catch_up: str | None = None
    template: str | None = None
    paused: bool | None = None


@dataclass(frozen=True)
class Firing:
    """Ticks of one entry that are to be settled, and their jobs.

    Attributes:
        revision: the one of the entry that they were reckoned from, with its `last_tick`, which is `after`.
        until: microseconds since 1970: they are those later than `after` and not later than this.
        jobs: one for each that is to make one; none when all were missed.
    """

    name: str
    revision: int
    after: int
    until: int
    jobs: tuple[Record, ...]


class CronStore(Protocol):
    """The part of a store that keeps cron entries."""

    async def cron_version(self) -> int:
        """Give a number that is another one after any entry was changed by hand."""
        ...

    async def load_crons(self) -> list[StoredCron]:
        """Give every entry, by name; what they say is not checked."""
        ...

    async def declare_crons(self, rows: Sequence[StoredCron], now: int) -> None:
        """Store what an app declares: new entries, and those whose declaration is another one than before.

        One that was only marked with an older key is the same, and is marked anew.
        Their ticks count from `now`, microseconds since 1970, unless the expression is the same as before.
        """

    async def add_cron(self, row: StoredCron, now: int) -> bool:
        """Store a new entry whose ticks count from `now`; false when there is one of this name."""
        ...

    async def change_cron(self, name: str, change: CronChange) -> bool:
        """Change an entry; false when there is none of this name."""
        ...

    async def remove_cron(self, name: str) -> bool:
        """Remove an entry; false when there is none of this name."""
        ...

    async def fire_crons(self, firings: Sequence[Firing]) -> dict[str, tuple[bytes, ...]]:
        """Settle ticks and insert their jobs, owned by nobody, in one transaction.

        Gives, of each entry for which it was done, the ids of the jobs of its ticks: of a unique job that has its like,
        the id of that one. Left out are entries that are paused, changed, removed, or have these ticks settled already.
        """
        ...

    async def insert_job(self, job: Record) -> Answer:
        """Insert the job of an entry that is run by hand, owned by nobody, unless it is unique and has its like."""
        ...


def ids_of(firing: Firing, answers: Mapping[bytes, Answer]) -> tuple[bytes, ...]:
    """Give the ids of the jobs of a firing's ticks, as the store answered; see `CronStore.fire_crons`."""
    stored = (answers[job.id].record or job for job in firing.jobs)
    return tuple(record.id for record in stored)
