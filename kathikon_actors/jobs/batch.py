"""Batches: jobs that are counted together, and one callback job when the last of them has ended."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Literal
from uuid import UUID

import msgspec

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob, shown
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.new_job import NewJob, check_new
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sealing import SEALED
from kathikon_actors.jobs.states import State

__all__ = ["AtLeast", "Batch", "BatchRecord", "BatchState", "Callback", "Policy", "at_least", "callback_of"]

_REFUSED: Final = (
    "id", "schedule_at", "schedule_in", "durability", "unique", "depends_on", "on_dependency_failure", "batch",
    "partition_key",
)  # fmt: skip

BatchState = Literal["open", "running", "succeeded", "failed"]
"""`open` takes more jobs, `running` is closed and waits for the last of them, the others are how it ended."""


@dataclass(frozen=True)
class AtLeast:
    """The success policy that asks for `number` completed children."""

    number: int


Policy = Literal["all", "any"] | AtLeast


def at_least(number: int) -> AtLeast:
    """Give the policy by which a batch succeeds when at least `number` of its children completed.

    Raises:
        BadConfiguration: it is no whole number from 0.

    Example:
        ```python
        Batch(on_success=merge.new(), policy=at_least(90))
        ```
    """
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**63:
        raise BadConfiguration(f"at_least({number!r}): give a whole number from 0")
    return AtLeast(number)


@dataclass(frozen=True)
class Batch:
    """What a batch does when its last child has ended: at most one callback job is inserted, in that transaction.

    Attributes:
        on_complete: inserted when neither of the others is given for how it ended. These jobs take what says how they
            run: `queue`, `priority`, `max_attempts`, `timeout`, `tags`, `meta` and `result`.
        on_success: inserted when the policy is met.
        on_failure: inserted when it is not.
        policy: `"all"` children completed (the default; a batch without children succeeds), `"any"` of them, or
            `at_least(n)`.
        name: for people.

    Raises:
        BadConfiguration: naming what does not fit.

    Example:
        ```python
        async with node.open_batch(Batch(on_success=announce.new(), on_failure=alert.new())) as batch:
            await batch.insert_many(resize.new(path) for path in paths)
        ```
    """

    _: KW_ONLY
    on_complete: NewJob | None = None
    on_success: NewJob | None = None
    on_failure: NewJob | None = None
    policy: Policy = "all"
    name: str | None = None

    def __post_init__(self) -> None:
        for field in ("on_complete", "on_success", "on_failure"):
            value = getattr(self, field)
            if value is not None:
                _check_callback(field, value)
        if self.policy not in ("all", "any") and not isinstance(self.policy, AtLeast):
            raise BadConfiguration(f'Batch: policy is {shown(self.policy)}; give "all", "any" or at_least(n)')
        if self.name is not None and not json.is_text(self.name):
            raise BadConfiguration(f"Batch: name is {shown(self.name)}; give a string that UTF-8 and Postgres can hold")

    @property
    def needed(self) -> int | None:
        """How many children must complete, `None` for all."""
        if isinstance(self.policy, AtLeast):
            return self.policy.number
        return None if self.policy == "all" else 1


def _check_callback(field: str, job: object) -> None:
    if not isinstance(job, NewJob):
        raise BadConfiguration(f"Batch: {field} is {shown(job)}; give a job that is not inserted: worker.new(...)")
    for option in _REFUSED:
        if job.given.get(option) is not None:
            raise BadConfiguration(
                f"Batch: the job of {field} has the option {option}, but it is a new job of its own when the batch ends"
            )
    try:
        check_new(job)
    except InvalidJob as error:
        raise BadConfiguration(f"Batch: {field}: {error}") from None


class Callback(msgspec.Struct, gc=False, kw_only=True):
    """A callback job as a store keeps it: what an insert would have made, without id and time."""

    queue: str
    worker: str
    args: msgspec.Raw
    meta: msgspec.Raw
    priority: int
    max_attempts: int
    timeout: float | Literal["Infinity"]
    """JSON has no number for what never ends; the word is what Postgres reads."""
    tags: tuple[str, ...]
    keep_result: bool
    bound: str | None = None
    """The id that encrypted arguments are bound to."""

    @classmethod
    def of(cls, record: Record) -> Callback:
        """Take from a record what it needs."""
        return cls(
            queue=record.queue,
            worker=record.worker,
            args=msgspec.Raw(record.args),
            meta=msgspec.Raw(record.meta),
            priority=record.priority,
            max_attempts=record.max_attempts,
            timeout="Infinity" if math.isinf(record.timeout) else record.timeout,
            tags=record.tags,
            keep_result=record.keep_result,
            bound=str(as_uuid(record.id)) if record.args.startswith(SEALED) else None,
        )

    def encode(self) -> bytes:
        """Give it as JSON."""
        return msgspec.json.encode(self)


_decode_callback: Final = msgspec.json.Decoder(Callback).decode


class BatchRecord(msgspec.Struct, gc=False, kw_only=True):
    """One batch as a store keeps it.

    Attributes:
        id: 16 bytes; the other ids likewise.
        opened_at: microseconds since 1970; the other times likewise.
        sealed_at: when it was closed: it takes no more children.
        resolved_at: when the last child had ended.
        succeeded: how it ended.
        needed: how many children must complete, `None` for all.
        parent_id: the job that opened it while it ran, and ends when it is resolved.
        run_at: when that run of it started, its `attempted_at`; `None` where an older version opened the batch.
        outer_id: the batch that it counts in as one child.
        on_complete: a `Callback` as JSON; `on_success`, `on_failure` likewise.
    """

    id: bytes
    opened_at: int
    sealed_at: int | None = None
    resolved_at: int | None = None
    succeeded: bool | None = None
    total: int = 0
    completed: int = 0
    cancelled: int = 0
    discarded: int = 0
    needed: int | None = None
    parent_id: bytes | None = None
    run_at: int | None = None
    outer_id: bytes | None = None
    name: str | None = None
    on_complete: bytes | None = None
    on_success: bytes | None = None
    on_failure: bytes | None = None

    @property
    def state(self) -> BatchState:
        """Where it is."""
        if self.resolved_at is not None:
            return "succeeded" if self.succeeded else "failed"
        return "open" if self.sealed_at is None else "running"

    @property
    def ended(self) -> int:
        """Children that have ended."""
        return self.completed + self.cancelled + self.discarded

    def is_of_run(self, attempted_at: int | None) -> bool:
        """Whether the run of `parent_id` that started then has opened it, and not an earlier one."""
        if self.run_at is None:
            return attempted_at is None or self.opened_at >= attempted_at
        return self.run_at == attempted_at

    def count(self, state: State, by: int = 1) -> None:
        """Children ended in this state; with a negative `by` they were put back."""
        setattr(self, state, getattr(self, state) + by)

    def resolve(self, now: int) -> bool:
        """End it if the last child has ended and it is closed; tell whether that was now."""
        if self.resolved_at is not None or self.sealed_at is None or self.ended < self.total:
            return False
        self.resolved_at = now
        failed = self.cancelled + self.discarded
        self.succeeded = failed == 0 if self.needed is None else self.completed >= self.needed
        return True


def callback_of(batch: BatchRecord, new_id: bytes, now: int) -> Record | None:
    """Give the callback job of a resolved batch, `None` when it has none for how it ended."""
    raw = (batch.on_success if batch.succeeded else batch.on_failure) or batch.on_complete
    if raw is None:
        return None
    callback = _decode_callback(raw)
    meta: dict[str, Any] = {**json.decode(bytes(callback.meta)), "batch": summary(batch)}
    record = Record(
        id=new_id,
        queue=callback.queue,
        worker=callback.worker,
        args=bytes(callback.args),
        meta=json.encode(meta),
        state="available",
        priority=callback.priority,
        max_attempts=callback.max_attempts,
        timeout=float(callback.timeout),
        tags=callback.tags,
        keep_result=callback.keep_result,
        original_id=None if callback.bound is None else UUID(callback.bound).bytes,
        inserted_at=now,
        scheduled_at=now,
    )
    record.history = b'[%d,"inserted",null,"available"]' % now
    return record


def summary(batch: BatchRecord) -> dict[str, Any]:
    """Give what the callback's `meta["batch"]` says of the batch."""
    return {
        "id": str(as_uuid(batch.id)),
        "name": batch.name,
        "state": batch.state,
        "total": batch.total,
        "completed": batch.completed,
        "cancelled": batch.cancelled,
        "discarded": batch.discarded,
    }
