"""What programs without a node hold: they insert, look at and change jobs on a store that nodes work from."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import sniffio

from kathikon_actors.jobs.actions import Change, check_delay
from kathikon_actors.jobs.build import Defaults, NamedWorker, WorkerDefaults, build_record
from kathikon_actors.jobs.composing import Answer, is_composed
from kathikon_actors.jobs.errors import (
    AlreadyExists,
    BadConfiguration,
    InvalidJob,
    JobNotFound,
    KathikonError,
    OwnedElsewhere,
    StoreUnavailable,
    WaitTimeout,
)
from kathikon_actors.jobs.ids import IdSource, as_uuid, raw_id
from kathikon_actors.jobs.inserted import OnError, check_on_error
from kathikon_actors.jobs.new_job import NewJob, check_options
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.sealing import Keyring, known_keyrings
from kathikon_actors.jobs.states import TERMINAL_STATES, Action
from kathikon_actors.jobs.worker import definition_of
from kathikon_actors.node.aborting import insert_or_abort
from kathikon_actors.node.asking import ask_owner, check_percent, report_progress
from kathikon_actors.node.composition import Composition
from kathikon_actors.node.crons import Crons, Schedules
from kathikon_actors.node.external import ExternalRuns
from kathikon_actors.node.listing import InsertedMany, job_of, new_jobs
from kathikon_actors.node.operations import Operations
from kathikon_actors.node.remote import RemoteStore
from kathikon_actors.node.reporting import StoreReports
from kathikon_actors.node.rotation import Rotation
from kathikon_actors.store.batches import PostgresBatches
from kathikon_actors.store.crons import PostgresCrons
from kathikon_actors.store.graph import BatchStore
from kathikon_actors.store.managing import change_row
from kathikon_actors.store.migrations import migrate
from kathikon_actors.store.outside import count_rows, get_row, insert_composed_rows, insert_rows
from kathikon_actors.store.protocol import Counts
from kathikon_actors.store.psycopg_connection import PsycopgConnection, is_psycopg
from kathikon_actors.store.rotating import PostgresSealed
from kathikon_actors.store.urls import StoreUrl, parse_store_url
from kathikon_actors.telemetry.tracing import check_tracing, traced

__all__ = ["Client", "insert_on"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

CHUNK: Final = 1_000
"""Jobs of one transaction of `insert_many`."""

CONNECTIONS: Final = 4
"""The most connections of one client."""

POLL: Final = (0.02, 0.5)
"""Seconds between two looks of `wait`: the first, and the longest."""


class _Pool(Protocol):
    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class _AnyQueue:
    """The queues that a client knows of: it has no app, so any name may be one."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(name)

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class Client(Operations, StoreReports, Composition, Schedules, Rotation, ExternalRuns):
    """Inserts, looks at and changes jobs from a program without a node, on trio or on asyncio.

    What it inserts belongs to nobody until a node that runs the queue claims it. It opens its connections when the
    block begins, which has to be in the program's event loop, and brings the schema up to date.

    Args:
        dsn: `"postgresql://..."`, or `"embedded:PATH"` of a store whose node is running.
        timeout: seconds until a server that does not answer counts as gone.
        default_queue: of workers that name none.
        timezone: IANA name; of naive `schedule_at` times.
        encryption_keys: newest first, those of the app; see `App`.
        tracing: make OpenTelemetry spans of inserts.

    Raises:
        BadConfiguration: `dsn` is none of these.

    Example:
        ```python
        async with Client("postgresql://localhost/shop") as client:
            job = await client.insert(charge_customer.new("INV-99", cents=1250))
            job = await client.insert("charge_customer", {"invoice_id": "INV-7", "cents": 5}, queue="billing")
            done = await client.wait(job.id, timeout=90)
        ```
    """

    def __init__(
        self,
        dsn: str,
        *,
        timeout: float = 30.0,
        default_queue: str = "default",
        timezone: str = "UTC",
        encryption_keys: Iterable[bytes | str] = (),
        tracing: bool = False,
    ) -> None:
        self._url = parse_store_url(dsn)
        if self._url.kind == "memory":
            raise BadConfiguration('a client needs a store that other processes reach; give "postgresql://..."')
        self._timeout = timeout
        keys = encryption_keys if isinstance(encryption_keys, bytes | str) else tuple(encryption_keys)
        self._keyring = Keyring(keys) if keys else None
        self._tracing = check_tracing("Client", tracing)
        self._defaults = Defaults(_AnyQueue(), default_queue, timezone=ZoneInfo(timezone), keyring=self._keyring)
        self._ids = IdSource()
        self._remote = RemoteStore(self._run)
        self._claims = {}
        self._stack = AsyncExitStack()
        self._pool: _Pool | None = None
        self._on_trio = False

    async def __aenter__(self) -> Self:
        if self._pool is not None:
            raise RuntimeError("this client is open already; make another one")
        self._on_trio = sniffio.current_async_library() == "trio"
        async with AsyncExitStack() as stack:
            url = await self._database()
            pool: _Pool
            if self._on_trio:
                from kathikon_actors.store.connection import Pool, open_loop

                await stack.enter_async_context(open_loop())
                pool = Pool(url, self._timeout, CONNECTIONS)
            else:
                from kathikon_actors.store.asyncio_pool import AsyncioPool

                pool = AsyncioPool(url, self._timeout, CONNECTIONS)
            stack.push_async_callback(pool.close)
            await pool.run(migrate)
            stack.enter_context(known_keyrings(self._keyring))
            self._stack = stack.pop_all()
        self._pool = pool
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self._pool = None
        # It may run on asyncio, where there is no scope to shield; the pool bounds its own closing.
        return await self._stack.__aexit__(kind, error, traceback)  # noqa: ASYNC102

    def _encrypts(self, worker: str | None) -> bool:  # noqa: ARG002 workers are not known here
        return self._keyring is not None

    def _rotating(self) -> tuple[Keyring | None, PostgresSealed, PostgresCrons]:
        return self._keyring, PostgresSealed(self._run), PostgresCrons(self._run)

    @property
    def crons(self) -> Crons:
        """The cron entries of the store; see `Node.crons`."""
        return Crons(lambda: PostgresCrons(self._run), self._build, self._ids_and_now, self._keyring)

    # -- inserting ----------------------------------------------------------------------------------------------

    async def insert(
        self, job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        """Insert a job; it is committed when this returns.

        Args:
            job: `worker.new(...)`; a worker with `args`, which are bound to it; or a worker's name with `args`, whose
                code is elsewhere: `args` are taken as they are and `queue` must be given.
            args: arguments by name.
            connection: your own connection, of asyncpg or (on asyncio) of psycopg 3: the insert is a part of its
                transaction, visible and claimed only after its commit and gone on rollback.
            **options: insert options, over those of the `NewJob`.

        Raises:
            UnknownOption, InvalidJob, TypeError: it does not fit; nothing was stored.
            AlreadyExists: the given id is taken.
            StoreUnavailable: the store did not answer; the job may or may not be stored.

        Example:
            ```python
            async with connection.transaction():
                await connection.execute("UPDATE orders SET paid = true WHERE id = $1", order)
                await client.insert(send_receipt.new(order), connection=connection)
            ```
        """
        record = self._build(self._new_job(job, args, options))
        if connection is not None:
            return await insert_on(connection, record, on_trio=self._on_trio)
        if is_composed(record):
            return job_of((await self._run(insert_composed_rows, [record]))[record.id])
        if await self._run(insert_rows, [record]):
            raise AlreadyExists(as_uuid(record.id))
        return Job(record)

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
            return await insert_or_abort(jobs, lambda new, _coming: self._build(new), self._insert_whole)
        stored = InsertedMany(0, [], [])
        chunk: dict[bytes, tuple[int, Record]] = {}
        index = -1
        async for new in new_jobs(jobs):
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

    async def _store(self, chunk: dict[bytes, tuple[int, Record]], stored: InsertedMany) -> None:
        records = [record for _, record in chunk.values()]
        if any(map(is_composed, records)):
            answers = await self._run(insert_composed_rows, records)
        else:
            existed = await self._run(insert_rows, records)
            answers = {job_id: Answer(error=AlreadyExists(as_uuid(job_id))) for job_id in existed}
        for job_id, (index, _) in chunk.items():
            answer = answers.get(job_id)
            if answer is not None and answer.error is not None:
                stored.errors.append((index, answer.error))
            elif answer is not None and answer.conflict and answer.record is not None:
                stored.conflicts.append((index, as_uuid(answer.record.id)))
            else:
                stored.ids.append(as_uuid(job_id))
        chunk.clear()

    def _batch_store(self) -> BatchStore:
        return PostgresBatches(self)

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run a piece of asyncio work on one of the client's connections. For Kathikon's own parts."""
        return await self._run(work, *args)

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
        if args is not None and not isinstance(args, Mapping):
            raise InvalidJob(name, "args", f"is {args!r}; give arguments by name, as a dict")
        bad = [key for key in args or {} if not isinstance(key, str)]
        if bad:
            raise InvalidJob(name, f"args[{bad[0]!r}]", "has a key that is not a string")
        bound = dict(args or {}) if definition is None else definition.bind((), args or {})
        return NewJob(name, bound, definition, options)

    def _build(self, new: object) -> Record:
        if not isinstance(new, NewJob):
            raise InvalidJob(repr(new)[:80], "job", "is not a job; give worker.new(...)")
        if self._tracing:
            new = traced(new)
        worker: WorkerDefaults | None = new.definition
        if worker is None:
            if not new.worker:
                raise InvalidJob(repr(new.worker), "worker", "is empty; give its name")
            if "queue" not in new.given:
                raise InvalidJob(new.worker, "queue", "is not given, and the worker's code is not here to name it")
            worker = NamedWorker(new.worker)
        record = build_record(new, worker, self._defaults, self._ids, _now())
        if record.durability == "memory":
            problem = 'is "memory", which needs a node to hold it; insert it on the node, or give "commit" here'
            raise InvalidJob(record.worker, "durability", problem)
        return record

    # -- looking ------------------------------------------------------------------------------------------------

    async def get(self, job_id: UUID | str) -> Job:
        """Give one job as it is committed now.

        Raises:
            JobNotFound: there is none with this id.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            print((await client.get(job.id)).state)
            ```
        """
        record = await self._run(get_row, raw_id(job_id))
        if record is None:
            raise JobNotFound(job_id)
        return Job(record)

    async def counts(self) -> Sequence[Counts]:
        """Count jobs by queue and state, finished ones included.

        Raises:
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            for counts in await client.counts():
                print(counts.queue, counts.by_state)
            ```
        """
        return await self._run(count_rows)

    async def wait(self, job_id: UUID | str, timeout: float = float("inf")) -> Job:
        """Wait until a job has ended; give it in its terminal state. It looks twice a second in the long run.

        Args:
            job_id: its id.
            timeout: seconds.

        Raises:
            JobNotFound: there is none with this id.
            WaitTimeout: it did not end in time; it goes on.

        Example:
            ```python
            done = await client.wait(job.id, timeout=90)
            ```
        """
        raw = raw_id(job_id)
        end = time.monotonic() + timeout
        pause, longest = POLL
        seen = "unknown"
        while True:
            try:
                record = await self._run(get_row, raw)
            except StoreUnavailable as error:
                logger.warning("waiting for job %s: %s", as_uuid(raw), error)
            else:
                if record is None:
                    raise JobNotFound(job_id)
                if record.state in TERMINAL_STATES:
                    return Job(record)
                seen = record.state
            left = end - time.monotonic()
            if left <= 0:
                raise WaitTimeout(as_uuid(raw), timeout, seen)
            await self._sleep(min(pause, left))
            pause = min(pause * 1.5, longest)

    # -- changing -----------------------------------------------------------------------------------------------

    async def cancel(self, job_id: UUID | str) -> Job:
        """Do not run this job, or have it stopped where it runs; give it when that is committed.

        A live node that owns it is asked to do so, and this waits for its answer.

        Raises:
            JobNotFound: there is none with this id.
            InvalidState: it has ended already.
            OwnedElsewhere: a live node owns it and did not answer in time; it does it when it can.
            StoreUnavailable: the store did not answer; the job may or may not be cancelled.

        Example:
            ```python
            assert (await client.cancel(job.id)).state == "cancelled"
            ```
        """
        return await self._change("cancel", job_id)

    async def discard(self, job_id: UUID | str | Job, reason: object = "by its runner") -> Job:
        """Give a job up as a dead letter; as `cancel` otherwise.

        A `Job` that `claim` gave to this client ends like this, with `reason` as its error.

        Raises:
            ClaimLost: it was claimed, and is not this client's any more.

        Example:
            ```python
            assert (await client.discard(job.id)).state == "discarded"
            ```
        """
        if isinstance(job_id, Job):
            if self._has_claimed(job_id):
                return await self._discard_claimed(job_id, reason)
            job_id = job_id.id
        return await self._change("discard", job_id)

    async def retry(self, job_id: UUID | str, delay: float = 0) -> Job:
        """Let a retryable, cancelled or discarded job run again, with at least one more attempt.

        Args:
            job_id: its id.
            delay: seconds until it is due.

        Raises:
            JobNotFound, OwnedElsewhere, StoreUnavailable: see `cancel`.
            InvalidState: it is in another state.
            ValueError: `delay` is below 0 or above 100 years.

        Example:
            ```python
            await client.retry(job.id, delay=60)
            ```
        """
        return await self._change("retry", job_id, check_delay(delay))

    async def rerun(self, job_id: UUID | str) -> Job:
        """Insert a new job like one that has ended, linked to it by `rerun_of`; give the new one.

        Raises:
            JobNotFound, StoreUnavailable: see `cancel`.
            InvalidState: it has not ended.

        Example:
            ```python
            assert (await client.rerun(job.id)).rerun_of == job.id
            ```
        """
        return await self._change("rerun", job_id)

    async def _change(self, action: Action, job_id: UUID | str, delay: float = 0.0) -> Job:
        now = _now()
        change = Change(action, now, delay, self._ids.next(now))
        try:
            changed = await self._run(change_row, raw_id(job_id), change, None, ())
        except OwnedElsewhere as error:
            return await ask_owner(self._remote, change, error, self._sleep)
        return Job(changed.record if changed.made is None else changed.made)

    def _operator(self) -> RemoteStore:
        return self._remote

    def _queue_store(self) -> RemoteStore:
        return self._remote

    def _figure_store(self) -> RemoteStore:
        return self._remote

    def _ids_and_now(self) -> tuple[IdSource, int]:
        return self._ids, _now()

    async def report_progress(self, job_id: UUID | str, percent: int) -> None:
        """Tell how far a job is: 0 to 100; stored, and seen live on the node that owns it.

        Raises:
            ValueError: `percent` is no whole number from 0 to 100.
            JobNotFound: there is none with this id.
            InvalidState: it has ended.
            OwnedElsewhere, StoreUnavailable: see `cancel`.

        Example:
            ```python
            await client.report_progress(job.id, 40)
            ```
        """
        await report_progress(self._remote, raw_id(job_id), check_percent(percent), self._sleep)

    # -- the store ----------------------------------------------------------------------------------------------

    async def _run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        if self._pool is None:
            raise StoreUnavailable("the client is closed; use it within its block: async with Client(...) as client")
        return await self._pool.run(work, *args)

    async def _sleep(self, seconds: float) -> None:
        if self._on_trio:
            import trio

            await trio.sleep(seconds)
        else:
            import asyncio

            await asyncio.sleep(seconds)

    async def _database(self) -> StoreUrl:
        """Give the address of the database; of an embedded one, that of its running server."""
        if self._url.path is None:
            return self._url
        from kathikon_actors.store.embedded import find_running

        if self._on_trio:
            import trio

            dsn = await trio.to_thread.run_sync(find_running, self._url.path)
        else:
            import asyncio

            dsn = await asyncio.to_thread(find_running, self._url.path)
        if dsn is None:
            raise StoreUnavailable(f"no server runs in {self._url.path}; start a node on it, or give its database")
        return parse_store_url(dsn)

    def __repr__(self) -> str:
        return f"<Client {self._url.safe}{'' if self._pool is not None else ', closed'}>"


async def insert_on(connection: Any, record: Record, *, on_trio: bool) -> Job:
    """Insert as a part of the transaction of the caller's own connection, of asyncpg or psycopg 3.

    Raises:
        AlreadyExists: the id is taken.
    """
    if is_psycopg(connection):
        connection, on_trio = PsycopgConnection(connection), False
    elif not hasattr(connection, "fetchrow") or not hasattr(connection, "transaction"):
        raise TypeError(f"connection is {connection!r}; give your own connection of asyncpg or psycopg 3")
    work: Callable[..., Awaitable[Any]] = insert_composed_rows if is_composed(record) else insert_rows
    if on_trio:
        import trio_asyncio  # type: ignore[import-untyped]

        work = trio_asyncio.aio_as_trio(work)
    answer = await work(connection, [record])
    if isinstance(answer, dict):
        return job_of(answer[record.id])
    if answer:
        raise AlreadyExists(as_uuid(record.id))
    return Job(record)


def _now() -> int:
    return time.time_ns() // 1000
