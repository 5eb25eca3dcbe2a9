"""The part of the memory store that knows of queues."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kathikon_actors.jobs.states import DUE_STATES
from kathikon_actors.store.queue_store import QUEUES, QueueChange, QueueSettings, RunningQueue

if TYPE_CHECKING:
    from kathikon_actors.jobs.queue import Queue
    from kathikon_actors.store.memory import MemoryData
    from kathikon_actors.store.protocol import Membership

__all__ = ["MemoryQueues"]


class MemoryQueues(ABC):
    """`QueueStore` on a `MemoryData`."""

    data: MemoryData

    @abstractmethod
    async def _begin(self) -> None: ...

    async def queue_settings(self) -> dict[str, QueueSettings]:
        """See `Store.queue_settings`."""
        await self._begin()
        return dict(self.data.queues)

    async def change_queue(self, change: QueueChange) -> QueueSettings:
        """See `Store.change_queue`."""
        await self._begin()
        was = self.data.queues.get(change.name, QueueSettings(change.name))
        now = self.data.queues[change.name] = QueueSettings(
            change.name,
            was.paused if change.paused is None else change.paused,
            was.concurrency if change.concurrency is None else change.concurrency or None,
            was.removed if change.removed is None else change.removed,
            was.declaration if change.declaration is None else change.declaration,
        )
        self.data.tell_control(QUEUES)
        return now

    async def pause_new(self, queues: Sequence[str]) -> None:
        """See `Store.pause_new`."""
        await self._begin()
        for name in queues:
            self.data.queues.setdefault(name, QueueSettings(name, paused=True))

    async def publish_queues(self, membership: Membership, queues: Iterable[Queue]) -> bool:
        """See `Store.publish_queues`."""
        await self._begin()
        self.data.node_queues[membership.node] = [
            RunningQueue(queue.name, membership.node, queue.concurrency, queue.processes) for queue in queues
        ]
        return True

    async def running_queues(self) -> list[RunningQueue]:
        """See `Store.running_queues`."""
        await self._begin()
        live = (self.data.node_queues.get(name, []) for name in self.data.nodes if self.data.is_alive(name))
        return sorted((queue for queues in live for queue in queues), key=lambda queue: (queue.queue, queue.node))

    async def is_due(self, queues: Sequence[str] | None) -> bool:
        """See `Store.is_due`."""
        await self._begin()
        now = self.data.clock()
        return any(
            (queues is None or record.queue in queues)
            and (
                record.state in ("available", "executing")
                or (record.state in DUE_STATES and record.scheduled_at <= now)
            )
            for record in self.data.live.values()
        )
