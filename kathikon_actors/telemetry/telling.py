"""What the transactions of a store do to jobs and batches by themselves, told when they are committed.

The end of a job frees its dependants, resolves its batch, inserts a callback: in the database, in the transaction that
ends it. An operator's change of jobs that nobody owns happens there, too. Whoever runs such a transaction collects what
it did and tells the bus of its node after the commit; what is rolled back was never told. Nobody collects while nobody
listens, and no transaction is collected without bound: see `MOST`.

A store notes what its SQL, or it itself, has done with the functions below; what goes through the state machine within
the transaction is noted by the node's `JobWatch`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final
from uuid import UUID

from kathikon_actors.jobs import json
from kathikon_actors.jobs.batch import BatchRecord
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import State
from kathikon_actors.telemetry.bus import Bus
from kathikon_actors.telemetry.events import BatchChanged, Event, JobsChanged, JobTransition

__all__ = [
    "MOST",
    "Telling",
    "Told",
    "born",
    "counts_of",
    "forget",
    "hear",
    "heard",
    "inserted",
    "is_heard",
    "note_batch",
    "note_inserted",
    "note_more",
    "note_moved",
    "transition",
]

MOST: Final = 5_000
"""Transitions of one transaction that are told one by one; the others as numbers, by `JobsChanged`. The functions of
the database have the same number."""

_MOVED: Final = "kathikon_moved "
_BATCH: Final = "kathikon_batch "

_RESOLVED: Final = ("succeeded", "failed")

_Kind = tuple[str, str, str, State | None, State | None]


class Told:
    """What one transaction has done so far.

    Args:
        bus: of the node that runs it.
        jobs: somebody wants to know of jobs; `batches` likewise.
    """

    def __init__(self, bus: Bus, *, jobs: bool = True, batches: bool = True) -> None:
        self.bus = bus
        self.jobs = jobs
        self.batches = batches
        self._born: list[JobTransition] = []
        self._events: list[Event] = []
        self._more: Counter[_Kind] = Counter()
        self._of: dict[UUID, list[JobTransition]] = {}
        self._taken = False

    def job(self, event: JobTransition) -> None:
        """A job has moved."""
        if not self.jobs:
            return
        if len(self._born) + len(self._events) >= MOST:
            self.more((event.queue, event.worker, event.event, event.old, event.new), 1)
            return
        (self._born if event.old is None else self._events).append(event)
        self._of.setdefault(event.job_id, []).append(event)

    def more(self, kind: _Kind, number: int) -> None:
        """So many more jobs have moved than can be told one by one."""
        if self.jobs:
            self._more[kind] += number

    def batch(self, event: BatchChanged) -> None:
        """A batch went on."""
        if self.batches:
            self._events.append(event)

    def clear(self) -> None:
        """It was rolled back."""
        self._born, self._events, self._more = [], [], Counter()
        self._of.clear()
        self._taken = False

    def take(self, job_id: UUID) -> list[JobTransition]:
        """Give what was noted of one job; it is not given again."""
        if job_id not in self._of:
            return []
        self._taken = True
        return self._of.pop(job_id)

    def take_seal(self, batch_id: UUID) -> BatchChanged | None:
        """Give that a batch was sealed, if that was noted; it is not given again."""
        for event in self._events:
            if isinstance(event, BatchChanged) and event.batch_id == batch_id and event.action == "sealed":
                self._events.remove(event)
                return event
        return None

    def events(self) -> list[Event]:
        """Give them in order; of each job its insert comes first, which a store notes when it has all of them."""
        more = [
            JobsChanged(queue=queue, worker=worker, event=event, old=old, new=new, jobs=number)
            for (queue, worker, event, old, new), number in self._more.items()
        ]
        noted = [*self._born, *self._events]
        if self._taken:
            kept = {id(event) for events in self._of.values() for event in events}
            noted = [event for event in noted if not isinstance(event, JobTransition) or id(event) in kept]
        return [*noted, *more]


_TOLD: ContextVar[Told | None] = ContextVar("kathikon_told", default=None)


class Telling:
    """Tells the bus of a node what the transactions of its store have done. One a store; without a bus it is silent."""

    def __init__(self) -> None:
        self._bus: Bus | None = None
        self._later: list[Event] = []
        self._under_way: list[Told] = []
        self._expected: set[UUID] = set()
        self._told_early: set[UUID] = set()

    def attach(self, bus: Bus) -> None:
        """From now on tell this bus."""
        self._bus = bus

    def begin(self) -> Told | None:
        """Give what a transaction is to be collected in; `None` while nobody listens."""
        bus = self._bus
        if bus is None or not bus.active:
            return None
        jobs, batches = bus.wants(JobTransition), bus.wants(BatchChanged)
        return Told(bus, jobs=jobs, batches=batches) if jobs or batches else None

    def expect(self, records: Iterable[Record]) -> None:
        """These are being inserted, and are told as inserted before the next `flush`.

        Another connection may see them first, and its answer may come first: what it does to them waits until then, and
        before a job of them moves here it is told as inserted.
        """
        if self._bus is not None and self._bus.wants(JobTransition):
            self._expected = {as_uuid(record.id) for record in records} - self._told_early

    @contextmanager
    def collect(self, told: Told | None = None, *, later: bool = False) -> Iterator[None]:
        """Note in `told` (or in what `begin` gives) what happens within, and tell it if nothing is raised.

        Args:
            told: from `begin`.
            later: only with the next `flush`: these jobs are not told as inserted yet.
        """
        told = self.begin() if told is None else told
        if told is None:
            yield
            return
        token = _TOLD.set(told)
        self._under_way.append(told)
        try:
            yield
        finally:
            self._under_way.remove(told)
            _TOLD.reset(token)
        if later:
            self._later[:0] = told.events()  # before what others did to these jobs
            return
        for event in told.events():
            if self._expected and isinstance(event, JobTransition) and event.job_id in self._expected:
                self._later.append(event)
            else:
                if isinstance(event, JobTransition):
                    self.overtake(event.job_id)
                elif isinstance(event, BatchChanged):
                    self._overtake_seal(event)
                told.bus.emit(event)

    def new(self, records: Iterable[Record]) -> Iterable[Record]:
        """Give those whose insert is still to be told."""
        if not self._told_early:
            return records
        return [record for record in records if as_uuid(record.id) not in self._told_early]

    def overtake(self, job_id: UUID, record: Record | None = None, old: State | None = None) -> None:
        """Something has happened to a job: tell first what transactions that are under way have done to it.

        Whoever sees the job as they left it knows that they are committed, though their answers come later: a callback
        may be claimed and run before.

        Args:
            job_id: whose.
            record: the job itself, where it may be one that is being inserted.
            old: its state before what has happened now.
        """
        if record is not None and job_id in self._expected:
            self._expected.discard(job_id)
            self._told_early.add(job_id)
            assert self._bus is not None
            self._bus.emit(inserted(record, born(record) if record.history else old))
            waited = [e for e in self._later if isinstance(e, JobTransition) and e.job_id == job_id]
            for event in waited:
                self._later.remove(event)
                self._bus.emit(event)
        for told in self._under_way:
            for event in told.take(job_id):
                told.bus.emit(event)

    def _overtake_seal(self, event: BatchChanged) -> None:
        """A batch is resolved: it was sealed before, maybe by a transaction whose answer has not come yet."""
        if event.action in _RESOLVED:
            for told in self._under_way:
                sealed = told.take_seal(event.batch_id)
                if sealed is not None:
                    told.bus.emit(sealed)

    def flush(self) -> None:
        """Tell what was kept for later."""
        self._expected.clear()
        self._told_early.clear()
        if self._later:
            later, self._later = self._later, []
            for event in later:
                assert self._bus is not None
                self._bus.emit(event)


def heard() -> Told | None:
    """Give what the transaction that runs here is collected in."""
    return _TOLD.get()


def is_heard() -> bool:
    """Whether somebody wants to know which jobs the transaction that runs here moves."""
    told = _TOLD.get()
    return told is not None and told.jobs


def forget() -> None:
    """What happened so far was rolled back."""
    told = _TOLD.get()
    if told is not None:
        told.clear()


def note_inserted(records: Iterable[Record]) -> None:
    """The transaction has inserted these, and nobody else tells of it."""
    told = _TOLD.get()
    if told is not None and told.jobs:
        for record in records:
            told.job(inserted(record))


def note_moved(event: str, rows: Iterable[Iterable[Any]], new: State | None) -> None:
    """The transaction has moved jobs by a statement: id, worker, queue, attempt and old state of each."""
    told = _TOLD.get()
    if told is not None and told.jobs:
        for job_id, worker, queue, attempt, old in rows:
            told.job(
                JobTransition(
                    job_id=UUID(str(job_id)),
                    worker=worker,
                    queue=queue,
                    event=event,
                    old=old,
                    new=new,
                    attempt=attempt,
                )
            )


def note_more(event: str, rows: Iterable[Iterable[Any]], new: State | None) -> None:
    """The transaction has moved more jobs than it names: worker, queue, old state and number of each kind."""
    told = _TOLD.get()
    if told is not None:
        for worker, queue, old, number in rows:
            told.more((queue, worker, event, old, new), number)


def note_batch(
    batch_id: bytes, action: str, total: int | None = None, done: int | None = None, failed: int | None = None
) -> None:
    """The transaction has brought a batch on."""
    told = _TOLD.get()
    if told is not None:
        told.batch(BatchChanged(batch_id=as_uuid(batch_id), action=action, total=total, done=done, failed=failed))


def counts_of(batch: BatchRecord) -> tuple[int, int, int]:
    """Give total, done and failed as `note_batch` takes them."""
    return batch.total, batch.completed, batch.cancelled + batch.discarded


def hear(told: Told, notice: str) -> None:
    """A function of the database tells what it has done."""
    if notice.startswith(_MOVED):
        rows, more = json.decode(notice[len(_MOVED) :].encode())
        for job_id, worker, queue, attempt, (_, event, old, new, *meta) in rows:
            reason = meta[0].get("reason") if meta else None
            told.job(
                JobTransition(
                    job_id=UUID(job_id),
                    worker=worker,
                    queue=queue,
                    event=event,
                    old=old,
                    new=new,
                    attempt=attempt,
                    reason=reason,
                )
            )
        for queue, worker, event, old, new, number in more:
            told.more((queue, worker, event, old, new), number)
    elif notice.startswith(_BATCH):
        batch_id, action, total, done, failed = json.decode(notice[len(_BATCH) :].encode())
        if action == "sealed":  # how many have ended by then says nothing
            done = failed = None
        told.batch(BatchChanged(batch_id=UUID(batch_id), action=action, total=total, done=done, failed=failed))


def inserted(record: Record, state: State | None = None) -> JobTransition:
    """Give the event of a new job; `state` is the one in which it was inserted, where the record does not tell."""
    line = record.history.partition(b"]")[0]
    meta = json.decode(line + b"]")[4] if b"{" in line else None
    return JobTransition(
        job_id=as_uuid(record.id),
        worker=record.worker,
        queue=record.queue,
        event="inserted",
        old=None,
        new=born(record) if state is None else state,
        attempt=0,
        reason=None if meta is None else meta.get("reason"),
    )


def born(record: Record) -> State:
    """Give the state in which a job was inserted, whatever has become of it."""
    if not record.history:  # the usual way; or not written yet
        return "available" if record.attempted_at is not None else record.state
    # [at,"inserted",null,"state"...
    state: State = record.history.split(b'"', 4)[3].decode()  # type: ignore[assignment]
    return state


def transition(
    record: Record, event: str, old: State | None, new: State, now: int, meta: dict[str, Any] | None
) -> JobTransition:
    """Give the event of a transition that was just made; `now` in microseconds since 1970."""
    seconds = waited = None
    if old == "executing" and record.attempted_at is not None and event != "never began":
        seconds = (now - record.attempted_at) / 1e6
    elif new == "executing":
        waited = max(0, now - record.scheduled_at) / 1e6
    reason = None if meta is None else meta.get("reason") or meta.get("note")
    return JobTransition(
        job_id=as_uuid(record.id),
        worker=record.worker,
        queue=record.queue,
        event=event,
        old=old,
        new=new,
        attempt=record.attempt,
        seconds=seconds,
        waited=waited,
        reason=None if reason is None else str(reason),
    )
