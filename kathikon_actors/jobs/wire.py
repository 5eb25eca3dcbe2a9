"""Jobs and batches on their way from a running job to its node: plain data, nothing that is unpickled."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec

from kathikon_actors.jobs import errors, json
from kathikon_actors.jobs.batch import AtLeast, Batch
from kathikon_actors.jobs.errors import InvalidJob, KathikonError, shown
from kathikon_actors.jobs.new_job import NewJob, check_new
from kathikon_actors.jobs.unique import Unique

__all__ = [
    "WireBatch",
    "WireError",
    "WireInserted",
    "WireJob",
    "WireMany",
    "batch_from_wire",
    "batch_to_wire",
    "error_from_wire",
    "error_to_wire",
    "from_wire",
    "to_wire",
]


class WireJob(msgspec.Struct, array_like=True):
    """A `NewJob`: arguments as JSON, options as `_TO_WIRE` makes them."""

    worker: str
    args: bytes
    options: dict[str, Any]


class WireBatch(msgspec.Struct, array_like=True):
    """A `Batch`; `needed` is `None` for the policy `all`."""

    needed: int | None = None
    name: str | None = None
    on_complete: WireJob | None = None
    on_success: WireJob | None = None
    on_failure: WireJob | None = None


class WireError(msgspec.Struct, array_like=True):
    """An error of the node: the name of its class, its message, and its plain attributes."""

    name: str
    message: str
    data: dict[str, Any] = {}


class WireInserted(msgspec.Struct, array_like=True):
    """What an insert gave: a `Record`, encoded, and whether it is a unique job that was there."""

    record: msgspec.Raw
    conflict: bool


class WireMany(msgspec.Struct, array_like=True):
    """What `insert_many` gave for one chunk, with indices within the chunk."""

    ids: list[bytes]
    errors: list[tuple[int, WireError]]
    conflicts: list[tuple[int, bytes]]


def to_wire(job: object) -> WireJob:
    """Encode a job that is not inserted.

    Raises:
        InvalidJob: naming what cannot travel.
    """
    new = check_new(job)
    try:
        args = json.encode_strict(new.args, "args")
    except json.NotJson as error:
        raise InvalidJob(new.worker, error.path, error.problem) from None
    return WireJob(new.worker, args, {name: _option(new.worker, name, value) for name, value in new.given.items()})


def _option(worker: str, name: str, value: Any) -> Any:
    try:
        return _TO_WIRE.get(name, _as_it_is)(value)
    except json.NotJson as error:
        raise InvalidJob(worker, error.path or name, error.problem) from None
    except TypeError:
        raise InvalidJob(worker, name, f"is {shown(value)}, which cannot travel to the node") from None


def from_wire(job: WireJob) -> NewJob:
    """Give the job again, by its worker's name; what does not fit is told when it is built."""
    options = {name: _FROM_WIRE[name](value) if name in _FROM_WIRE else value for name, value in job.options.items()}
    return NewJob(job.worker, json.decode(job.args), None, options)


def batch_to_wire(batch: Batch) -> WireBatch:
    """Encode what a batch does."""
    jobs = (batch.on_complete, batch.on_success, batch.on_failure)
    return WireBatch(batch.needed, batch.name, *(None if job is None else to_wire(job) for job in jobs))


def batch_from_wire(batch: WireBatch) -> Batch:
    """Give it again."""

    def job(wire: WireJob | None) -> NewJob | None:
        return None if wire is None else from_wire(wire)

    return Batch(
        on_complete=job(batch.on_complete),
        on_success=job(batch.on_success),
        on_failure=job(batch.on_failure),
        policy="all" if batch.needed is None else AtLeast(batch.needed),
        name=batch.name,
    )


def error_to_wire(error: BaseException) -> WireError:
    """Encode an error; of its attributes what is plain."""
    data = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(error).items()
        if isinstance(value, str | int | float | tuple) and not name.startswith("_")
    }
    return WireError(type(error).__name__, str(error), data)


def error_from_wire(wire: WireError) -> Exception:
    """Give it again, of its class if that is known here."""
    kind: Any = getattr(errors, wire.name, None)
    if kind is None:
        kind = TypeError if wire.name == "TypeError" else KathikonError
    error: Exception = kind.__new__(kind)
    Exception.__init__(error, wire.message)  # its own one would take the data apart
    for name, value in wire.data.items():
        setattr(error, name, tuple(value) if isinstance(value, list) else value)
    return error


def _as_it_is(value: Any) -> Any:
    if value is None or isinstance(value, float | bool) or json.is_text(value):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    if isinstance(value, UUID):
        return str(value)
    raise json.NotJson("", f"is {shown(value)}, which cannot travel to the node")


def _id_of(value: Any) -> Any:
    return _as_it_is(getattr(value, "id", value))


def _ids_of(value: Any) -> Any:
    if isinstance(value, str | UUID) or hasattr(value, "id"):
        return [_id_of(value)]
    return [_id_of(item) for item in value]


def _seconds(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, dt.timedelta) else _as_it_is(value)


def _time(value: Any) -> Any:
    if not isinstance(value, dt.datetime):
        return _as_it_is(value)
    if value.tzinfo is not None and value.utcoffset() is None:  # it would arrive as a time of the app's zone
        raise json.NotJson("", f"is {shown(value)}, whose zone has no offset; give a zone that has one")
    return {"at": value.isoformat()}


def _policy(value: Any) -> Any:
    return msgspec.to_builtins(value) if isinstance(value, Unique) else _as_it_is(value)


def _list(value: Any) -> Any:
    return value if isinstance(value, str) else [_as_it_is(item) for item in value]


_TO_WIRE: Final[dict[str, Callable[[Any], Any]]] = {
    "schedule_in": _seconds,
    "schedule_at": _time,
    "tags": _list,
    "meta": lambda value: json.encode_strict(value, "meta"),
    "unique": _policy,
    "depends_on": _ids_of,
    "batch": _id_of,
}

_FROM_WIRE: Final[dict[str, Callable[[Any], Any]]] = {
    "schedule_at": lambda value: dt.datetime.fromisoformat(value["at"]) if isinstance(value, dict) else value,
    "meta": json.decode,
    "unique": lambda value: msgspec.convert(value, Unique) if isinstance(value, dict) else value,
}
