"""What programs without a node hold: they insert, look at and change jobs on a store that nodes work from."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar
from uuid import UUID

import sniffio

from kathikon_actors.jobs.actions import Change, check_delay, check_timeout
from kathikon_actors.jobs.build import Defaults
from kathikon_actors.jobs.errors import (
    BadConfiguration,
    JobNotFound,
    OwnedElsewhere,
    StoreUnavailable,
    WaitTimeout,
    shown,
)
from kathikon_actors.jobs.ids import IdSource, as_uuid, raw_id
from kathikon_actors.jobs.queue import NAME_RULE, is_queue_name
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.sealing import Keyring, keyring_of, known_keyrings
from kathikon_actors.jobs.states import TERMINAL_STATES, Action
from kathikon_actors.node.asking import ask_owner, check_percent, report_progress
from kathikon_actors.node.composition import Composition
from kathikon_actors.node.crons import Crons, Schedules
from kathikon_actors.node.declared import DeclaredWorkers
from kathikon_actors.node.external import ExternalRuns
from kathikon_actors.node.operations import Operations
from kathikon_actors.node.options import check_seconds, check_zone
from kathikon_actors.node.outside import AnyQueue, ClientInserts
from kathikon_actors.node.remote import RemoteStore
from kathikon_actors.node.remote_events import RemoteEvents
from kathikon_actors.node.rotation import Rotation
from kathikon_actors.node.trees import RemoteTrees
from kathikon_actors.store.batches import PostgresBatches
from kathikon_actors.store.crons import PostgresCrons
from kathikon_actors.store.graph import BatchStore
from kathikon_actors.store.managing import change_row
from kathikon_actors.store.migrations import migrate
from kathikon_actors.store.outside import count_rows, get_row
from kathikon_actors.store.protocol import Counts
from kathikon_actors.store.rotating import PostgresSealed
from kathikon_actors.store.urls import StoreUrl, parse_store_url
from kathikon_actors.telemetry.tracing import check_tracing

__all__ = ["Client"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

CONNECTIONS: Final = 4
"""The most connections of one client."""

POLL: Final = (0.02, 0.5)
"""Seconds between two looks of `wait`: the first, and the longest."""


class _Pool(Protocol):
    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...

    async def close(self) -> None: ...


class Client(ClientInserts, Operations, RemoteTrees, RemoteEvents, Composition, Schedules, Rotation, ExternalRuns):
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
        BadConfiguration: `dsn` is none of these, or an option does not fit.

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
        self._timeout = check_seconds("Client", "timeout", timeout, 0.001)
        if not is_queue_name(default_queue):
            raise BadConfiguration(f"Client: default_queue is {shown(default_queue)}; {NAME_RULE}")
        if self._url.kind == "memory":
            raise BadConfiguration('a client needs a store that other processes reach; give "postgresql://..."')
        self._keyring = keyring_of(encryption_keys)
        self._tracing = check_tracing("Client", tracing)
        zone = check_zone("Client", timezone)
        self._defaults = Defaults(AnyQueue(), default_queue, timezone=zone, keyring=self._keyring)
        self._ids = IdSource()
        self._declared = DeclaredWorkers(self._run)
        self._remote = RemoteStore(self._run)
        self._claims = {}
        self._streams = set()
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
    ) -> None:
        try:
            await self._close_streams()  # noqa: ASYNC102 likewise
        finally:
            self._pool = None
            # It may run on asyncio, where there is no scope to shield; the pool bounds its own closing.
            await self._stack.__aexit__(kind, error, traceback)  # noqa: ASYNC102

    def _encrypts(self, worker: str | None) -> bool:  # noqa: ARG002 workers are not known here
        return self._keyring is not None

    def _rotating(self) -> tuple[Keyring | None, PostgresSealed, PostgresCrons]:
        return self._keyring, PostgresSealed(self._run), PostgresCrons(self._run)

    @property
    def crons(self) -> Crons:
        """The cron entries of the store; see `Node.crons`."""
        return Crons(lambda: PostgresCrons(self._run), self._built, self._ids_and_now, self._keyring)

    def _batch_store(self) -> BatchStore:
        return PostgresBatches(self)

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run a piece of asyncio work on one of the client's connections. For Kathikon's own parts."""
        return await self._run(work, *args)

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
            ValueError: `timeout` is no number from 0.

        Example:
            ```python
            done = await client.wait(job.id, timeout=90)
            ```
        """
        raw, timeout = raw_id(job_id), check_timeout(timeout)
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
            UniqueConflict: another job has its unique key meanwhile.
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
            UniqueConflict: another job has its unique key, which the new one would hold.

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
        self._check_open()
        assert self._pool is not None
        return await self._pool.run(work, *args)

    async def _sleep(self, seconds: float) -> None:
        if self._on_trio:
            import trio

            await trio.sleep(seconds)
        else:
            import asyncio

            await asyncio.sleep(seconds)

    def _check_open(self) -> None:
        if self._pool is None:
            raise StoreUnavailable("the client is closed; use it within its block: async with Client(...) as client")

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


def _now() -> int:
    return time.time_ns() // 1000
