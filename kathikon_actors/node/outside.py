"""How a client inserts: one transaction a job or a chunk of jobs, without a node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from kathikon_actors.jobs.build import Defaults, build_record
from kathikon_actors.jobs.composing import Answer, is_composed
from kathikon_actors.jobs.errors import AlreadyExists, InvalidJob, KathikonError
from kathikon_actors.jobs.ids import IdSource, as_uuid
from kathikon_actors.jobs.inserted import OnError, check_on_error
from kathikon_actors.jobs.new_job import NewJob, check_new, check_options, is_worker_name, named_args
from kathikon_actors.jobs.queue import is_queue_name
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.worker import definition_of
from kathikon_actors.node.aborting import insert_or_abort
from kathikon_actors.node.declared import DeclaredWorkers
from kathikon_actors.node.listing import InsertedMany, job_of, new_jobs
from kathikon_actors.node.transactional import insert_on
from kathikon_actors.store.outside import insert_composed_rows, insert_rows
from kathikon_actors.telemetry.tracing import traced

__all__ = ["AnyQueue", "ClientInserts"]

T = TypeVar("T")

CHUNK: Final = 1_000
"""Jobs of one transaction of `insert_many`."""


@dataclass(frozen=True)
class AnyQueue:
    """The queues that a client knows of: it has no app, so whatever can be a name may be one."""

    def __contains__(self, name: object) -> bool:
        return is_queue_name(name)

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class ClientInserts(ABC):
    """The part of a `Client` that inserts."""

    _declared: DeclaredWorkers
    _defaults: Defaults
    _ids: IdSource
    _on_trio: bool
    _tracing: bool

    @abstractmethod
    async def _run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...

    @abstractmethod
    def _ids_and_now(self) -> tuple[IdSource, int]: ...

    async def insert(
        self, job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        """Insert a job; it is committed when this returns.

        Args:
            job: `worker.new(...)`; a worker with `args`, which are bound to it; or a worker's name with `args`, whose
                code is elsewhere. What a node has declared of that worker holds then: queue, attempts and the like
                where nothing else is said here, and the names of its arguments. A name that no node has declared
                needs a `queue`, and its `args` are taken as they are.
            args: arguments by name.
            connection: your own connection, of asyncpg or (on asyncio) of psycopg 3: the insert is a part of its
                transaction, visible and claimed only after its commit and gone on rollback.
            **options: insert options, over those of the `NewJob`.

        Raises:
            UnknownWorker, UnknownOption, InvalidJob, TypeError: it does not fit; nothing was stored.
            AlreadyExists: the given id is taken.
            QueueFull: the queue holds its `max_depth` of jobs, as its nodes have declared it.
            StoreUnavailable: the store did not answer; the job may or may not be stored.

        Example:
            ```python
            async with connection.transaction():
                await connection.execute("UPDATE orders SET paid = true WHERE id = $1", order)
                await client.insert(send_receipt.new(order), connection=connection)
            ```
        """
        record = await self.build(job, args, options)
        if connection is not None:
            return await insert_on(connection, record, on_trio=self._on_trio)
        if is_composed(record):
            return job_of((await self._run(insert_composed_rows, [record]))[record.id])
        for refusal in (await self._run(insert_rows, [record])).values():
            raise refusal
        return Job(record)

    async def build(self, job: object, args: Mapping[str, Any] | None, options: dict[str, Any]) -> Record:
        """Give the record of a job that is to be inserted; see `insert`."""
        new = self._new_job(job, args, options)
        await self._learn(new)
        return self._build(new)

    async def insert_many(
        self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, on_error: OnError = "continue"
    ) -> InsertedMany:
        """Insert any number of jobs in input order, by chunks of 1,000, each one transaction.

        A job that does not fit is left out and reported with its index; the others are stored.

        With `on_error="abort"` the first job that does not fit ends it: nothing of its chunk is stored nor anything
        behind it, `errors` has that one, `ids` are those of the chunks before.

        Raises:
            StoreUnavailable: a chunk was not committed; chunks before are stored.
            ValueError: `on_error` is something else.

        Example:
            ```python
            many = await client.insert_many(send_receipt.new(order) for order in orders)
            ```
        """
        check_on_error(on_error)
        if on_error == "abort":
            async with aclosing(self._known(jobs)) as known:
                return await insert_or_abort(known, lambda new, _coming: self._build(new), self._insert_whole)
        stored = InsertedMany(0, [], [])
        chunk: dict[bytes, tuple[int, Record]] = {}
        index = -1
        async with aclosing(self._known(jobs)) as known:
            async for new in known:
                index += 1
                try:
                    record = self._build(new)
                except (KathikonError, TypeError) as error:
                    stored.errors.append((index, error))
                    continue
                if record.id in chunk:
                    stored.errors.append((index, AlreadyExists(as_uuid(record.id))))
                    continue
                chunk[record.id] = index, record
                if len(chunk) >= CHUNK:
                    await self._store(chunk, stored)
        await self._store(chunk, stored)
        stored.errors.sort(key=lambda entry: entry[0])
        return replace(stored, inserted=len(stored.ids))

    async def _known(self, jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> AsyncGenerator[NewJob, None]:
        """Give the jobs one by one, what is declared of their workers known."""
        async with aclosing(new_jobs(jobs)) as incoming:
            async for new in incoming:
                await self._learn(new)
                yield new

    async def _learn(self, *jobs: object) -> None:
        await self._declared.learn(new for new in jobs if isinstance(new, NewJob) and is_worker_name(new.worker))

    async def _store(self, chunk: dict[bytes, tuple[int, Record]], stored: InsertedMany) -> None:
        records = [record for _, record in chunk.values()]
        if any(map(is_composed, records)):
            answers = await self._run(insert_composed_rows, records)
        else:
            refused = await self._run(insert_rows, records)
            answers = {job_id: Answer(error=error) for job_id, error in refused.items()}
        for job_id, (index, _) in chunk.items():
            answer = answers.get(job_id)
            if answer is not None and answer.error is not None:
                stored.errors.append((index, answer.error))
            elif answer is not None and answer.conflict and answer.record is not None:
                stored.conflicts.append((index, as_uuid(answer.record.id)))
            else:
                stored.ids.append(as_uuid(job_id))
        chunk.clear()

    async def _insert_whole(self, records: Sequence[Record]) -> dict[bytes, Answer]:
        return await self._run(insert_composed_rows, records, True)

    def _new_job(self, job: object, args: Mapping[str, Any] | None, options: dict[str, Any]) -> NewJob:
        if isinstance(job, NewJob):
            if args is not None:
                raise InvalidJob(job.worker, "args", "are bound already by new(...); leave them out here")
            return job.options(**options) if options else job
        definition = None if isinstance(job, str) else definition_of(job)
        name = definition.name if definition is not None else str(job)
        check_options(name, options)
        bound = named_args(name, args)
        if definition is not None:
            bound = definition.bind((), bound)
        return NewJob(name, bound, definition, options)

    def _build(self, new: object, coming: Sequence[Record] = ()) -> Record:  # noqa: ARG002 the store counts
        new = check_new(new)
        if self._tracing:
            new = traced(new)
        record = build_record(new, self._declared.worker_of(new), self._defaults, self._ids, self._ids_and_now()[1])
        if record.durability == "memory":
            problem = 'is "memory", which needs a node to hold it; insert it on the node, or give "commit" here'
            raise InvalidJob(record.worker, "durability", problem)
        return record
