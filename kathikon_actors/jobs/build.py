"""From a `NewJob` to the `Record` that is stored: every option checked, nothing stored before all of it fits.

Precedence of an option: the call, then the worker, then the app.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.composing import COMPOSING_OPTIONS, compose, is_composed
from kathikon_actors.jobs.durability import Durability, explain_durability
from kathikon_actors.jobs.errors import InvalidJob, KathikonError, UnknownQueue, shown
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.new_job import INSERT_OPTIONS, NewJob, check_options
from kathikon_actors.jobs.queue import NAME_RULE
from kathikon_actors.jobs.record import Record, to_us
from kathikon_actors.jobs.sealed_record import Encrypt, check_encrypt, seal_new
from kathikon_actors.jobs.sealing import SEALED, SEALED_KEY, Keyring
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.jobs.worker import DEFAULT_TIMEOUT, LARGEST, SMALLEST, is_tag

__all__ = ["Defaults", "NamedWorker", "WorkerDefaults", "build_record"]

_UTC = ZoneInfo("UTC")
_COMPOSING = frozenset(COMPOSING_OPTIONS)
_KNOWN = frozenset(INSERT_OPTIONS)
_MAX_AHEAD = 100 * 365 * 86_400


@dataclass(frozen=True)
class Defaults:
    """What the app says where neither call nor worker does.

    Attributes:
        queues: the names there are.
        queue: the queue of a worker that names none.
        max_attempts: failed attempts until a job is discarded.
        timeout: seconds per attempt.
        timezone: of naive `schedule_at` times.
        keyring: encrypts what jobs carry; `None` when the app has no keys.
        durability: when jobs are written.
        templates: by worker, what its jobs without options have in common; filled as they are met.
    """

    queues: Collection[str]
    queue: str
    max_attempts: int = 3
    timeout: float = DEFAULT_TIMEOUT
    timezone: ZoneInfo = _UTC
    keyring: Keyring | None = None
    durability: Durability = "commit"
    templates: dict[WorkerDefaults, Record] = field(default_factory=dict, repr=False, compare=False)


class WorkerDefaults(Protocol):
    """What a worker says of its jobs; a `WorkerDefinition` is one."""

    @property
    def name(self) -> str:
        """What jobs call it."""
        ...

    @property
    def queue(self) -> str | None:
        """Its queue, if it names one."""
        ...

    @property
    def max_attempts(self) -> int | None:
        """Failed attempts until a job is discarded."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds per attempt."""
        ...

    @property
    def priority(self) -> int:
        """Higher first."""
        ...

    @property
    def tags(self) -> tuple[str, ...]:
        """Of its jobs."""
        ...

    @property
    def durability(self) -> Durability | None:
        """When its jobs are written."""
        ...

    @property
    def unique(self) -> Unique | None:
        """Which of its jobs count as the same."""
        ...

    @property
    def encrypt(self) -> Encrypt:
        """Whether they are encrypted."""
        ...


@dataclass(frozen=True)
class NamedWorker:
    """A worker of which only the name is known here: its code is in another program."""

    name: str
    queue: str | None = None
    max_attempts: int | None = None
    timeout: float | None = None
    priority: int = 0
    tags: tuple[str, ...] = ()
    durability: Durability | None = None
    unique: Unique | None = None
    encrypt: Encrypt = None


