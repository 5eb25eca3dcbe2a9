"""The store that keeps everything in this process: for tests, for trying things out, and for jobs that may be lost.

It keeps the same promises as the Postgres store but one: nothing survives the process. Every method does its work
without a checkpoint in between, so each one is a transaction.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import copy
from operator import itemgetter

import trio

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import (
    AlreadyExists,
    StoreUnavailable,
)
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.keypath import partition_of
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES, State
from kathikon_actors.store.memory_batches import MemoryGraphStore
from kathikon_actors.store.memory_commands import MemoryCommands
from kathikon_actors.store.memory_crons import MemoryCrons
from kathikon_actors.store.memory_data import MemoryData, MemoryNode, stored, wall_clock
from kathikon_actors.store.memory_declarations import MemoryDeclarations
from kathikon_actors.store.memory_figures import MemoryFigures
from kathikon_actors.store.memory_queues import MemoryQueues
from kathikon_actors.store.memory_retention import MemoryRetention
from kathikon_actors.store.memory_sealed import MemorySealed
from kathikon_actors.store.memorybroadcasts import MemoryBroadcasts
from kathikon_actors.store.memorylimits import MemoryLimits
from kathikon_actors.store.memorymembers import MemoryMembers
from kathikon_actors.store.protocol import (
    CLAIMABLE_STATES,
    MAX_PAGE,
    Changed,
    Counts,
    Lane,
    Membership,
    Page,
    Unowned,
    key_of,
)
from kathikon_actors.store.snapshots import MemorySnapshotStore
from kathikon_actors.telemetry.telling import Telling, note_inserted

__all__ = ["MemoryData", "MemoryNode", "MemoryStore", "wall_clock"]


class MemoryStore(
    MemoryMembers,
    MemoryQueues,
    MemoryRetention,
    MemoryFigures,
    MemoryCommands,
    MemoryDeclarations,
    MemoryGraphStore,
):
    """A `Store` in this process' memory.

    Args:
        data: share the rows of another `MemoryStore`, as a second connection would; `None` for rows of its own.

    Example:
        ```python
        store = MemoryStore()
        await store.open()
        membership = await store.join("node-1", lease=30)
        ```
    """

    url = "memory:"
    post = None

    def __init__(self, data: MemoryData | None = None) -> None:
        self.data = MemoryData() if data is None else data
        self._open = False
        self.telling = Telling()
        self.broadcasts = MemoryBroadcasts(self.data, self._begin, self._member, self.telling)
        self.limits = MemoryLimits(self.data, self._begin, self._member)
        self.snapshots = MemorySnapshotStore(self.data, self._begin)

    async def open(self) -> None:
        """Begin to answer."""
        await trio.lowlevel.checkpoint()
        self._open = True

    async def close(self) -> None:
        """Answer no more, and let go of the names that were joined through this store; the rows stay in `data`."""
        self._open = False
        self.data.listeners.pop(self, None)
        self.data.limits.listeners.pop(self.limits, None)
        for listeners in self.data.control.values():
            listeners.pop(id(self), None)
        for node in self.data.nodes.values():
            if node.session is self:
                node.session = None
        await trio.lowlevel.checkpoint()

    async def commit_inserts(
        self,
        membership: Membership,
        batch: int,
        records: Sequence[Record],
        *,
        may_conflict: bool,
        unowned: Collection[bytes] = (),
    ) -> set[bytes]:
        """See `Store.commit_inserts`."""
        await self._begin()
        node = self._member(membership)
        data = self.data
        existed: dict[bytes, Record] = {}
        for record in records:
            found = data.known(record.id)
            if found is not None:
                existed[record.id] = found
        if existed and not may_conflict:
            raise AlreadyExists(as_uuid(next(iter(existed))))
        conflicts, left = set(), set()
        for record in records:
            before = existed.get(record.id)
            free = record.id in unowned
            if before is None:
                data.add(record, None if free else membership.node)
                if free:
                    left.add(record.queue)
            elif before.inserted_at != record.inserted_at or not (free or before.node == membership.node):
                conflicts.add(record.id)
        node.batches["inserts"] = batch
        self._tell(left)
        return conflicts

    async def commit_outcomes(self, membership: Membership, batch: int, records: Sequence[Record]) -> set[bytes]:
        """See `Store.commit_outcomes`."""
        # Copied first: they go on changing while this task waits for its turn.
        written = [(record.fence, copy(record)) for record in records]
        for _, record in written:
            record.fence, record.dirty, record.node = record.attempt, False, membership.node
            record.durability = "commit"
        await self._begin()
        node = self._member(membership)
        data = self.data
        owned = data.owned[node.node_id]
        home = self._home(membership)
        fenced, ended = set(), []
        for fence, record in written:
            before = owned.get(record.id)
            if (before is None and fence >= 0) or (before is not None and before.attempt != fence):
                fenced.add(record.id)
            elif record.state == "available" and record.extra is not None and record.extra.begun in (1, 3):
                if not data.graph.begin(record, before):
                    fenced.add(record.id)
                elif record.extra.begun == 3:
                    data.live[record.id] = owned[record.id] = stored(record, membership.node)
            elif record.state in TERMINAL_STATES:
                if before is not None:
                    del data.live[record.id], owned[record.id]
                data.finished[record.id] = record
                ended.append(record)
            else:
                row = record if record.extra is None else stored(record, membership.node)
                data.graph.changed(row)
                data.live[row.id] = owned[row.id] = row
                if row.state == "waiting":
                    with self.telling.collect():
                        data.graph.begin_waiting(data, row, home)
        with self.telling.collect():
            data.graph.end(data, ended, home)
        node.batches["outcomes"] = batch
        self._hand_out()
        return fenced

    async def last_batch(self, membership: Membership, lane: Lane) -> int:
        """See `Store.last_batch`."""
        await self._begin()
        return self._member(membership).batches.get(lane, 0)

    async def load_owned(self, membership: Membership, after: bytes | None, limit: int) -> list[Record]:
        """See `Store.load_owned`."""
        await self._begin()
        owned = self.data.owned[self._member(membership).node_id]
        ids = owned if after is None else (job_id for job_id in owned if job_id > after)
        return [copy(owned[job_id]) for job_id in heapq.nsmallest(limit, ids)]

    async def claim(
        self, membership: Membership, queues: Sequence[str], limit: int, passing: Collection[str] = ()
    ) -> list[Record]:
        """See `Store.claim`."""
        await self._begin()
        node = self._member(membership)
        now = self.data.clock()
        unowned = self.data.owned[None]
        wanted = set(queues)
        due = heapq.nsmallest(
            limit,
            (
                key_of(record)
                for record in unowned.values()
                if record.queue in wanted
                and record.state in CLAIMABLE_STATES
                and record.scheduled_at <= now
                and record.worker not in passing
            ),
        )
        claimed = []
        for job_id in map(itemgetter(2), due):
            record = unowned.pop(job_id)
            record.node = membership.node
            self.data.owned[node.node_id][job_id] = record
            claimed.append(copy(record))
        return claimed

    async def claim_each(self, membership: Membership, queue: str, present: Sequence[str], limit: int) -> list[Record]:
        """See `FairStore.claim_each`."""
        await self._begin()
        node, now, unowned = self._member(membership), self.data.clock(), self.data.owned[None]
        best: dict[str, Record] = {}
        for record in unowned.values():
            partition = partition_of(record)
            if partition is None or partition in present or record.queue != queue or record.state != "available":
                continue
            if record.scheduled_at <= now and (partition not in best or key_of(record) < key_of(best[partition])):
                best[partition] = record
        claimed = []
        for partition in sorted(best)[:limit]:
            record = unowned.pop(best[partition].id)
            record.node = membership.node
            self.data.owned[node.node_id][record.id] = record
            claimed.append(copy(record))
        return claimed

    async def release(self, membership: Membership, ids: Sequence[bytes]) -> None:
        """See `Store.release`."""
        await self._begin()
        owned = self.data.owned[self._member(membership).node_id]
        left = set()
        for job_id in ids:
            record = owned.pop(job_id, None) if job_id not in self.data.broadcasts.jobs else None
            if record is not None:
                record.node = None
                self.data.owned[None][job_id] = record
                left.add(record.queue)
        self._tell(left)

    async def listen(self, wake: Callable[[frozenset[str]], None]) -> None:
        """See `Store.listen`."""
        await self._begin()
        self.data.listeners[self] = wake

    async def look(
        self, queues: Sequence[str], passing: Mapping[str, Collection[str]] | None = None
    ) -> dict[str, Unowned]:
        """See `Store.look`."""
        await self._begin()
        now = self.data.clock()
        found = {}
        for queue in queues:
            passed = passing.get(queue, ()) if passing else ()
            waiting = [
                record
                for record in self.data.owned[None].values()
                if record.queue == queue and record.state in CLAIMABLE_STATES and record.worker not in passed
            ]
            best = min((key_of(record) for record in waiting if record.state == "available"), default=None)
            due = min((record.scheduled_at for record in waiting if record.state != "available"), default=None)
            found[queue] = Unowned(best, None if due is None else (due - now) / 1e6)
        return found

    async def change(
        self, job_id: bytes, change: Change, *, membership: Membership | None = None, queues: Collection[str] = ()
    ) -> Changed:
        """See `Store.change`."""
        await self._begin()
        if membership is not None:
            self._member(membership)
        with self.telling.collect():
            changed = self.data.apply(job_id, change, membership=membership, queues=queues)
        self._hand_out()
        return changed

    @property
    def sealed(self) -> MemorySealed:
        """See `Store.sealed`."""
        return MemorySealed(self._all, self._begin)

    @property
    def crons(self) -> MemoryCrons:
        """See `Store.crons`."""
        return MemoryCrons(self.data.crons, self._begin, self.compose)

    async def insert_unowned(self, records: Sequence[Record]) -> set[bytes]:
        """See `Store.insert_unowned`."""
        await self._begin()
        data = self.data
        existed = {r.id for r in records if data.known(r.id) is not None}
        for record in records:
            if record.id not in existed:
                data.live[record.id] = data.owned[None][record.id] = stored(record, None)
        new = [record for record in records if record.id not in existed]
        with self.telling.collect():
            note_inserted(new)
        self._tell({record.queue for record in new})
        return existed

    async def get(self, job_id: bytes) -> Record | None:
        """See `Store.get`."""
        await self._begin()
        record = self.data.known(job_id)
        return None if record is None else copy(record)

    async def find(self, page: Page) -> list[Record]:
        """See `Store.find`."""
        await self._begin()
        pick = heapq.nlargest if page.newest_first else heapq.nsmallest
        ids = pick(min(page.limit, MAX_PAGE), (r.id for r in self._all() if _matches(r, page)))
        return [copy(self.data.live.get(job_id) or self.data.finished[job_id]) for job_id in ids]

    async def counts(self) -> list[Counts]:
        """See `Store.counts`."""
        await self._begin()
        queues: dict[str, Counts] = {}
        numbers: Counter[tuple[str, State]] = Counter((r.queue, r.state) for r in self._all())
        for (queue, state), number in numbers.items():
            queues.setdefault(queue, Counts(queue)).by_state[state] = number
        return [queues[name] for name in sorted(queues)]

    async def _begin(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self._open:
            raise StoreUnavailable("the memory store is closed; open it first")

    def _tell(self, queues: set[str]) -> None:
        if queues:
            for store, wake in list(self.data.listeners.items()):
                if store is not self:
                    wake(frozenset(queues))

    def _all(self) -> Iterator[Record]:
        yield from self.data.live.values()
        yield from self.data.finished.values()

    def __repr__(self) -> str:
        return f"<MemoryStore: {len(self.data.live)} live jobs, {len(self.data.finished)} finished>"


def _matches(record: Record, page: Page) -> bool:
    if page.after is not None and (record.id >= page.after if page.newest_first else record.id <= page.after):
        return False
    return page.wanted.takes(record)
