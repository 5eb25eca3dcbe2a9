"""How a running job asks its node: what travels, and what is made of the answers. `Job` has the methods for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator, Mapping
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self
from uuid import UUID

import msgspec

from kathikon_actors.jobs.batch import Batch, BatchRecord
from kathikon_actors.jobs.batch_status import BatchStatus
from kathikon_actors.jobs.errors import InvalidJob
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.inserted import InsertedMany, OnError, check_on_error
from kathikon_actors.jobs.new_job import NewJob, check_jobs, named_args
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.wire import WireInserted, WireMany, batch_to_wire, error_from_wire, to_wire

if TYPE_CHECKING:
    from kathikon_actors.jobs.runtime import JobRuntime, What

__all__ = ["JobBatch", "insert", "insert_many"]

CHUNK: Final = 1_000
"""Jobs of one message of `insert_many`, at the most."""

CHUNK_BYTES: Final = 16 * 2**20
"""Bytes of one message, unless a single job has more."""

_encode = msgspec.msgpack.encode


class JobBatch:
    """A batch that a running job opens: a block with `with`, in an async worker `async with`.

    Attributes:
        id: its id, once it is open.
    """

    def __init__(self, door: JobRuntime, batch: Batch | None) -> None:
        self._door = door
        self._batch = Batch() if batch is None else batch
        self.id = UUID(int=0)

    def __enter__(self) -> Self:
        if self._door.is_async:
            raise TypeError("this worker is async; write: async with job.open_batch(...) as batch")
        return self._opened(self._open())

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self._opened(await self._open())

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.close()  # noqa: ASYNC102 the end of a job that is stopped here seals its batches

    def _open(self) -> Any:
        return self._door.ask("open_batch", _encode(batch_to_wire(self._batch)), msgspec.msgpack.Decoder(bytes).decode)

    def _opened(self, batch_id: bytes) -> Self:
        self.id = as_uuid(batch_id)
        return self

    def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Append one job; see `Job.insert`."""
        return insert(self._door, job, args, {**options, "batch": self.id})

    def insert_many(self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, on_error: OnError = "continue") -> Any:
        """Append any number of jobs; see `Job.insert_many`."""
        return insert_many(self._door, jobs, self.id, on_error)

    def close(self) -> Any:
        """Take no more children; harmless when it is closed. Gives a `BatchStatus`."""
        return self._door.ask("close_batch", _encode(self.id.bytes), _status)


def _status(body: bytes) -> BatchStatus:
    return BatchStatus.of(msgspec.msgpack.decode(body, type=BatchRecord))


def insert(door: JobRuntime, job: object, args: Mapping[str, Any] | None, options: dict[str, Any]) -> Any:
    """See `Job.insert`."""
    definition = getattr(job, "definition", None)
    if isinstance(job, str):
        job = NewJob(job, named_args(job, args))
    elif not isinstance(job, NewJob) and definition is not None:
        job = NewJob(definition.name, definition.bind((), named_args(definition.name, args)), definition)
    elif args is not None:
        raise InvalidJob(repr(job)[:80], "args", "are bound already by new(...); leave them out here")
    if isinstance(job, NewJob) and options:
        job = job.options(**options)
    return door.ask("insert", _encode(to_wire(job)), _inserted)


def _inserted(body: bytes) -> Any:
    wire = msgspec.msgpack.decode(body, type=WireInserted)
    return Job(msgspec.msgpack.decode(wire.record, type=Record), conflict=wire.conflict)


def insert_many(
    door: JobRuntime,
    jobs: Iterable[NewJob] | AsyncIterable[NewJob],
    batch: UUID | None,
    on_error: OnError = "continue",
) -> Any:
    """See `Job.insert_many`; with `batch`, as children of it."""
    check_on_error(on_error)
    check_jobs(jobs)
    what: What = "insert_or_abort" if on_error == "abort" else "insert_many"
    if door.is_async:
        return _insert_many_async(door, jobs, batch, what)
    if isinstance(jobs, AsyncIterable):
        raise TypeError("this worker is a plain function; give jobs that need no await")
    stored = _Stored()
    for number, body in (message for chunk in _chunks(jobs) for message in _messages(chunk, batch)):
        if not stored.add(number, door.ask(what, body, _many)) and on_error == "abort":
            break
    return stored.whole()


async def _insert_many_async(
    door: JobRuntime, jobs: Iterable[NewJob] | AsyncIterable[NewJob], batch: UUID | None, what: What
) -> InsertedMany:
    stored = _Stored()
    chunks = _chunks_async(jobs) if isinstance(jobs, AsyncIterable) else _awaitable(_chunks(jobs))
    async with aclosing(chunks):
        async for chunk in chunks:
            for number, body in _messages(chunk, batch):
                fitted = stored.add(number, await door.ask(what, body, _many))
                if not fitted and what == "insert_or_abort":
                    return stored.whole()
    return stored.whole()


async def _awaitable(chunks: Iterator[list[NewJob]]) -> AsyncGenerator[list[NewJob], None]:
    for chunk in chunks:
        yield chunk


async def _chunks_async(jobs: AsyncIterable[NewJob]) -> AsyncGenerator[list[NewJob], None]:
    chunk = []
    async for job in jobs:
        chunk.append(job)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _chunks(jobs: Iterable[NewJob]) -> Iterator[list[NewJob]]:
    source = iter(jobs)
    while chunk := list(islice(source, CHUNK)):
        yield chunk


def _messages(jobs: list[NewJob], batch: UUID | None) -> list[tuple[int, bytes]]:
    """Encode a chunk as one message, or as several where it is large; each with the number of its jobs."""
    if batch is not None:
        jobs = [job.options(batch=batch) for job in jobs]
    messages: list[tuple[int, bytes]] = []
    some: list[msgspec.Raw] = []
    size = 0
    for raw in [msgspec.Raw(_encode(to_wire(job))) for job in jobs]:
        if some and size + len(raw) > CHUNK_BYTES:
            messages.append((len(some), _encode(some)))
            some, size = [], 0
        some.append(raw)
        size += len(raw)
    messages.append((len(some), _encode(some)))
    return messages


def _many(body: bytes) -> WireMany:
    return msgspec.msgpack.decode(body, type=WireMany)


class _Stored:
    """What the chunks of one call gave so far."""

    def __init__(self) -> None:
        self._taken = 0
        self._all = InsertedMany(0, [], [])

    def add(self, number: int, chunk: WireMany) -> bool:
        """Take what one chunk gave; tell whether every job of it fitted."""
        self._all.ids.extend(map(as_uuid, chunk.ids))
        self._all.errors.extend((self._taken + place, error_from_wire(e)) for place, e in chunk.errors)  # type: ignore[misc]
        self._all.conflicts.extend((self._taken + place, as_uuid(job_id)) for place, job_id in chunk.conflicts)
        self._taken += number
        return not chunk.errors

    def whole(self) -> InsertedMany:
        return InsertedMany(len(self._all.ids), self._all.ids, self._all.errors, self._all.conflicts)
