"""Group commit: the only writer of job rows.

Two lanes, inserts and outcomes, each with one commit in flight; what arrives meanwhile is the next batch. At low load
a batch is one job and costs one commit; under load thousands share one. A batch stays in the table until its fate is
known, so a journal that dies, or a connection that is cut in the middle of a commit, loses and doubles nothing: the
number of the lane's last batch is written in the batch's own transaction and tells whether it was committed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import msgspec
import trio

from kathikon_actors import faults
from kathikon_actors.jobs.errors import AlreadyExists, StoreUnavailable
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.lane_queue import Batch, Insert, LaneQueue, stays
from kathikon_actors.store.protocol import Lane, Membership, RowsRefused, Store
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry.bus import Bus
from kathikon_actors.telemetry.events import StoreFlushed

__all__ = ["Journal"]

logger = logging.getLogger(__name__)

PACE = 0.003
"""Seconds between the starts of two commits while batches are small: a little waiting makes them larger, so that a node
holds twice as many single inserts a second; at 10,000 a second 3 ms gave a lower start p99 than 5 ms."""

SMALL = 256
"""Rows: a batch from here on is committed at once. A batch of one row is, too: it is alone."""

MOST = 2_000
"""Rows of one batch, unless a single insert brings more: while the server works on one, the node makes the next."""

ALONE = 0
"""Rows of one batch while one of those that wait is at fault: each entry is tried by itself."""

SNAPSHOT_INTERVAL = 1.0
"""Seconds that a job with `durability="snapshot"` may be in memory only, unless the node says otherwise."""

FLUSH_TIMEOUT = 10.0
"""Seconds that a stopping journal takes to commit what waits."""

_DECIDED = (
    "state", "history", "extra", "scheduled_at", "finished_at", "args", "meta", "priority", "max_attempts", "tags",
)  # fmt: skip
"""What a store may change of a record that it decides on."""

E = TypeVar("E")


class Journal:
    """Commits what the table holds in its two lanes.

    Args:
        table: where the batches live.
        store: where they go.
        membership: under which they are written.
        reopened: called when the store was cut off; returns when it is open again.
        given_up: whether nobody is there to open the store again: a journal that stops does not wait then.
        bus: told of each batch.
        snapshot_interval: seconds between two writes of the jobs with `durability="snapshot"` that changed.
    """

    def __init__(
        self,
        table: Table,
        store: Store,
        membership: Membership,
        reopened: Callable[[], Awaitable[None]],
        given_up: Callable[[], bool] = lambda: False,
        bus: Bus | None = None,
        *,
        snapshot_interval: float = SNAPSHOT_INTERVAL,
    ) -> None:
        bus = Bus() if bus is None else bus
        self._unwritten = table.unwritten
        self._snapshot_interval = snapshot_interval
        self._inserts = _LaneWriter(table.inserts, _Inserts(table, store, membership), reopened, given_up, bus)
        self._outcomes = _LaneWriter(table.outcomes, _Outcomes(table, store, membership), reopened, given_up, bus)

    @property
    def commits(self) -> int:
        """Batches committed so far, in both lanes."""
        return self._inserts.commits + self._outcomes.commits

    @property
    def rows(self) -> int:
        """Rows committed so far, in both lanes."""
        return self._inserts.rows + self._outcomes.rows

    async def run(self, *, task_status: trio.TaskStatus[Journal] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit until cancelled; then commit what still waits, within `FLUSH_TIMEOUT`."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._inserts.run)
                nursery.start_soon(self._outcomes.run)
                nursery.start_soon(self._write_snapshots)
                task_status.started(self)
        except* trio.Cancelled:
            self._unwritten.write()
            with trio.move_on_after(FLUSH_TIMEOUT, shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._inserts.drain)
                    nursery.start_soon(self._outcomes.drain)
            raise

    async def _write_snapshots(self) -> None:
        while True:
            await trio.sleep(self._snapshot_interval)
            self._unwritten.write()


class _Writes(Protocol[E]):
    """What differs between the lanes: how a batch is written, and whom its end concerns."""

    lane: Lane

    async def commit(self, batch: Batch[E]) -> set[bytes]:
        """Write it; give the ids that were refused."""
        ...

    async def was_committed(self, batch: Batch[E]) -> bool:
        """Find out whether a batch in doubt was committed; if it was not, it never will be."""
        ...

    async def committed(self, batch: Batch[E], refused: set[bytes] | None) -> None:
        """Tell whom it concerns. `refused` is `None` when the answer of the commit was lost."""

    def again(self, batch: Batch[E]) -> None:
        """It was not committed: queue its entries again."""

    def give_up(self, entry: E, error: Exception) -> None:
        """The store will never take it: tell whom it concerns."""


class _LaneWriter(Generic[E]):
    """One lane: takes batches, commits them, brings those in doubt to an end."""

    def __init__(
        self,
        queue: LaneQueue[E],
        writes: _Writes[E],
        reopened: Callable[[], Awaitable[None]],
        given_up: Callable[[], bool],
        bus: Bus,
    ) -> None:
        self._bus = bus
        self._queue = queue
        self._writes = writes
        self._reopened = reopened
        self._given_up = given_up
        self.commits = 0
        self.rows = 0
        self._suspects = 0

    async def run(self) -> None:
        queue, last_start = self._queue, -PACE
        while True:
            if queue.batch is None:
                await queue.wait_pending()
                if 1 < queue.pending_rows < SMALL and not self._suspects:
                    await trio.sleep_until(last_start + PACE)
                if not queue.pending:  # what waited was taken back
                    self._suspects = 0
                    continue
                self._take()
            last_start = trio.current_time()
            await self._settle()

    async def drain(self) -> None:
        queue = self._queue
        while queue.batch is not None or queue.pending:
            if queue.batch is None:
                self._take()
            await self._settle(stopping=True)
            if queue.batch is not None and self._given_up():
                # The next journal on this table takes it up; without one, the node's next life loads it again.
                return

    def _take(self) -> None:
        if self._suspects:
            self._suspects -= 1
        self._queue.take(ALONE if self._suspects else MOST)

    async def _settle(self, *, stopping: bool = False) -> None:
        """Try the batch in flight once, or find out what became of the last try."""
        queue, batch = self._queue, self._queue.batch
        assert batch is not None
        begun = trio.current_time()
        try:
            if not batch.in_doubt:
                if faults.armed:
                    await faults.reach("store.before_commit", lane=self._writes.lane, rows=batch.rows)
                batch.in_doubt = True
                refused = await self._writes.commit(batch)
                if faults.armed:
                    await faults.reach("store.after_commit", lane=self._writes.lane, rows=batch.rows)
                await self._writes.committed(batch, refused)
            elif await self._writes.was_committed(batch):
                logger.info("batch %d of %s was committed before the cut", batch.number, self._writes.lane)
                await self._writes.committed(batch, None)
            elif batch.fault is not None and len(batch.entries) == 1:
                self._writes.give_up(batch.entries[0], batch.fault)
            else:
                if batch.fault is not None:
                    self._suspects = len(batch.entries) + 1
                self._writes.again(batch)
        except RowsRefused as error:
            # One of them is at fault and must not hold up the others; the next turn asks what became of the batch.
            batch.fault = error
            return
        except AlreadyExists:
            return  # it is tried again with more care
        except StoreUnavailable as error:
            logger.warning("%d rows of %s wait, the store is cut off: %s", queue.rows, self._writes.lane, error)
            if not (stopping and self._given_up()):
                await self._reopened()
            return
        self.commits += 1
        self.rows += batch.rows
        queue.finished()
        if self._bus.wants(StoreFlushed):
            seconds = trio.current_time() - begun
            self._bus.emit(StoreFlushed(lane=self._writes.lane, rows=batch.rows, seconds=seconds))


class _Inserts:
    lane: Lane = "inserts"

    def __init__(self, table: Table, store: Store, membership: Membership) -> None:
        self._table = table
        self._store = store
        self._membership = membership

    async def commit(self, batch: Batch[Insert]) -> set[bytes]:
        records: list[Record] = []
        unowned: set[bytes] = set()
        # One duplicate key spoils a whole COPY: rows that may be there already take a path of their own.
        careful = composed = False
        for insert in batch.entries:
            records += insert.records
            careful |= insert.may_conflict
            composed |= insert.composed
            if insert.unowned:
                unowned |= insert.unowned
        self._store.telling.expect(records)
        if composed:
            return await self._commit_composed(batch, records, careful, unowned)
        if unowned:
            return await self._store.commit_inserts(
                self._membership, batch.number, records, may_conflict=careful, unowned=unowned
            )
        return await self._store.commit_inserts(self._membership, batch.number, records, may_conflict=careful)

    async def _commit_composed(
        self, batch: Batch[Insert], records: list[Record], careful: bool, unowned: set[bytes]
    ) -> set[bytes]:
        answers = await self._store.commit_composed(
            self._membership, batch.number, records, may_conflict=careful, unowned=unowned
        )
        for insert in batch.entries:
            if insert.composed and answers:
                insert.answers = {r.id: answers[r.id] for r in insert.records if r.id in answers}
        for record in records:
            extra = record.extra
            if extra is None:
                continue
            answer = answers.get(record.id)
            if answer is not None and answer.record is not None and not answer.conflict:
                # As the store has decided: it waits no more, or its like has overwritten it.
                for name in _DECIDED:
                    setattr(record, name, getattr(answer.record, name))
            elif extra.unique is not None:
                record.extra = msgspec.structs.replace(extra, unique=None)
        return {job_id for job_id, answer in answers.items() if answer.record is None or answer.conflict}

    async def was_committed(self, batch: Batch[Insert]) -> bool:
        return await self._store.last_batch(self._membership, self.lane) == batch.number

    async def committed(self, batch: Batch[Insert], refused: set[bytes] | None) -> None:
        put_back = False
        if refused is None:
            refused = set()
            # What was decided is not known, but deciding again gives the same: rows that are stored are found.
            for insert in [insert for insert in batch.entries if insert.composed]:
                insert.may_conflict = put_back = True
                # Its rows are stored: neither who waits nor the clock can take it back any more.
                insert.deadline, insert.withdraw = math.inf, stays
                batch.entries.remove(insert)
                self._table.inserts.put_back([insert], len(insert.records))
            for insert in batch.entries:
                if insert.may_conflict:
                    refused.update([record.id for record in insert.records if not await self._is_ours(record)])
        if refused:
            for insert in batch.entries:
                insert.existing = refused.intersection([record.id for record in insert.records])
        self._table.stored(batch.entries)
        if not put_back:  # else they are decided on again, and told then
            self._store.telling.flush()

    async def _is_ours(self, record: Record) -> bool:
        stored = await self._store.get(record.id)
        return stored is not None and stored.inserted_at == record.inserted_at

    def again(self, batch: Batch[Insert]) -> None:
        for insert in batch.entries:
            insert.may_conflict = True
        self._table.inserts.put_back(batch.entries, batch.rows)

    def give_up(self, entry: Insert, error: Exception) -> None:
        self._table.refused(entry, error)


class _Outcomes:
    lane: Lane = "outcomes"

    def __init__(self, table: Table, store: Store, membership: Membership) -> None:
        self._table = table
        self._store = store
        self._membership = membership

    async def commit(self, batch: Batch[Record]) -> set[bytes]:
        for record in batch.entries:
            record.dirty = False
        # Records go on changing while the commit is under way: what was written is remembered here.
        batch.attempts = [record.attempt for record in batch.entries]
        return await self._store.commit_outcomes(self._membership, batch.number, batch.entries)

    async def was_committed(self, batch: Batch[Record]) -> bool:
        return await self._store.last_batch(self._membership, self.lane) == batch.number

    async def committed(self, batch: Batch[Record], refused: set[bytes] | None) -> None:
        if refused is None:
            self._table.in_doubt = True  # jobs that it made ready may be ours
            refused = set()
            for record in batch.entries:
                if record.extra is not None and record.extra.begun in (1, 3):
                    kept = await self._is_begun(record)
                else:
                    kept = record.state not in TERMINAL_STATES or record.dirty or await self._is_kept(record)
                if not kept:
                    refused.add(record.id)
        self._table.written(zip(batch.entries, batch.attempts, strict=True), refused)

    async def _is_kept(self, record: Record) -> bool:
        stored = await self._store.get(record.id)
        return stored is not None and (stored.state, stored.finished_at) == (record.state, record.finished_at)

    async def _is_begun(self, record: Record) -> bool:
        """Whether the start of a guarded job was taken: if not, others have changed or moved it."""
        stored = await self._store.get(record.id)
        return (
            stored is not None
            and stored.node == self._membership.node
            and stored.extra is not None
            and record.extra is not None
            and stored.extra.guarded == record.extra.guarded
        )

    def again(self, batch: Batch[Record]) -> None:
        # Those that changed since wait in the lane already.
        entries = [record for record in batch.entries if not record.dirty]
        for record in entries:
            record.dirty = True
        self._table.outcomes.put_back(entries, len(entries))

    def give_up(self, entry: Record, error: Exception) -> None:
        logger.error(
            "job %s of %s: its outcome can never be stored (%s); the row stays as it was until the node starts again",
            entry.id.hex(), entry.worker, error,
        )  # fmt: skip
        self._table.lost(entry)
