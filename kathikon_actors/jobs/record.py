"""The job record: `Record`, which the node works on, and `Job`, the frozen view that users see.

A `Record` is kept small and cheap to change: ids are 16 bytes, times are microseconds since 1970 (UTC), JSON stays
encoded until somebody looks at it. It holds no reference cycles, so the garbage collector need not look at it.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypedDict
from uuid import UUID

import msgspec

from kathikon_actors.jobs import json, runtime
from kathikon_actors.jobs.durability import Durability
from kathikon_actors.jobs.extra import Extra, OnFailure
from kathikon_actors.jobs.history import whole_history
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.inside import Inside
from kathikon_actors.jobs.sealing import SEALED_KEY, CannotOpen, bound_id, unseal
from kathikon_actors.jobs.states import TERMINAL_STATES, State

__all__ = ["ErrorEntry", "HistoryEntry", "Job", "Record", "from_us", "to_us"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_PLAIN = Extra()


def from_us(us: int) -> dt.datetime:
    """Give microseconds since 1970 as an aware UTC datetime, exactly."""
    return _EPOCH + dt.timedelta(microseconds=us)


def to_us(at: dt.datetime) -> int:
    """Give an aware datetime as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


HistoryEntry = TypedDict(
    "HistoryEntry", {"at": dt.datetime, "event": str, "from": str | None, "to": str, "meta": dict[str, Any]}
)
"""One transition: when, what happened, from which state to which."""


class ErrorEntry(TypedDict):
    """One failed attempt."""

    at: dt.datetime
    attempt: int
    kind: str
    message: str
    traceback: str | None
    node: str | None
    worker_pid: int | None


class Record(msgspec.Struct, gc=False, kw_only=True, array_like=True):
    """One job as the node holds it and as the stores keep it. Changed only by `jobs.machine`.

    Attributes:
        id: 16 bytes of a UUID.
        args: a JSON object, encoded. `meta` likewise.
        inserted_at: microseconds since 1970; the other times likewise.
        finished_at: when it became completed, cancelled or discarded.
        history: JSON arrays `[at, event, from, to]` or `[at, event, from, to, meta]`, joined by commas; empty while
            the job's times say it all, see `jobs.history`.
        errors: JSON objects joined by commas.
        fence: the attempt as the store has it, -1 while the store has no row: each write compares it.
        dirty: waits in a lane of the journal.
        rerun_of: 16 bytes, the job that this one repeats; `original_id` is the first one of such a chain.
        extra: what only some jobs have, `None` for a plain one.
        durability: when it is written. A row that was read again is written like any other.
    """

    id: bytes
    queue: str
    worker: str
    args: bytes
    state: State
    priority: int
    max_attempts: int
    inserted_at: int
    scheduled_at: int
    timeout: float
    attempt: int = 0
    attempted_at: int | None = None
    finished_at: int | None = None
    meta: bytes = b"{}"
    tags: tuple[str, ...] = ()
    history: bytes = b""
    errors: bytes = b""
    result: bytes | None = None
    keep_result: bool = True
    progress: int = 0
    orphaned: int = 0
    node: str | None = None
    fence: int = -1
    dirty: bool = False
    rerun_of: bytes | None = None
    original_id: bytes | None = None
    extra: Extra | None = None
    durability: Durability = "commit"


