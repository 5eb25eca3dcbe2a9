"""The part of the memory store that puts away what has ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.states import DUE_STATES
from kathikon_actors.store.memory_declarations import withdraw_workers
from kathikon_actors.store.retaining import Pruned

if TYPE_CHECKING:
    from kathikon_actors.jobs.retention import Retention
    from kathikon_actors.store.memory import MemoryData
    from kathikon_actors.telemetry.telling import Telling

__all__ = ["MemoryRetention"]


class MemoryRetention(ABC):
    """`RetentionStore` on a `MemoryData`."""

    data: MemoryData
    telling: Telling

    @abstractmethod
    async def _begin(self) -> None: ...

    async def prune(self, retention: Retention) -> Pruned:
        """See `Store.prune`."""
        await self._begin()
        data = self.data
        archived = deleted = 0
        if retention.archive_after is not None:
            before = data.clock() - int(retention.archive_after * 1e6)
            old = [record for record in data.finished.values() if (record.finished_at or 0) < before]
            for record in old:
                data.archived[record.id] = data.finished.pop(record.id)
            archived = len(old)
        if retention.delete_after is not None:
            before = data.clock() - int(retention.delete_after * 1e6)
            gone = [record.id for record in data.archived.values() if (record.finished_at or 0) < before]
            for job_id in gone:
                del data.archived[job_id]
            deleted = len(gone)
        return Pruned(archived, deleted)

    async def tidy(self) -> None:
        """See `Store.tidy`."""
        await self._begin()
        withdraw_workers(self.data)

    async def promote(self) -> int:
        """See `Store.promote`."""
        await self._begin()
        now = self.data.clock()
        due = [r for r in self.data.owned[None].values() if r.state in DUE_STATES and r.scheduled_at <= now]
        with self.telling.collect():
            for record in due:
                machine.promote(record, now)
        return len(due)
