"""Cron entries in a store: kept, changed, and fired so that each tick makes one job.

A tick is settled by moving the entry's `last_tick` in the transaction that inserts its job. The row is locked for
that, so of two leaders that fire the same tick one waits and then finds it settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kathikon_actors.jobs.cron import StoredCron
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.outside import insert_rows
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = [
    "CronChange",
    "CronStore",
    "Firing",
    "add_cron",
    "change_cron",
    "cron_version",
    "declare_crons",
    "fire_crons",
    "load_crons",
    "remove_cron",
]


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
        revision: the one of the entry that they were reckoned from.
        tick: microseconds since 1970, the last one of them.
        jobs: one for each that is to make one; none when all were missed.
    """

    name: str
    revision: int
    tick: int
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

    async def fire_crons(self, firings: Sequence[Firing]) -> set[str]:
        """Settle ticks and insert their jobs, owned by nobody, in one transaction; give the entries it was done for.

        Left out are entries that are paused, changed, removed, or have these ticks settled already.
        """
        ...


async def cron_version(raw: Raw) -> int:
    """See `CronStore.cron_version`."""
    version: int = await raw.fetchval(statement("cron_version"))
    return version


async def load_crons(raw: Raw) -> list[StoredCron]:
    """See `CronStore.load_crons`."""
    return [StoredCron(*row) for row in await raw.fetch(statement("load_crons"))]


async def declare_crons(raw: Raw, rows: Sequence[StoredCron], now: int) -> None:
    """See `CronStore.declare_crons`."""
    columns = (
        [row.name for row in rows],
        [row.expression for row in rows],
        [row.timezone for row in rows],
        [row.catch_up for row in rows],
        [row.template for row in rows],
        [row.declaration for row in rows],
    )
    async with raw.transaction():
        if await raw.fetch(statement("declare_crons"), *columns, now):
            await raw.execute(statement("cron_raise_version"))


async def add_cron(raw: Raw, row: StoredCron, now: int) -> bool:
    """See `CronStore.add_cron`."""
    given = (row.name, row.expression, row.timezone, row.catch_up, row.template, now)
    return await _change(raw, "add_cron", *given)


async def change_cron(raw: Raw, name: str, change: CronChange) -> bool:
    """See `CronStore.change_cron`."""
    given = (change.expression, change.timezone, change.catch_up, change.template, change.paused, change.now)
    return await _change(raw, "change_cron", name, *given)


async def remove_cron(raw: Raw, name: str) -> bool:
    """See `CronStore.remove_cron`."""
    return await _change(raw, "remove_cron", name)


async def fire_crons(raw: Raw, firings: Sequence[Firing]) -> set[str]:
    """See `CronStore.fire_crons`."""
    columns = ([f.name for f in firings], [f.revision for f in firings], [f.tick for f in firings])
    async with raw.transaction():
        settled = {row[0] for row in await raw.fetch(statement("fire_crons"), *columns)}
        await insert_rows(raw, [job for firing in firings if firing.name in settled for job in firing.jobs])
    return settled


async def _change(raw: Raw, name: str, *given: object) -> bool:
    async with raw.transaction():
        done = bool(await raw.fetch(statement(name), *given))
        if done:
            await raw.execute(statement("cron_raise_version"))
        return done