class Job(Inside):
    """A job as it was at one moment: a frozen view, cheap to make, decoded when looked at.

    Inside a worker `report_progress`, `is_cancelled`, `insert`, `insert_many` and `open_batch` speak with the node that
    runs the job.

    Example:
        ```python
        job = await node.insert(charge_customer.new("INV-7", cents=5))
        print(job.id, job.state, job.args["cents"])
        ```
    """

    __slots__ = ("_record", "conflict")

    _record: Record
    conflict: bool
    """True when an insert met a unique job that exists already, and this is that one."""

    def __init__(self, record: Record, *, conflict: bool = False) -> None:
        object.__setattr__(self, "_record", record)
        object.__setattr__(self, "conflict", conflict)

    @classmethod
    def of(cls, record: Record) -> Job:
        """Take a picture of a record that may change later."""
        # copy.copy() would find the same method in three times the time.
        picture: Record = record.__copy__()  # type: ignore[attr-defined]
        return cls(picture)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Job is a frozen record; it has no {name} to set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Job is a frozen record; it has no {name} to delete")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self._record.id)

    def __repr__(self) -> str:
        record = self._record
        return f"<Job {self.id} {record.worker} on {record.queue}: {record.state}, attempt {record.attempt}>"

    def __reduce__(self) -> tuple[Callable[[Record, bool], Job], tuple[Record, bool]]:
        return _view, (self._record, self.conflict)

    @property
    def id(self) -> UUID:
        """A UUIDv7, unless the caller gave another."""
        return as_uuid(self._record.id)

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self._record.queue

    @property
    def worker(self) -> str:
        """The worker's name."""
        return self._record.worker

    @property
    def args(self) -> dict[str, Any]:
        """The arguments by name, as JSON values."""
        value: dict[str, Any] = self._opened("args", self._record.args)
        return value

    @property
    def meta(self) -> dict[str, Any]:
        """The caller's own notes: a JSON object."""
        value: dict[str, Any] = self._opened("meta", self._record.meta)
        return value

    @property
    def tags(self) -> list[str]:
        """The job's tags, in the order given."""
        return list(self._record.tags)

    @property
    def priority(self) -> int:
        """Higher first, default 0."""
        return self._record.priority

    @property
    def state(self) -> State:
        """The state at the moment this view was taken."""
        return self._record.state

    @property
    def is_terminal(self) -> bool:
        """Whether it is completed, cancelled or discarded."""
        return self._record.state in TERMINAL_STATES

    @property
    def attempt(self) -> int:
        """How many times `perform` was started, snoozes and lost workers not counted."""
        return self._record.attempt

    @property
    def max_attempts(self) -> int:
        """At this many failed attempts the job is discarded."""
        return self._record.max_attempts

    @property
    def timeout(self) -> float:
        """Seconds one attempt may take."""
        return self._record.timeout

    @property
    def inserted_at(self) -> dt.datetime:
        """When it was inserted, UTC."""
        return from_us(self._record.inserted_at)

    @property
    def scheduled_at(self) -> dt.datetime:
        """When it is or was due, UTC."""
        return from_us(self._record.scheduled_at)

    @property
    def attempted_at(self) -> dt.datetime | None:
        """When the last attempt began, UTC."""
        return None if self._record.attempted_at is None else from_us(self._record.attempted_at)

    @property
    def completed_at(self) -> dt.datetime | None:
        """When it completed, UTC."""
        return self._finished("completed")

    @property
    def cancelled_at(self) -> dt.datetime | None:
        """When it was cancelled, UTC."""
        return self._finished("cancelled")

    @property
    def discarded_at(self) -> dt.datetime | None:
        """When it was discarded, UTC."""
        return self._finished("discarded")

    @property
    def errors(self) -> list[ErrorEntry]:
        """One entry per failed attempt, kept after a later success."""
        entries: list[ErrorEntry] = json.decode(b"[" + self._record.errors + b"]")
        for entry in entries:
            entry["at"] = from_us(entry["at"])  # type: ignore[arg-type]
            entry["message"] = unseal(entry["message"], bound_id(self._record), "message")
            entry["traceback"] = unseal(entry["traceback"], bound_id(self._record), "traceback")
        return entries

    @property
    def history(self) -> list[HistoryEntry]:
        """One entry per transition, in causal order."""
        entries: list[HistoryEntry] = []
        for at, event, old, new, *meta in json.decode(b"[" + whole_history(self._record) + b"]"):
            entries.append({"at": from_us(at), "event": event, "from": old, "to": new, "meta": meta[0] if meta else {}})
        return entries

    @property
    def result(self) -> Any:
        """The value that `perform` returned, `None` before it did."""
        return None if self._record.result is None else self._opened("result", self._record.result)

    @property
    def progress(self) -> int:
        """0 to 100, as reported from inside."""
        return self._record.progress

    @property
    def node(self) -> str | None:
        """The name of the node that owns or finished it."""
        return self._record.node

    @property
    def orphaned(self) -> int:
        """How many times it was taken over from a dead node."""
        return self._record.orphaned

    @property
    def rerun_of(self) -> UUID | None:
        """The job that an operator ran again as this one."""
        return None if self._record.rerun_of is None else as_uuid(self._record.rerun_of)

    @property
    def original_id(self) -> UUID | None:
        """The first job of a chain of reruns; `None` for a job that is no rerun."""
        return None if self._record.original_id is None else as_uuid(self._record.original_id)

    @property
    def unique_key(self) -> str | None:
        """The hash that no other job in the unique states may have, as 32 hexadecimal digits."""
        key = (self._record.extra or _PLAIN).unique_key
        return None if key is None else key.hex()

    @property
    def partition_key(self) -> str | None:
        """Its partition of a fair queue."""
        return (self._record.extra or _PLAIN).partition_key

    @property
    def depends_on(self) -> list[UUID]:
        """The jobs that it waits for, or waited for."""
        return [as_uuid(parent) for parent in (self._record.extra or _PLAIN).depends_on]

    @property
    def on_dependency_failure(self) -> OnFailure:
        """Whether it is cancelled (`"discard"`) or runs (`"run"`) when one of those fails."""
        return (self._record.extra or _PLAIN).on_dependency_failure

    @property
    def dependency_results(self) -> dict[UUID, Any]:
        """The results of those that completed, by their ids."""
        results: dict[str, Any] = json.decode(b"{" + (self._record.extra or _PLAIN).dependency_results + b"}")
        parents = {UUID(parent): result for parent, result in results.items()}
        return {parent: unseal(result, parent.bytes, "result") for parent, result in parents.items()}

    @property
    def batch_id(self) -> UUID | None:
        """The batch that it is a child of."""
        batch = (self._record.extra or _PLAIN).batch_id
        return None if batch is None else as_uuid(batch)

    @property
    def parent_id(self) -> UUID | None:
        """The job that inserted it while it ran."""
        parent = (self._record.extra or _PLAIN).parent_id
        return None if parent is None else as_uuid(parent)

    def report_progress(self, percent: int) -> None:
        """Tell the node how far the work is: 0 to 100. Only inside a running worker.

        Raises:
            ValueError: `percent` is no whole number from 0 to 100.
            RuntimeError: this is not the job that runs here.
        """
        runtime.of(self._record.id).report_progress(runtime.check_percent(percent))

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody cancelled the job that runs here; a long loop may look and stop by itself."""
        return runtime.of(self._record.id).is_cancelled()

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger named after the worker, whose lines carry `job_id`, `worker`, `queue` and `attempt`.

        Example:
            ```python
            job.log.info("charged %d cents", cents)
            ```
        """
        record = self._record
        context = {"job_id": str(self.id), "worker": record.worker, "queue": record.queue, "attempt": record.attempt}
        return logging.LoggerAdapter(logging.getLogger(f"kathikon_actors.job.{record.worker}"), context)

    def to_dict(self) -> dict[str, Any]:
        """Give every field by name, times as ISO 8601: what `--json` prints.

        What is encrypted and cannot be opened is `{"encrypted": true}`; what cannot be read, since SQL stored deeper
        nesting or larger numbers than Python can hold, is its raw text.
        """
        names = (
            "id", "queue", "worker", "args", "meta", "tags", "priority", "state", "attempt", "max_attempts", "timeout",
            "inserted_at", "scheduled_at", "attempted_at", "completed_at", "cancelled_at", "discarded_at", "errors",
            "history", "result", "progress", "node", "orphaned", "rerun_of", "original_id",
            "unique_key", "partition_key", "depends_on", "on_dependency_failure", "dependency_results", "batch_id",
            "parent_id",
        )  # fmt: skip
        return {name: self._shown(name) for name in names}

    def _shown(self, name: str) -> Any:
        try:
            return _plain(getattr(self, name))
        except CannotOpen:
            return {"encrypted": True}
        except (ValueError, RecursionError):  # SQL stores what Python cannot hold
            return self._raw(name)

    def _raw(self, name: str) -> str:
        raw = getattr(self._record, name, None)
        if raw is None and self._record.extra is not None:
            raw = getattr(self._record.extra, name, None)
        return raw.decode() if isinstance(raw, bytes) else ""

    def _opened(self, field: str, raw: bytes) -> Any:
        try:
            value = json.decode(raw)
        except ValueError as error:
            raise ValueError(f"{field} of job {self.id} cannot be read: {error}; to_dict() has the raw text") from None
        if type(value) is dict and SEALED_KEY in value:
            return unseal(value, bound_id(self._record), field)
        return value

    def _finished(self, state: State) -> dt.datetime | None:
        record = self._record
        return from_us(record.finished_at) if record.state == state and record.finished_at is not None else None


def _view(record: Record, conflict: bool) -> Job:
    return Job(record, conflict=conflict)


def _plain(value: object) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
