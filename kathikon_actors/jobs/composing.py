"""What `unique`, `depends_on`, `batch` and `partition_key` make of a new job, before a store decides on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import InvalidJob, KathikonError, shown
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.json import is_text
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.unique import Unique, unique_key

__all__ = ["COMPOSING_OPTIONS", "Answer", "check_meeting", "compose", "is_composed", "parents_first", "with_results"]

COMPOSING_OPTIONS: Final = ("unique", "depends_on", "on_dependency_failure", "batch", "partition_key")
"""Insert options that give a job an `Extra`."""


@dataclass(frozen=True)
class Answer:
    """What a store made of one composed insert.

    Attributes:
        record: the job as it is stored: the new one, or the one that has its unique key; `None` when it was refused.
        conflict: it is the other one.
        error: why it was refused; nothing was stored.
    """

    record: Record | None = None
    conflict: bool = False
    error: KathikonError | None = None


def is_composed(record: Record) -> bool:
    """Tell whether a store has to decide on the insert: it may conflict, wait, or be refused."""
    extra = record.extra
    return extra is not None and (extra.unique_key is not None or bool(extra.depends_on) or extra.batch_id is not None)


def check_meeting(record: Record, policy: Unique, holder: Record) -> InvalidJob | None:
    """Give what is wrong with an insert that meets the job which has its key; `None` for nothing.

    Arguments were bound for their own worker, and mean nothing to another one.
    """
    if "args" not in policy.replace or holder.worker == record.worker:
        return None
    problem = (
        f'is to replace the args of job {as_uuid(holder.id)}, which is one of worker "{holder.worker}"; '
        'name "worker" among its keys, or leave "args" out of replace'
    )
    return InvalidJob(record.worker, "unique", problem)


def parents_first(records: Sequence[Record]) -> list[Record]:
    """Give records that are inserted together such that none stands before one that it waits for.

    Otherwise in the order in which they were given. Those that wait for each other in a circle come last.
    """
    given = {record.id: record for record in records}
    left = {r.id: {p for p in r.extra.depends_on if p in given} if r.extra is not None else set() for r in records}
    if not any(left.values()):
        return list(records)
    placed: dict[bytes, Record] = {}
    early: dict[bytes, list[bytes]] = {}
    for job_id in given:
        todo = [job_id]
        while todo:
            one = todo.pop()
            left[one] -= placed.keys()
            if left[one]:
                early.setdefault(next(iter(left[one])), []).append(one)
            else:
                placed[one] = given[one]
                todo += reversed(early.pop(one, ()))
    return [*placed.values(), *(record for record in records if record.id not in placed)]


def with_results(extra: Extra, results: Mapping[bytes, bytes]) -> Extra:
    """Add the results of parents, as JSON by their ids, that a dependant does not have yet."""
    known = json.decode(b"{%b}" % extra.dependency_results)
    new = [
        b'"%b":%b' % (name.encode(), results[parent])
        for parent in extra.depends_on
        if parent in results and (name := str(as_uuid(parent))) not in known
    ]
    if not new:
        return extra
    members = b",".join([extra.dependency_results, *new] if extra.dependency_results else new)
    return msgspec.structs.replace(extra, dependency_results=members)


def compose(record: Record, args: object, given: dict[str, Any], default: Unique | None) -> None:
    """Set `record.extra`, and the state and time that follow from it.

    Args:
        record: built from everything else; its history is not begun.
        args: its arguments, not encoded.
        given: the options of the call.
        default: the worker's own policy.

    Raises:
        InvalidJob: naming the option and what is legal.
    """
    worker = record.worker
    if default is not None and default.is_simple and not given:
        record.extra = Extra(unique_key=unique_key(default, worker, record.queue, args, {}))
        return
    policy = _policy(worker, given["unique"], default) if "unique" in given else default
    failure = given.get("on_dependency_failure", "discard")
    if failure not in ("discard", "run"):
        raise InvalidJob(worker, "on_dependency_failure", f'is {shown(failure)}; give "discard" or "run"')
    partition = given.get("partition_key")
    if partition is not None and not is_text(partition):
        raise InvalidJob(
            worker, "partition_key", f"is {shown(partition)}; give a string that UTF-8 and Postgres can hold"
        )
    extra = Extra(
        unique_key=None if policy is None else unique_key(policy, worker, record.queue, args, given.get("meta", {})),
        unique=None if policy is None or policy.is_simple else policy,
        guarded=0 if policy is not None and policy.is_guarded else None,
        partition_key=partition,
        depends_on=_ids(worker, given["depends_on"]) if "depends_on" in given else (),
        on_dependency_failure=failure,
        batch_id=None if given.get("batch") is None else _id(worker, "batch", given["batch"]),
    )
    if record.id in extra.depends_on:
        raise InvalidJob(worker, "depends_on", "names the job itself; it would wait for ever")
    if policy is not None and policy.debounce is not None:
        record.scheduled_at = max(record.scheduled_at, record.inserted_at + int(policy.debounce * 1e6))
        record.state = "scheduled"
    if extra.depends_on:
        record.state = "blocked"
    if extra != _PLAIN:
        record.extra = extra


_PLAIN: Final = Extra()


def _policy(worker: str, value: object, default: Unique | None) -> Unique | None:
    if value is None or value is False:
        return None
    if value is True:
        return default or Unique()
    if not isinstance(value, Unique):
        raise InvalidJob(worker, "unique", f"is {shown(value)}; give Unique(...), True or None")
    return value


def _ids(worker: str, value: Any) -> tuple[bytes, ...]:
    if isinstance(value, Job | UUID | str):
        value = (value,)
    if not isinstance(value, Iterable):
        raise InvalidJob(worker, "depends_on", f"is {shown(value)}; give a list of jobs or their ids")
    return tuple(dict.fromkeys(_id(worker, f"depends_on[{place}]", item) for place, item in enumerate(value)))


def _id(worker: str, field: str, value: Any) -> bytes:
    value = getattr(value, "id", value)
    if isinstance(value, UUID):
        return value.bytes
    try:
        return UUID(value).bytes
    except (ValueError, AttributeError, TypeError):
        raise InvalidJob(worker, field, f"is {shown(value)}; give a job, a batch or an id") from None
