"""The node's jobs in memory, and what of them is not committed yet.

The table outlives the journal and the producers as an ETS table outlives its users: whoever of them crashes finds
here where it was. Every change of a job that this node owns goes through one of the methods below, which call the
state machine, mark the record dirty for the journal and route it to whoever has to act next.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
import trio

from kathikon_actors.jobs.composing import is_composed
from kathikon_actors.jobs.errors import InvalidJob, QueueFull, StoreUnavailable
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.processes.messages import Ask, Reply
from kathikon_actors.store.border import Border
from kathikon_actors.store.lane_queue import Insert, LaneQueue, without_repeats
from kathikon_actors.store.mourners import Mourners
from kathikon_actors.store.remembered import Remembered
from kathikon_actors.store.routing import Routing
from kathikon_actors.store.unwritten import Unwritten
from kathikon_actors.store.waiting import Waiter, Waiting

__all__ = ["Table"]

logger = logging.getLogger(__name__)


MAX_PENDING_INSERTS = 50_000
"""Rows; above it inserts wait for room."""

MAX_PENDING_OUTCOMES = 200_000
"""Rows; above it producers dispatch no more, so that results stay bounded while the store is cut off."""


class Table(Waiting, Routing):
    """The jobs this node owns, by id.

    Consumers attach themselves: a producer per queue takes what is available, the scheduler takes what is due later.
    While one of them is dead its records simply stay here, and it finds them when it comes back.

    Args:
        borders: by queue; a queue without one is kept in memory whole.

    Attributes:
        moving: held while rows change their owner between the store and this table.
        in_doubt: such a change was begun and nothing is known of its end.
        on_stored: told of new jobs once they are committed; `on_progress` of jobs that tell how far they are.
        on_ended: told of jobs that ended, once that is committed; of those that are never written, at once.
        on_failed: told at once of attempts that failed: by the time of the commit the job may have run again.
        on_ask: serves what a running job asks, and calls the function that it is given with the answer.
        mourners: call `on_discard` of jobs that are about to be discarded by their own failure.
    """

    def __init__(self, borders: dict[str, Border] | None = None) -> None:
        self.records: dict[bytes, Record] = {}
        self.borders: dict[str, Border] = {} if borders is None else borders
        self.moving = trio.Lock()
        self.in_doubt = False
        self._newcomers: set[bytes] | None = None
        self.on_stored: Callable[[list[Record]], None] | None = None
        self.on_progress: Callable[[Record], None] | None = None
        self.on_ended: Callable[[list[Record]], None] | None = None
        self.on_failed: Callable[[list[Record]], None] | None = None
        self.mourners: Mourners | None = None
        self.on_ask: Callable[[Record, Ask, Callable[[Reply], None]], None] | None = None
        self.closed = False
        self.inserts: LaneQueue[Insert] = LaneQueue(lambda insert: len(insert.records), _insert_bytes, without_repeats)
        self.outcomes: LaneQueue[Record] = LaneQueue(bytes_of=_outcome_bytes)
        self.unwritten = Unwritten(self.outcomes)
        self._producers: dict[str, Callable[[list[Record]], None]] = {}
        self._scheduler: Callable[[Record], None] | None = None
        self._waiters: dict[bytes, list[Waiter]] = {}
        self._completed = Remembered()
        self._take_back = self._withdraw  # made once for all inserts

    def bound(self, queue: str, border: Border) -> None:
        """Give a queue its border; jobs of it that are here already have their places."""
        self.borders[queue] = border
        self._count([record for record in self.records.values() if record.queue == queue], 1)

    # -- changes ------------------------------------------------------------------------------------------------

    def adopt(self, records: Iterable[Record]) -> None:
        """Take in records that the store has as ours: just inserted, claimed, retried, or left by an earlier life."""
        fresh = []
        for record in records:
            known = self.records.get(record.id)
            # One that has ended and comes back was retried before we were told that its end is committed.
            if known is None or known.state in TERMINAL_STATES or self.is_old(record):
                if known is not None:
                    self._forget(known)
                fresh.append(record)
        self._count(fresh, 1)
        self._take_in(fresh)

    def is_old(self, record: Record) -> bool:
        """Tell whether what is here of this job was changed by others since, and taken away from this node."""
        known = self.records.get(record.id)
        if known is None or known.extra is None or record.extra is None:
            return False
        return known.extra.guarded != record.extra.guarded

    def _take_in(self, fresh: list[Record]) -> None:
        for record in fresh:
            self.records[record.id] = record
        if self._newcomers is not None:
            self._newcomers.update([record.id for record in fresh])
        self.route(fresh)

    def let_go(self, records: Iterable[Record]) -> list[Record]:
        """Forget records that nothing holds on to, before the store is told; give those that were forgotten.

        Kept are those that run, that have something uncommitted, or that a commit in flight is about.
        """
        batch = self.outcomes.batch
        in_flight = {record.id for record in batch.entries} if batch is not None else set()
        gone = [
            record
            for record in records
            if self.records.get(record.id) is record
            and record.state != "executing"
            and not record.dirty
            and record.fence == record.attempt
            and record.id not in in_flight
        ]
        for record in gone:
            self._forget(record)
            self._resolve(record, lost=True)
        return gone

    def begin_census(self) -> set[bytes]:
        """Begin to compare with what the store has: give the ids that are here or on their way into the store.

        From now on newcomers are remembered, until `end_census`.
        """
        self._newcomers = set()
        return self.records.keys() | self._inserting()

    def end_census(self) -> set[bytes]:
        """Give the ids that came since, or are on their way now."""
        came, self._newcomers = self._newcomers or set(), None
        return came | self._inserting()

    def _inserting(self) -> set[bytes]:
        batch = self.inserts.batch
        entries = [*(batch.entries if batch is not None else ()), *self.inserts.pending]
        return {record.id for insert in entries for record in insert.records}

    def _forget(self, record: Record) -> None:
        if self.records.pop(record.id, None) is not None:
            border = self.borders.get(record.queue)
            if border is not None:
                border.held -= 1
                if border.fair:
                    border.count(record, -1)
                border.ended += 1
                if border.asked or border.passing:
                    border.wake()

    def _count(self, records: Iterable[Record], number: int) -> None:
        borders = self.borders
        for record in records:
            border = borders.get(record.queue)
            if border is not None:
                border.held += number
                if border.fair:
                    border.count(record, number)

    def changed(self, records: Iterable[Record]) -> None:
        """Records went through the state machine: queue them for the journal and route them."""
        moved, over = [], []
        outcomes = self.outcomes
        for record in records:
            if record.durability != "commit":
                if self._changed_unwritten(record):
                    over.append(record)
            elif not record.dirty:
                record.dirty = True
                outcomes.add(record, 1)
            if record.state not in TERMINAL_STATES:
                moved.append(record)
        if moved:
            self.route(moved)
        if over and self.on_ended is not None:
            self.on_ended(over)

    def _changed_unwritten(self, record: Record) -> bool:
        """Tell at once who waits for a job that is written later or never; give whether it ended and never will be."""
        over = False
        if record.durability == "snapshot":
            if not record.dirty:
                record.dirty = True
                self.unwritten.note(record)
        elif record.state in TERMINAL_STATES and self.records.get(record.id) is record:
            over = True
            self._forget(record)
            self.unwritten.remember(record)
        self._resolve(record, lost=False)
        return over

    def admit(self, record: Record, *, is_new: bool = True) -> bool:
        """Take in a job that is written later or never, and begin with it.

        Gives `False` when memory holds as many as it may; a snapshot job is then submitted like any other.

        Raises:
            QueueFull: it is to live in memory, and there is no room.
            StoreUnavailable: the node is starting again.
        """
        if self.closed:
            raise StoreUnavailable("the node has lost its table and is starting again; insert again in a moment")
        border = self.borders.get(record.queue)
        if border is not None and not border.admits(record):
            if record.durability == "memory":
                raise QueueFull(record.queue, border.taken, border.limit, what="max_in_memory")
            record.durability = "commit"
            return False
        if is_new and self.on_stored is not None:
            self.on_stored([record])
        self._count([record], 1)
        self._take_in([record])
        if record.durability == "snapshot":
            record.dirty = True
            self.unwritten.note(record)
        return True

    def may_start(self, record: Record) -> bool:
        """Tell whether a job that comes up for its start may start; a guarded one is committed first, and comes again.

        Others may change a guarded job until its start is committed; a start that the store refuses is another's job.
        """
        extra = record.extra
        if extra is None or extra.guarded is None or extra.begun == 2:
            return True
        if extra.begun == 0:
            # 3: with other changes that are to be written, too.
            record.extra = msgspec.structs.replace(extra, begun=3 if record.dirty else 1)
            if not record.dirty:
                record.dirty = True
                self.outcomes.add(record, 1)
        return False

    async def submit(self, records: list[Record], *, may_conflict: bool, timeout: float = math.inf) -> Insert:
        """Queue new records for the journal, once there is room; `committed` waits for their end.

        Args:
            records: built from what a caller gave.
            may_conflict: some of their ids were given by the caller.
            timeout: seconds from now within which they must be committed.

        Raises:
            StoreUnavailable: the node is starting again, or there was no room in time.
        """
        deadline = trio.current_time() + timeout
        if self.inserts.pending_rows >= MAX_PENDING_INSERTS:
            with trio.move_on_at(deadline) as patience:
                await self.inserts.wait_room(MAX_PENDING_INSERTS)
            if patience.cancelled_caught:
                raise StoreUnavailable(f"{MAX_PENDING_INSERTS} rows wait for the store already; nothing was stored")
        if any(record.extra is not None and record.extra.depends_on for record in records):
            await self.parents_written(records, deadline)
        if self.closed:
            raise StoreUnavailable("the node has lost its table and is starting again; insert again in a moment")
        insert = Insert(records, may_conflict, deadline, self._take_back)
        borders, unowned = self.borders, None
        for record in records:
            if record.extra is not None and is_composed(record):
                insert.composed = True
            border = borders.get(record.queue)
            if border is None and record.state != "blocked":
                continue
            if border is not None and border.admits(record):
                border.held += 1
                if border.fair:
                    border.count(record, 1)
            else:
                record.node = None
                if unowned is None:
                    insert.unowned = unowned = set()
                unowned.add(record.id)
        self.inserts.add(insert, len(records))
        return insert

    async def parents_written(self, records: Sequence[Record], deadline: float) -> None:
        """Wait until the store knows the jobs of this table that some new records are to wait for.

        Snapshot jobs are committed from then on: their dependants do not wait for the end of an interval.

        Raises:
            StoreUnavailable: not in time.
        """
        found = (self.records.get(p) for r in records if r.extra is not None for p in r.extra.depends_on)
        parents = [record for record in found if record is not None and record.durability != "memory"]
        if all(parent.durability == "commit" and parent.fence >= 0 for parent in parents):
            return
        for parent in parents:
            parent.durability = "commit"
        self.unwritten.write()
        while not self.closed and any(p.fence < 0 and self.records.get(p.id) is p for p in parents):
            if trio.current_time() >= deadline:
                raise StoreUnavailable("jobs that others are to wait for were not written in time; nothing was stored")
            await trio.sleep(0.002)

    def committed(self, insert: Insert) -> Coroutine[Any, Any, AbstractSet[bytes]]:
        """Wait until an insert is committed; give the ids that existed already.

        Cancelled, the rows that are in no batch yet are taken back; those in flight may be stored.

        Raises:
            StoreUnavailable: not committed in time, or the table was lost before its fate was known.
        """
        # Each frame between a task and what it waits for is passed on the way back: with hundreds that wait it counts.
        return insert.wait()

    def stored(self, inserts: Iterable[Insert]) -> None:
        """The rows of some inserts are committed."""
        stored: list[Record] = []
        fresh: list[Record] = []
        for insert in inserts:
            existing, unowned = insert.existing, insert.unowned
            stored += [r for r in insert.records if r.id not in existing] if existing else insert.records
            fresh += self._ours(insert) if existing or unowned else insert.records
        for record in stored:
            record.fence = record.attempt
        if self.on_stored is not None:
            self.on_stored(stored)
        records = self.records
        known = [record for record in fresh if record.id in records]
        if known:
            self._count(known, -1)
            fresh = [record for record in fresh if record.id not in records]
        self._take_in(fresh)
        for insert in inserts:
            insert.finish()

    def _ours(self, insert: Insert) -> list[Record]:
        """Give those of its rows that are new and this node's, where some are not."""
        existing, unowned = insert.existing, insert.unowned
        ours = []
        for record in insert.records:
            if record.id in existing:
                if record.id not in unowned:
                    self._count([record], -1)
            elif record.id in unowned:
                border = self.borders.get(record.queue)
                if border is not None:
                    border.left(record)
            else:
                ours.append(record)
        return ours

    def expire(self, now: float) -> None:
        """End the inserts whose time is up: what is in no batch is taken back, the fate of the rest is unknown."""
        in_flight = self.inserts.batch.entries if self.inserts.batch is not None else []
        for insert in in_flight:
            if insert.deadline <= now:
                insert.finish(StoreUnavailable("the store did not commit in time; the rows may or may not be stored"))
        for insert in self.inserts.remove_all(lambda insert: insert.deadline <= now):
            self._uncount(insert)
            insert.finish(StoreUnavailable("the store did not commit in time; nothing was stored"))

    def _withdraw(self, insert: Insert) -> None:
        if self.inserts.remove(insert, len(insert.records)):
            self._uncount(insert)

    def _uncount(self, insert: Insert) -> None:
        self._count([record for record in insert.records if record.id not in insert.unowned], -1)

    def refused(self, insert: Insert, error: Exception) -> None:
        """The store will never take this insert; nothing of it is stored."""
        self._uncount(insert)
        first = insert.records[0]
        insert.finish(InvalidJob(first.worker, "row", f"cannot be stored: {error}; nothing of this insert was stored"))

    def lost(self, record: Record) -> None:
        """What became of a job cannot be stored: it is not here any more, and its row stays as it was."""
        if self.records.get(record.id) is record:
            self._forget(record)
        self._resolve(record, lost=True)

    def written(self, written: Iterable[tuple[Record, int]], fenced: set[bytes]) -> None:
        """Outcomes are committed.

        Args:
            written: each record with its attempt as it was written.
            fenced: ids that the store refused: another owner has them now.
        """
        ended: list[Record] = []
        for record, attempt in written:
            if fenced and record.id in fenced:
                extra = record.extra
                # The start of a guarded job is refused as a matter of course: it was replaced or put off before it ran.
                level = logging.DEBUG if extra is not None and extra.begun in (1, 3) else logging.WARNING
                logger.log(level, "job %s is not ours any more; its outcome was not stored", record.id.hex())
                if self.records.get(record.id) is record:
                    self._forget(record)
                self._resolve(record, lost=True)
                continue
            record.fence = attempt
            if record.dirty:
                continue
            if record.state in TERMINAL_STATES:
                if self.records.get(record.id) is record:
                    self._forget(record)
                self._remember(record)
                if self._waiters:
                    self._resolve(record, lost=False)
                ended.append(record)
            elif record.state == "waiting":
                # Nobody owns it until it ends with its children.
                if self.records.get(record.id) is record:
                    self._forget(record)
                self._resolve(record, lost=True)
            else:
                if record.extra is not None and record.extra.begun in (1, 3):
                    record.extra = msgspec.structs.replace(record.extra, begun=2)
                    self.route([record])
                if record.id in self._waiters:
                    self._resolve(record, lost=False)
        if ended and self.on_ended is not None:
            self.on_ended(ended)

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """The table ends: whoever waits for an insert is told that its fate is unknown, the others ask the store."""
        self.closed = True
        self.inserts.close()
        self.outcomes.close()
        in_flight = self.inserts.batch.entries if self.inserts.batch is not None else []
        for insert in [*in_flight, *self.inserts.pending]:
            insert.finish(
                StoreUnavailable("the node lost its table; what was not acknowledged may or may not be stored")
            )
        self._tell_all()


def _insert_bytes(insert: Insert) -> int:
    return sum([len(record.args) for record in insert.records])


def _outcome_bytes(record: Record) -> int:
    result = record.result
    return len(record.args) + (0 if result is None else len(result))