def build_record(new: NewJob, definition: WorkerDefaults, defaults: Defaults, ids: IdSource, now: int) -> Record:
    """Make the record of a new job.

    Args:
        new: worker, arguments and options.
        definition: the worker of that name in this app, or what is known of it.
        defaults: of the app.
        ids: where ids come from.
        now: microseconds since 1970.

    Raises:
        InvalidJob: naming worker, field and what is legal.
        UnknownOption: naming the nearest option.
        UnknownQueue: naming the nearest queue.
    """
    template = defaults.templates.get(definition)
    if template is None:
        template = defaults.templates[definition] = _template(definition, defaults)
    # copy.copy() would find the same method in three times the time.
    record: Record = template.__copy__()  # type: ignore[attr-defined]
    record.inserted_at = record.scheduled_at = now
    if type(new.args) is not dict:
        raise InvalidJob(record.worker, "args", f"is {shown(new.args)}; give arguments by name, as a dict")
    try:
        record.args = json.encode_strict(new.args, "args") if new.args else b"{}"
        if new.given:
            _apply(record, new.given, defaults.timezone)
    except json.NotJson as error:
        raise InvalidJob(record.worker, error.path, error.problem) from None
    if not isinstance(record.queue, str) or record.queue not in defaults.queues:
        raise _no_queue(record, defaults.queues)
    if not record.id:
        record.id = ids.next(now)
    else:
        record.inserted_at = ids.given(record.id, now)
    if definition.unique is not None or (new.given and not _COMPOSING.isdisjoint(new.given)):
        compose(record, new.args, new.given, definition.unique)
    if record.durability != "commit" and ("id" in new.given or is_composed(record)):
        _must_be_stored(record)
    if defaults.keyring is not None or definition.encrypt is not None or "encrypt" in new.given:
        given = new.given
        encrypt = check_encrypt(record.worker, given["encrypt"]) if "encrypt" in given else definition.encrypt
        seal_new(record, defaults.keyring, encrypt)
        _check_replace(record)
    elif record.args.startswith(SEALED):
        raise InvalidJob(record.worker, "args", f"have the key {SEALED_KEY!r}, which is taken")
    if record.state != "available":
        machine.inserted(record)
    return record


def _check_replace(record: Record) -> None:
    """What is encrypted is bound to its own job: it cannot be put into another one."""
    policy = record.extra.unique if record.extra is not None else None
    for name in ("args", "meta"):
        if policy is not None and name in policy.replace and getattr(record, name).startswith(SEALED):
            problem = f"is to replace {name}, which are encrypted for this job alone; leave them out of replace"
            raise InvalidJob(record.worker, "unique", problem)


def _template(definition: WorkerDefaults, defaults: Defaults) -> Record:
    """Make what the jobs of a worker have in common; id, arguments and times are each one's own."""
    return Record(
        id=b"",
        queue=definition.queue if definition.queue is not None else defaults.queue,
        worker=definition.name,
        args=b"{}",
        state="available",
        priority=definition.priority,
        max_attempts=definition.max_attempts or defaults.max_attempts,
        inserted_at=0,
        scheduled_at=0,
        timeout=definition.timeout or defaults.timeout,
        tags=definition.tags,
        durability=definition.durability or defaults.durability,
    )


def _apply(record: Record, given: dict[str, Any], timezone: ZoneInfo) -> None:
    """Set the options of the call, where they are not `None` but say something."""
    if not _KNOWN.issuperset(given):
        check_options(record.worker, given)
    name, now = record.worker, record.inserted_at
    if given.get("queue") is not None:
        record.queue = given["queue"]
    if "meta" in given:
        record.meta = json.encode_strict(given["meta"], "meta")
        if record.meta[:1] != b"{":
            raise InvalidJob(name, "meta", "is not a JSON object")
    due = _due(name, given, timezone, now)
    if due > now:
        record.state, record.scheduled_at = "scheduled", due
    if "id" in given:
        record.id = _given_id(name, given["id"])
    if "priority" in given:
        record.priority = _whole(name, "priority", given["priority"], SMALLEST)
    if given.get("max_attempts") is not None:
        record.max_attempts = _whole(name, "max_attempts", given["max_attempts"], 1)
    if given.get("timeout") is not None:
        record.timeout = _seconds(name, "timeout", given["timeout"])
    if "tags" in given:
        record.tags = _tags(name, given["tags"])
    record.keep_result = _keep_result(name, given.get("result", "store"))
    if given.get("durability") is not None:
        record.durability = _durability(name, given["durability"])


