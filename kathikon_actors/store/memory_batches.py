"""The part of the memory store that keeps jobs which hang together; see `GraphStore`."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING

import trio

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.batch import BatchRecord
from kathikon_actors.jobs.errors import BatchClosed, BatchNotFound, UniqueConflict
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.commands import Requested
from kathikon_actors.store.memory_graph import MOST_READY, Home
from kathikon_actors.telemetry.telling import counts_of, note_batch, note_inserted

if TYPE_CHECKING:
    from kathikon_actors.jobs.composing import Answer
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.graph import TakeReady
    from kathikon_actors.store.memory_data import MemoryData, MemoryNode
    from kathikon_actors.store.protocol import Membership
    from kathikon_actors.telemetry.telling import Telling

__all__ = ["MemoryBatches", "MemoryGraphStore"]


def _nobody(_queue: str) -> None:
    return None


class MemoryGraphStore(ABC):
    """A `GraphStore` in memory; `MemoryStore` is the rest."""

    data: MemoryData
    telling: Telling
    _ready_queues: Collection[str] = ()
    _take_ready: TakeReady | None = None

    @property
    def batches(self) -> MemoryBatches:
        """See `GraphStore.batches`."""
        return MemoryBatches(self.data, self.telling, self._hand_out)

    def attach_ready(self, queues: Collection[str], take: TakeReady) -> None:
        """See `GraphStore.attach_ready`."""
        self._ready_queues, self._take_ready = queues, take

    async def commit_composed(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,  # noqa: ARG002 it is always looked for here
        unowned: Collection[bytes] = (),
    ) -> dict[bytes, Answer]:
        """See `GraphStore.commit_composed`."""
        records = [copy(record) for record in records]
        await self._begin()
        node = self._member(membership)
        left: set[str] = set()

        def put(record: Record) -> Record:
            free = record.id in unowned
            if free:
                left.add(record.queue)
            return self.data.add(record, None if free else membership.node)

        with self.telling.collect(later=True):
            answers = self.data.graph.insert(self.data, records, put, _nobody)
        node.batches["inserts"] = batch
        self._tell(left)
        self._hand_out()
        return answers

    async def insert_composed(self, records: Sequence[Record], *, whole: bool = False) -> dict[bytes, Answer]:
        """See `GraphStore.insert_composed`."""
        await self._begin()
        refused = self.data.graph.refusals(self.data, records) if whole else {}
        if refused:
            return refused
        return self.compose(records)

    def compose(self, records: Sequence[Record]) -> dict[bytes, Answer]:
        """Store new rows that nobody owns, at once; tell everybody."""

        def put(record: Record) -> Record:
            self.data.told.add(record.queue)
            note_inserted([record])
            return self.data.add(record, None)

        with self.telling.collect():
            answers = self.data.graph.insert(self.data, records, put, _nobody)
        self._hand_out()
        return answers

    def _home(self, membership: Membership) -> Home:
        """Give what tells the owner of a job that a commit of this node makes ready."""
        left = MOST_READY

        def home(queue: str) -> str | None:
            nonlocal left
            left -= 1
            return membership.node if left >= 0 and queue in self._ready_queues else None

        return home

    def _hand_out(self) -> None:
        """Tell of what became ready."""
        ready, self.data.graph.ready = self.data.graph.ready, []
        if ready and self._take_ready is not None:
            self._take_ready([copy(record) for record in ready])
        queues, self.data.told = frozenset(self.data.told), set()
        if queues:
            for wake in list(self.data.listeners.values()):
                wake(queues)

    @abstractmethod
    async def _begin(self) -> None: ...

    @abstractmethod
    def _member(self, membership: Membership) -> MemoryNode: ...

    @abstractmethod
    def _tell(self, queues: set[str]) -> None: ...


class MemoryBatches:
    """A `BatchStore` in memory."""

    def __init__(self, data: MemoryData, telling: Telling, hand_out: Callable[[], None]) -> None:
        self._data = data
        self._telling = telling
        self._hand_out = hand_out

    async def open(self, batch: BatchRecord) -> None:
        """See `BatchStore.open`."""
        await trio.lowlevel.checkpoint()
        batches = self._data.graph.batches
        if batch.id in batches:
            return
        if batch.outer_id is not None:
            outer = batches.get(batch.outer_id)
            if outer is None:
                raise BatchNotFound(as_uuid(batch.outer_id))
            if outer.sealed_at is not None:
                raise BatchClosed(as_uuid(batch.outer_id))
            outer.total += 1
        batches[batch.id] = copy(batch)
        with self._telling.collect():
            note_batch(batch.id, "opened")
        if batch.parent_id is not None:
            self._data.graph.opened.setdefault(batch.parent_id, set()).add(batch.id)

    async def seal(self, batch_id: bytes) -> BatchRecord:
        """See `BatchStore.seal`."""
        await trio.lowlevel.checkpoint()
        data = self._data
        batch = self._get(batch_id)
        if batch.sealed_at is None:
            batch.sealed_at = data.clock()
            with self._telling.collect():
                note_batch(batch.id, "sealed", batch.total)
                data.graph.end(data, data.graph.resolve(data, batch, _nobody), _nobody)
            self._hand_out()
        return copy(batch)

    async def get(self, batch_id: bytes) -> BatchRecord | None:
        """See `BatchStore.get`."""
        await trio.lowlevel.checkpoint()
        batch = self._data.graph.batches.get(batch_id)
        return None if batch is None else copy(batch)

    async def find(self, after: bytes | None, limit: int) -> list[BatchRecord]:
        """See `BatchStore.find`."""
        await trio.lowlevel.checkpoint()
        batches = self._data.graph.batches
        ids = heapq.nlargest(limit, (batch_id for batch_id in batches if after is None or batch_id < after))
        return [copy(batches[batch_id]) for batch_id in ids]

    async def children(self, parent: bytes, after: bytes | None, limit: int) -> list[Record]:
        """See `BatchStore.children`."""
        await trio.lowlevel.checkpoint()
        data = self._data
        members = data.graph.members.get(parent)
        found: Iterable[Record | None] = (
            (data.live.get(job_id) or data.finished.get(job_id) for job_id in members)
            if members is not None
            else (r for r in (*data.live.values(), *data.finished.values()) if r.extra and r.extra.parent_id == parent)
        )
        there = (record for record in found if record is not None and (after is None or record.id > after))
        return [copy(record) for record in heapq.nsmallest(limit, there, key=lambda record: record.id)]

    async def retry_failed(self, batch_id: bytes, now: int) -> Requested:
        """See `BatchStore.retry_failed`."""
        await trio.lowlevel.checkpoint()
        with self._telling.collect():
            found = self._retry_failed(batch_id, Change("retry", now))
        self._hand_out()
        return found

    def _retry_failed(self, batch_id: bytes, change: Change) -> Requested:
        data, found = self._data, Requested()
        batch = self._get(batch_id)
        for job_id in sorted(data.graph.members.get(batch_id, ())):
            record = data.finished.get(job_id)
            if record is None or record.state == "completed":
                continue
            try:
                data.graph.retake(data, record, change)
            except UniqueConflict as error:
                found.errors[job_id] = error
                continue
            old = record.state
            change.apply(record)
            data.graph.gather(data, record)
            del data.finished[job_id]
            for around in data.graph.put_back(data.add(record, None), old):
                if around is not batch:
                    note_batch(around.id, "retried", *counts_of(around))
            data.told.add(record.queue)
            found.done.append(job_id)
        if found.done:
            note_batch(batch.id, "retried", *counts_of(batch))
        return found

    async def prune(self, before: int, limit: int) -> int:
        """See `BatchStore.prune`."""
        await trio.lowlevel.checkpoint()
        graph = self._data.graph
        old = [b.id for b in graph.batches.values() if b.resolved_at is not None and b.resolved_at < before][:limit]
        for batch_id in old:
            parent = graph.batches.pop(batch_id).parent_id
            if parent is not None:
                graph.opened[parent].discard(batch_id)
                if not graph.opened[parent]:
                    del graph.opened[parent]
            graph.members.pop(batch_id, None)
        with self._telling.collect():
            for batch_id in old:
                note_batch(batch_id, "pruned")
        return len(old)

    def _get(self, batch_id: bytes) -> BatchRecord:
        batch = self._data.graph.batches.get(batch_id)
        if batch is None:
            raise BatchNotFound(as_uuid(batch_id))
        return batch
