"""Cron entries in memory; see `CronStore`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kathikon_actors.jobs.cron import StoredCron
from kathikon_actors.store.cron_store import CronChange, Firing, ids_of

if TYPE_CHECKING:
    from kathikon_actors.jobs.composing import Answer
    from kathikon_actors.jobs.record import Record

__all__ = ["CronData", "MemoryCrons"]


@dataclass
class CronData:
    """The entries that several stores share.

    Attributes:
        rows: by name.
        declared: the declaration that each came from.
        removed: names of declared entries that are not wanted.
    """

    version: int = 0
    rows: dict[str, StoredCron] = field(default_factory=dict)
    declared: dict[str, str] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)


class MemoryCrons:
    """`CronStore` on a `MemoryData`.

    Args:
        data: the entries.
        begin: raises `StoreUnavailable` when the store is closed.
        insert: stores jobs that nobody owns, and tells everybody; gives what became of each.
    """

    def __init__(
        self,
        data: CronData,
        begin: Callable[[], Awaitable[None]],
        insert: Callable[[Sequence[Record]], Mapping[bytes, Answer]],
    ) -> None:
        self._crons = data
        self._begin = begin
        self._insert = insert

    async def cron_version(self) -> int:
        """See `CronStore.cron_version`."""
        await self._begin()
        return self._crons.version

    async def load_crons(self) -> list[StoredCron]:
        """See `CronStore.load_crons`."""
        await self._begin()
        return [self._crons.rows[name] for name in sorted(self._crons.rows)]

    async def declare_crons(self, rows: Sequence[StoredCron], now: int) -> None:
        """See `CronStore.declare_crons`."""
        await self._begin()
        data = self._crons
        for row in rows:
            if data.declared.get(row.name) in (row.declaration, *row.older_declarations):
                data.declared[row.name] = row.declaration
                continue
            old = data.rows.get(row.name)
            same = old is not None and (old.expression, old.timezone) == (row.expression, row.timezone)
            data.declared[row.name] = row.declaration
            data.removed.discard(row.name)
            data.rows[row.name] = replace(
                row,
                declared=True,
                paused=old is not None and old.paused,
                revision=1 if old is None else old.revision + 1,
                last_tick=old.last_tick if old is not None and same else now,
            )
            data.version += 1

    async def add_cron(self, row: StoredCron, now: int) -> bool:
        """See `CronStore.add_cron`."""
        await self._begin()
        data = self._crons
        if row.name in data.rows:
            return False
        declared = row.name in data.removed
        data.removed.discard(row.name)
        data.version += 1
        data.rows[row.name] = replace(row, declared=declared, revision=1, last_tick=now)
        return True

    async def change_cron(self, name: str, change: CronChange) -> bool:
        """See `CronStore.change_cron`."""
        await self._begin()
        row = self._crons.rows.get(name)
        if row is None:
            return False
        given = {
            field: value
            for field in ("expression", "timezone", "catch_up", "template", "paused")
            if (value := getattr(change, field)) is not None
        }
        last = max(row.last_tick, change.now)
        self._crons.rows[name] = replace(row, **given, revision=row.revision + 1, last_tick=last)
        self._crons.version += 1
        return True

    async def remove_cron(self, name: str) -> bool:
        """See `CronStore.remove_cron`."""
        await self._begin()
        data = self._crons
        row = data.rows.pop(name, None)
        if row is None:
            return False
        if row.declared:
            data.removed.add(name)
        data.version += 1
        return True

    async def fire_crons(self, firings: Sequence[Firing]) -> dict[str, tuple[bytes, ...]]:
        """See `CronStore.fire_crons`."""
        await self._begin()
        rows = self._crons.rows
        settled: list[Firing] = []
        for firing in firings:
            row = rows.get(firing.name)
            if row is None or row.paused or row.revision != firing.revision or row.last_tick != firing.after:
                continue
            rows[firing.name] = replace(row, last_tick=firing.until)
            settled.append(firing)
        answers = self._insert([job for firing in settled for job in firing.jobs])
        return {firing.name: ids_of(firing, answers) for firing in settled}

    async def insert_job(self, job: Record) -> Answer:
        """See `CronStore.insert_job`."""
        await self._begin()
        return self._insert([job])[job.id]
