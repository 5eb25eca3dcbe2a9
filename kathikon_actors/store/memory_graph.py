"""Unique keys, dependencies and batches of the memory store: the same decisions as `composing` and the SQL functions.

Every method runs without a checkpoint, so each one is a part of its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.batch import BatchRecord, callback_of
from kathikon_actors.jobs.composing import Answer, check_meeting, parents_first, with_results
from kathikon_actors.jobs.errors import (
    AlreadyExists,
    BatchClosed,
    BatchNotFound,
    DependenciesNotFound,
    KathikonError,
    UniqueConflict,
)
from kathikon_actors.jobs.ids import IdSource, as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import CHANGEABLE_STATES, TERMINAL_STATES, State
from kathikon_actors.jobs.unique import UNIQUE_STATES, Unique
from kathikon_actors.telemetry.telling import counts_of, note_batch, note_inserted

if TYPE_CHECKING:
    from kathikon_actors.jobs.actions import Change
    from kathikon_actors.jobs.extra import Extra
    from kathikon_actors.store.memory import MemoryData

__all__ = ["MOST_READY", "MemoryGraph"]

MOST_READY = 256
"""Jobs that become ready by one commit and go to its node; more are left to claims."""

Home = Callable[[str], str | None]
"""Gives the node that is to own a ready job of a queue, `None` for nobody."""


@dataclass
class Held:
    """A unique key that a job holds.

    Attributes:
        ends: microseconds since 1970, when another may take it all the same.
        begun: the job's start is committed: nobody changes it any more.
        revision: grows with every change by others.
        again: when the next run is due, if one was wanted while it ran.
        newest: what that run has otherwise than this job, by field.
    """

    job_id: bytes
    states: tuple[State, ...]
    ends: int | None
    begun: bool = False
    revision: int = 0
    again: int | None = None
    newest: dict[str, Any] = field(default_factory=dict)


@dataclass
class MemoryGraph:
    """What hangs together.

    Attributes:
        keys: unique keys and who holds them.
        children: by the id of a live job, those that wait for it; `parents` the other way round.
        batches: by id.
        opened: ids of the batches that a job waits for, by the job.
        members: ids of the children of a batch.
        ready: live jobs that became ready since somebody took them.
    """

    keys: dict[bytes, Held] = field(default_factory=dict)
    children: dict[bytes, set[bytes]] = field(default_factory=dict)
    parents: dict[bytes, set[bytes]] = field(default_factory=dict)
    batches: dict[bytes, BatchRecord] = field(default_factory=dict)
    opened: dict[bytes, set[bytes]] = field(default_factory=dict)
    members: dict[bytes, set[bytes]] = field(default_factory=dict)
    ready: list[Record] = field(default_factory=list)
    ids: IdSource = field(default_factory=IdSource)

    # -- inserts ------------------------------------------------------------------------------------------------

    def insert(
        self, data: MemoryData, records: Sequence[Record], put: Callable[[Record], Record], home: Home
    ) -> dict[bytes, Answer]:
        """Decide on each insert and store what is to be stored; see `composing.insert_composed`."""
        answers: dict[bytes, Answer] = {}
        aliases: dict[bytes, bytes] = {}
        now = data.clock()
        for given in parents_first(records):
            record = copy(given)
            found = data.known(record.id)
            if found is not None:
                ours = found.inserted_at == record.inserted_at
                error = None if ours else AlreadyExists(as_uuid(record.id))
                answers[record.id] = Answer(copy(found) if ours else None, error=error)
                continue
            extra = record.extra
            if extra is None:
                answers[record.id] = Answer(copy(put(record)))
                continue
            batch = None if extra.batch_id is None else self.batches.get(extra.batch_id)
            if extra.batch_id is not None and (batch is None or batch.sealed_at is not None):
                kind = BatchNotFound if batch is None else BatchClosed
                answers[record.id] = Answer(error=kind(as_uuid(extra.batch_id)))
                continue
            holder = self._holder(data, extra, now)
            if holder is not None:
                refused = check_meeting(record, extra.unique or Unique(), holder)
                if refused is not None:
                    answers[record.id] = Answer(error=refused)
                    continue
                self._meet(data, holder, record, extra.unique or Unique(), now)
                aliases[record.id] = holder.id
                answers[record.id] = Answer(copy(_row(data, holder.id)), conflict=True)
                continue
            waits = tuple(dict.fromkeys(aliases.get(parent, parent) for parent in extra.depends_on))
            missing = [str(as_uuid(p)) for p in waits if data.known(p) is None]
            if missing:
                answers[record.id] = Answer(error=DependenciesNotFound(record.worker, missing))
                continue
            if extra.unique_key is not None:
                policy = extra.unique or Unique()
                ends = None if policy.period is None else record.inserted_at + int(policy.period * 1e6)
                self.keys[extra.unique_key] = Held(record.id, policy.states, ends)
            record.extra = msgspec.structs.replace(extra, unique=None, depends_on=waits)
            stored = put(record)
            if batch is not None:
                batch.total += 1
                self.members.setdefault(batch.id, set()).add(record.id)
            self._depend(data, stored, waits, home)
            answers[record.id] = Answer(copy(_row(data, record.id)))
        return answers

    def refusals(self, data: MemoryData, records: Sequence[Record]) -> dict[bytes, Answer]:
        """Give what would refuse some of these inserts."""
        new = {record.id for record in records}
        errors = ((record.id, self._refusal(data, record, new)) for record in records)
        return {job_id: Answer(error=error) for job_id, error in errors if error is not None}

    def _refusal(self, data: MemoryData, record: Record, new: set[bytes]) -> KathikonError | None:
        found = data.known(record.id)
        if found is not None and found.inserted_at != record.inserted_at:
            return AlreadyExists(as_uuid(record.id))
        if record.extra is None:
            return None
        batch = None if record.extra.batch_id is None else self.batches.get(record.extra.batch_id)
        if record.extra.batch_id is not None and (batch is None or batch.sealed_at is not None):
            return (BatchNotFound if batch is None else BatchClosed)(as_uuid(record.extra.batch_id))
        holder = self._holder(data, record.extra, data.clock())
        refused = None if holder is None else check_meeting(record, record.extra.unique or Unique(), holder)
        if refused is not None:
            return refused
        missing = [p for p in record.extra.depends_on if p not in new and data.known(p) is None]
        return DependenciesNotFound(record.worker, [str(as_uuid(p)) for p in missing]) if missing else None

    def _holder(self, data: MemoryData, extra: Extra, now: int) -> Record | None:
        held = None if extra.unique_key is None else self.keys.get(extra.unique_key)
        if held is None or (held.ends is not None and held.ends <= now):
            return None
        return data.live.get(held.job_id) or data.finished.get(held.job_id)

    def _meet(self, data: MemoryData, holder: Record, record: Record, policy: Unique, now: int) -> None:
        """An insert meets the job that holds its key: replace what it may, put it off, or have it run once more."""
        if not policy.replace and policy.debounce is None:
            return
        assert record.extra is not None and record.extra.unique_key is not None
        held = self.keys[record.extra.unique_key]
        due = None if policy.debounce is None else record.inserted_at + int(policy.debounce * 1e6)
        newest = {name: getattr(record, name) for name in policy.replace}
        if not held.begun and holder.state in CHANGEABLE_STATES:
            for name, value in newest.items():
                setattr(holder, name, value)
            if due is not None:
                holder.scheduled_at = due
            machine.replaced(holder, now, "replaced" if due is None else "put off")
            held.revision += 1
            held.again, held.newest = None, {}  # this job is the one that was wanted once more
            assert holder.extra is not None
            holder.extra = msgspec.structs.replace(holder.extra, guarded=held.revision)
            data.give(holder, None)
            data.told.add(holder.queue)
        elif due is not None and holder.id in data.live and (held.begun or holder.state == "executing"):
            held.again = due
            held.newest |= newest

    def _depend(self, data: MemoryData, record: Record, waits: tuple[bytes, ...], home: Home) -> None:
        if not waits:
            return
        assert record.extra is not None
        open_ = {parent for parent in waits if parent in data.live}
        ended = [data.finished.get(parent) or data.archived[parent] for parent in waits if parent not in open_]
        for parent in open_:
            self.children.setdefault(parent, set()).add(record.id)
        if open_:
            self.parents[record.id] = open_
        for done in ended:
            _keep_result(record, done)
        if any(p.state != "completed" for p in ended) and record.extra.on_dependency_failure == "discard":
            self.end(data, [self._cancel(data, record, record.inserted_at)], home)
        elif not open_:
            machine.unblock(record, record.inserted_at)

    # -- starts and changes -------------------------------------------------------------------------------------

    def begin(self, record: Record, stored: Record | None) -> bool:
        """A guarded job is about to start; tell whether it may: nobody has changed it since it was loaded."""
        assert record.extra is not None and record.extra.unique_key is not None
        held = self.keys.get(record.extra.unique_key)
        if held is not None and held.job_id == record.id and held.revision == record.extra.guarded:
            held.begun = True
            if "executing" not in held.states:
                del self.keys[record.extra.unique_key]
        return stored is not None and stored.extra is not None and stored.extra.guarded == record.extra.guarded

    def retake(self, data: MemoryData, record: Record, change: Change) -> None:
        """An ended job is to live again, or its rerun is: it takes the unique key.

        Raises:
            UniqueConflict: another job has it.
        """
        key = None if record.extra is None else record.extra.unique_key
        if record.extra is None or key is None:
            return
        again = change.action != "rerun"
        taker = record.id if again else change.new_id
        held = self.keys.get(key)
        if held is not None and (held.ends is None or held.ends > data.clock()):
            if held.job_id == record.id:  # it kept its key after its end
                held.begun = False
                if not again:
                    held.job_id, held.revision, held.again, held.newest = taker, 0, None, {}
                return
            if held.job_id in data.live or held.job_id in data.finished:
                raise UniqueConflict(as_uuid(record.id), as_uuid(held.job_id), change.action)
        revision = (record.extra.guarded or 0) if again else 0
        self.keys[key] = Held(taker, UNIQUE_STATES, None, revision=revision)

    def gather(self, data: MemoryData, record: Record) -> None:
        """An ended job lives again: it gets the results of parents that have completed since."""
        if record.extra is None or not record.extra.depends_on:
            return
        parents = (data.finished.get(parent) or data.archived.get(parent) for parent in record.extra.depends_on)
        results = {p.id: p.result for p in parents if p is not None and p.state == "completed" and p.result is not None}
        record.extra = with_results(record.extra, results)

    def changed(self, record: Record) -> None:
        """A job came into another state without ending: it lets go of a key that it does not hold there.

        One whose run is over, and that is to run again, may be changed until then.
        """
        key = None if record.extra is None else record.extra.unique_key
        held = None if key is None else self.keys.get(key)
        if key is None or held is None or held.job_id != record.id:
            return
        if record.state not in held.states:
            del self.keys[key]
        elif record.state in ("scheduled", "retryable"):
            held.begun = False

    # -- ends ---------------------------------------------------------------------------------------------------

    def end(self, data: MemoryData, ended: Iterable[Record], home: Home) -> None:
        """Jobs have ended and are among the finished ones: act on what that means for others."""
        todo = list(ended)
        while todo:
            record = todo.pop()
            now = data.clock()
            self._let_go(data, record, now, home)
            for parent in self.parents.pop(record.id, ()):
                self.children[parent].discard(record.id)
            for job_id in sorted(self.children.pop(record.id, ())):
                child = data.live[job_id]
                self.parents[job_id].discard(record.id)
                assert child.extra is not None
                _keep_result(child, record)
                if record.state != "completed" and child.extra.on_dependency_failure == "discard":
                    todo.append(self._cancel(data, child, now))
                elif not self.parents[job_id]:
                    del self.parents[job_id]
                    machine.unblock(child, now)
                    data.give(child, home(child.queue))
                    self._tell(data, child)
            todo += self.seal(data, record.id, home)
            if record.extra is not None and record.extra.batch_id in self.batches:
                batch = self.batches[record.extra.batch_id]
                batch.count(record.state)
                todo += self.resolve(data, batch, home)

    def _let_go(self, data: MemoryData, record: Record, now: int, home: Home) -> None:
        key = None if record.extra is None else record.extra.unique_key
        held = None if key is None else self.keys.get(key)
        if key is None or held is None or held.job_id != record.id:
            return
        if held.again is None:
            if record.state not in held.states:
                del self.keys[key]
            return
        again = copy(record)
        again.id, again.original_id = self.ids.next(now), record.original_id or record.id
        again.state, again.inserted_at, again.scheduled_at = "scheduled", now, held.again
        again.attempt = again.progress = again.orphaned = 0
        again.attempted_at = again.finished_at = again.result = None
        again.errors = b""
        for name, value in held.newest.items():
            if name != "scheduled_at":
                setattr(again, name, value)
        assert again.extra is not None
        again.extra = msgspec.structs.replace(
            again.extra, guarded=0, begun=0, depends_on=(), dependency_results=b"", batch_id=None
        )
        again.history = b'[%d,"inserted",null,"scheduled",{"reason":"wanted again while it ran"}]' % now
        self.keys[key] = Held(again.id, held.states, None)
        self._add(data, again, home)

    def _cancel(self, data: MemoryData, record: Record, now: int) -> Record:
        machine.cancel(record, now, "a job that it depends on failed")
        data.finish(record, None)
        return record

    # -- batches ------------------------------------------------------------------------------------------------

    def resolve(self, data: MemoryData, batch: BatchRecord, home: Home) -> list[Record]:
        """End a batch whose last child has ended, exactly once; give the job that ended with it."""
        now = data.clock()
        if not batch.resolve(now):
            return []
        note_batch(batch.id, batch.state, *counts_of(batch))
        callback = callback_of(batch, self.ids.next(now), now)
        if callback is not None:
            self._add(data, callback, home)
        ended = []
        outer = None if batch.outer_id is None else self.batches.get(batch.outer_id)
        if outer is not None:
            outer.count("completed" if batch.succeeded else "discarded")
            ended += self.resolve(data, outer, home)
        if batch.parent_id is not None:
            ended += self.end_waiting(data, batch.parent_id)
        return ended

    def begin_waiting(self, data: MemoryData, record: Record, home: Home) -> None:
        """The `perform` of a live job has ended, its children have not: nobody owns it until it ends with them."""
        data.give(record, None)
        ended = self.seal(data, record.id, home)
        self.end(data, ended or self.end_waiting(data, record.id), home)

    def seal(self, data: MemoryData, parent: bytes, home: Home) -> list[Record]:
        """The batches of a job take no more children; give what ended with that."""
        ended: list[Record] = []
        for batch in self._opened(parent):
            if batch.sealed_at is None:
                batch.sealed_at = data.clock()
                note_batch(batch.id, "sealed", batch.total)
                ended += self.resolve(data, batch, home)
        return ended

    def _opened(self, parent: bytes) -> list[BatchRecord]:
        return [self.batches[one] for one in self.opened.get(parent, ()) if one in self.batches]

    def end_waiting(self, data: MemoryData, job_id: bytes) -> list[Record]:
        """End a job whose batches are all resolved, those of its present run; give it if it was."""
        record = data.live.get(job_id)
        if record is None or record.state != "waiting":
            return []
        batches = [batch for batch in self._opened(job_id) if batch.is_of_run(record.attempted_at)]
        if not all(batch.resolved_at for batch in batches):
            return []
        machine.end_waiting(record, data.clock(), succeeded=all(batch.succeeded for batch in batches))
        data.finish(record, None)
        return [record]

    def put_back(self, record: Record, old: State) -> list[BatchRecord]:
        """A finished child of a batch is live again and does not count as ended; give the batches that go on with that.

        A batch that goes on does not count as ended in the one around it, and so on outwards.
        """
        again: list[BatchRecord] = []
        batch = self.batches.get(record.extra.batch_id or b"") if record.extra is not None else None
        while batch is not None:
            batch.count(old, -1)
            if batch.resolved_at is None:
                break
            old = "completed" if batch.succeeded else "discarded"
            batch.resolved_at = batch.succeeded = None
            again.append(batch)
            batch = self.batches.get(batch.outer_id or b"")
        return again

    def _add(self, data: MemoryData, record: Record, home: Home) -> None:
        row = data.add(record, home(record.queue))
        note_inserted([row])
        self._tell(data, row)

    def _tell(self, data: MemoryData, record: Record) -> None:
        if record.node is None:
            data.told.add(record.queue)
        else:
            self.ready.append(record)


def _keep_result(record: Record, parent: Record) -> None:
    if parent.state != "completed" or parent.result is None:
        return
    assert record.extra is not None
    member = b'"%b":%b' % (str(as_uuid(parent.id)).encode(), parent.result)
    results = record.extra.dependency_results
    results = results + b"," + member if results else member
    record.extra = msgspec.structs.replace(record.extra, dependency_results=results)


def _row(data: MemoryData, job_id: bytes) -> Record:
    record = data.live.get(job_id) or data.finished[job_id]
    assert record.state in TERMINAL_STATES or job_id in data.live
    return record
