"""Broadcast queues of the memory store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kathikon_actors.jobs.broadcast import deliver
from kathikon_actors.store.broadcasts import BROADCASTS
from kathikon_actors.store.protocol import Membership
from kathikon_actors.telemetry.telling import Telling, note_inserted

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.memory_data import MemoryData, MemoryNode

__all__ = ["BroadcastData", "MemoryBroadcasts"]

_KEPT: Final = 86_400_000_000


@dataclass
class BroadcastData:
    """What stores share of their broadcast queues.

    Attributes:
        announced: queue and end of the window in microseconds since 1970, by id.
        deliveries: by announcement and node_id: the id of the node's job.
        jobs: those ids.
    """

    announced: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    deliveries: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    jobs: set[bytes] = field(default_factory=set)


class MemoryBroadcasts:
    """Broadcast queues in this process' memory.

    Args:
        data: what all stores share.
        begin: a checkpoint that raises when the store is closed.
        member: gives the row of a membership, or raises.
        telling: of the store.
    """

    def __init__(
        self,
        data: MemoryData,
        begin: Callable[[], Awaitable[None]],
        member: Callable[[Membership], MemoryNode],
        telling: Telling,
    ) -> None:
        self._telling = telling
        self._data = data
        self._begin = begin
        self._member = member

    async def announce(self, jobs: Sequence[tuple[bytes, str, float]]) -> None:
        """See `BroadcastStore.announce`."""
        await self._begin()
        for job_id, queue, window in jobs:
            self._data.broadcasts.announced.setdefault(job_id, (queue, self._data.clock() + int(window * 1e6)))
        self._data.tell_control(BROADCASTS)

    async def deliver(self, membership: Membership, queues: Sequence[str], limit: int) -> list[Record]:
        """See `BroadcastStore.deliver`."""
        await self._begin()
        node, data, now = self._member(membership), self._data, self._data.clock()
        broadcasts = data.broadcasts
        made: list[Record] = []
        for job_id, (queue, until) in broadcasts.announced.items():
            if queue not in queues or until <= now or (job_id, node.node_id) in broadcasts.deliveries:
                continue
            source = data.live.get(job_id) or data.finished.get(job_id)
            if source is not None and len(made) < limit:
                job = deliver(source, membership.node, now)
                broadcasts.deliveries[job_id, node.node_id] = job.id
                broadcasts.jobs.add(job.id)
                data.live[job.id] = data.owned[node.node_id][job.id] = copy(job)
                made.append(job)
        with self._telling.collect():
            note_inserted(made)
        return made

    async def sweep(self) -> int:
        """See `BroadcastStore.sweep`."""
        await self._begin()
        data, broadcasts = self._data, self._data.broadcasts
        live = {place for place, job_id in broadcasts.deliveries.items() if job_id in data.live}
        kept = {job_id for job_id, _ in live}
        over = [
            job_id
            for job_id, (_, until) in broadcasts.announced.items()
            if until + _KEPT < data.clock() and job_id not in kept
        ]
        for job_id in over:
            del broadcasts.announced[job_id]
            for place in [place for place in broadcasts.deliveries if place[0] == job_id]:
                broadcasts.jobs.discard(broadcasts.deliveries.pop(place))
        return len(over)