def _no_queue(record: Record, known: Collection[str]) -> KathikonError:
    """Give the error of a queue that there is not; a client knows of none by name, and only of what a name is."""
    if known:
        return UnknownQueue(record.queue if isinstance(record.queue, str) else shown(record.queue), known)
    return InvalidJob(record.worker, "queue", f"is {shown(record.queue)}; {NAME_RULE}")


def _must_be_stored(record: Record) -> None:
    """Whether there is another such job, and what it is linked to, only the store can tell."""
    if record.durability == "memory":
        raise InvalidJob(record.worker, "durability", 'is "memory", but what is unique or linked has to be stored')
    record.durability = "commit"


def _durability(worker: str, value: Any) -> Durability:
    problem = explain_durability(value)
    if problem is not None:
        raise InvalidJob(worker, "durability", problem)
    return cast("Durability", value)


def _whole(worker: str, field: str, value: object, smallest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= LARGEST:
        raise InvalidJob(worker, field, f"is {shown(value)}; give a whole number from {smallest} to {LARGEST}")
    return value


def _seconds(worker: str, field: str, value: object) -> float:
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and float(value) > 0:
            return float(value)
    except OverflowError:
        pass
    raise InvalidJob(worker, field, f"is {shown(value)}; give seconds above 0")


def _tags(worker: str, value: Any) -> tuple[str, ...]:
    tags = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else None
    if tags is None or not all(is_tag(tag) for tag in tags):
        raise InvalidJob(worker, "tags", f"is {shown(value)}; give a list of non-empty strings")
    return tags


def _keep_result(worker: str, value: object) -> bool:
    if value not in ("store", "discard"):
        raise InvalidJob(worker, "result", f'is {shown(value)}; give "store" or "discard"')
    return value == "store"


def _given_id(worker: str, value: object) -> bytes:
    if isinstance(value, UUID):
        return value.bytes
    if isinstance(value, str):
        try:
            return UUID(value).bytes
        except ValueError:
            pass
    raise InvalidJob(worker, "id", f"is {shown(value)}; give a UUID")


def _due(worker: str, given: dict[str, Any], timezone: ZoneInfo, now: int) -> int:
    if "schedule_in" in given and "schedule_at" in given:
        raise InvalidJob(worker, "schedule_at", "is given together with schedule_in; give one of them")
    if "schedule_in" in given:
        seconds = given["schedule_in"]
        if isinstance(seconds, dt.timedelta):
            seconds = seconds.total_seconds()
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not abs(seconds) <= _MAX_AHEAD:
            raise InvalidJob(worker, "schedule_in", f"is {shown(seconds)}; give seconds, at most 100 years")
        return now + int(seconds * 1e6)
    if "schedule_at" in given:
        return _at(worker, given["schedule_at"], timezone)
    return now


def _at(worker: str, at: object, timezone: ZoneInfo) -> int:
    if not isinstance(at, dt.datetime):
        raise InvalidJob(worker, "schedule_at", f"is {shown(at)}; give a datetime")
    if at.tzinfo is None:
        # The first occurrence in the autumn's double hour; a time that the spring's gap leaves out is an error.
        local = at.replace(tzinfo=timezone, fold=0)
        try:
            returned = local.astimezone(dt.UTC).astimezone(timezone).replace(tzinfo=None)
        except OverflowError:
            raise InvalidJob(worker, "schedule_at", f"is {at}, which in UTC is no year from 1 to 9999") from None
        if returned != at.replace(fold=0):
            raise InvalidJob(worker, "schedule_at", f"is {at}, a time that the clocks in {timezone} skip")
        return to_us(local)
    if at.utcoffset() is None:
        raise InvalidJob(worker, "schedule_at", f"is {shown(at)}, whose zone has no offset; give a zone that has one")
    try:
        return to_us(at.astimezone(dt.UTC))
    except OverflowError:
        raise InvalidJob(worker, "schedule_at", f"is {at}, which in UTC is no year from 1 to 9999") from None
