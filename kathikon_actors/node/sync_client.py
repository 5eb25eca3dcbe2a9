"""The client for plain code: Django, Flask, scripts."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Self, TypeVar
from uuid import UUID

from kathikon_actors.jobs.actions import check_timeout
from kathikon_actors.jobs.cron import CronEntry
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.inserted import OnError
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.record import ErrorEntry, HistoryEntry, Job
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.jobs.rotation import Rotated
from kathikon_actors.jobs.sealing import keyring_of
from kathikon_actors.jobs.states import State
from kathikon_actors.node.client import Client
from kathikon_actors.node.crons import SyncCrons
from kathikon_actors.node.figures import WINDOW
from kathikon_actors.node.listing import InsertedMany
from kathikon_actors.node.operations import ChangedMany
from kathikon_actors.node.queue_operations import QueueStatus
from kathikon_actors.node.remote_events import SyncEventStream
from kathikon_actors.node.report import Health, Report
from kathikon_actors.node.sync_composition import SyncComposition
from kathikon_actors.node.transactional import insert_on
from kathikon_actors.node.trees import TREE_TIMEOUT
from kathikon_actors.store.figures import KnownNode
from kathikon_actors.store.protocol import Counts
from kathikon_actors.store.psycopg_connection import drive, is_psycopg
from kathikon_actors.store.retaining import Pruned
from kathikon_actors.telemetry.events import Event
from kathikon_actors.telemetry.subscription import BUFFER
from supervisors import TreeNode

__all__ = ["SyncClient"]

T = TypeVar("T")


class SyncClient(SyncComposition):
    """`Client` without `await`: the same names, arguments and errors. Safe to share between threads.

    It connects when it is first used, and again in a process that was forked from the one that made it. Its own
    thread runs an asyncio loop, so it works in whatever thread calls. Inserts that are part of a transaction of
    yours take a psycopg 3 connection.

    Args:
        dsn: see `Client`, and so the others.

    Raises:
        BadConfiguration: `dsn` is no store that other processes reach.

    Example:
        ```python
        with SyncClient("postgresql://localhost/shop") as client:
            job = client.insert(charge_customer.new("INV-99", cents=1250))
            print(client.wait(job.id, timeout=90).result)
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
        keyring = keyring_of(encryption_keys)  # an iterator gives them once
        keys = () if keyring is None else keyring.raw
        self._make: Callable[[], Client] = lambda: Client(
            dsn, timeout=timeout, default_queue=default_queue, timezone=timezone, encryption_keys=keys, tracing=tracing
        )
        self._make()  # a wrong address is told here, not at the first use
        self._lock = threading.Lock()
        self._pid = 0
        self._closed = False
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; idempotent, and the end of this client."""
        with self._lock:
            self._closed = True
            client, loop, thread = self._client, self._loop, self._thread
            self._client = self._loop = self._thread = None
            if client is None or loop is None or thread is None or self._pid != os.getpid():
                return
            asyncio.run_coroutine_threadsafe(client.__aexit__(None, None, None), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    @property
    def crons(self) -> SyncCrons:
        """The cron entries of the store; see `Node.crons`."""
        return SyncCrons(self._open().crons, self._call)

    def rotate_keys(self) -> Rotated:
        """See `Client.rotate_keys`."""
        return self._call(self._open().rotate_keys())

    def schedule(self, job: object, args: Mapping[str, Any] | None = None, **how: Any) -> Job | CronEntry:
        """See `Client.schedule`."""
        return self._call(self._open().schedule(job, args, **how))

    def insert(
        self, job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        """See `Client.insert`. `connection` is your own plain psycopg 3 connection, used in your own thread."""
        client = self._open()
        if connection is None:
            return self._call(client.insert(job, args, **options))
        if not is_psycopg(connection):
            raise TypeError(f"connection is {connection!r}; give a psycopg 3 connection, or use Client with asyncpg")
        record = self._call(client.build(job, args, options))
        return drive(insert_on(connection, record, on_trio=False))

    def insert_many(self, jobs: Iterable[NewJob], *, on_error: OnError = "continue") -> InsertedMany:
        """See `Client.insert_many`."""
        return self._call(self._open().insert_many(jobs, on_error=on_error))

    def get(self, job_id: UUID | str) -> Job:
        """See `Client.get`."""
        return self._call(self._open().get(job_id))

    def list(self, wanted: Filter | None = None, **options: Any) -> Sequence[Job]:
        """See `Client.list`."""
        return self._call(self._open().list(wanted, **options))

    def count_by(self, wanted: Filter | None = None, **options: Any) -> int:
        """See `Client.count_by`."""
        return self._call(self._open().count_by(wanted, **options))

    def cancel_by(self, wanted: Filter | None = None, **options: Any) -> ChangedMany:
        """See `Client.cancel_by`."""
        return self._call(self._open().cancel_by(wanted, **options))

    def discard_by(self, wanted: Filter | None = None, **options: Any) -> ChangedMany:
        """See `Client.discard_by`."""
        return self._call(self._open().discard_by(wanted, **options))

    def retry_by(self, wanted: Filter | None = None, **options: Any) -> ChangedMany:
        """See `Client.retry_by`."""
        return self._call(self._open().retry_by(wanted, **options))

    def purge_by(self, wanted: Filter | None = None, **options: Any) -> ChangedMany:
        """See `Client.purge_by`."""
        return self._call(self._open().purge_by(wanted, **options))

    def prune_now(self, retention: Retention | None = None) -> Pruned:
        """See `Client.prune_now`."""
        return self._call(self._open().prune_now(retention))

    def promote_now(self) -> int:
        """See `Client.promote_now`."""
        return self._call(self._open().promote_now())

    def purge(self, job_id: UUID | str) -> None:
        """See `Client.purge`."""
        self._call(self._open().purge(job_id))

    def status(self, job_id: UUID | str) -> State:
        """See `Client.status`."""
        return self._call(self._open().status(job_id))

    def result(self, job_id: UUID | str) -> Any:
        """See `Client.result`."""
        return self._call(self._open().result(job_id))

    def history(self, job_id: UUID | str) -> Sequence[HistoryEntry]:
        """See `Client.history`."""
        return self._call(self._open().history(job_id))

    def errors(self, job_id: UUID | str) -> Sequence[ErrorEntry]:
        """See `Client.errors`."""
        return self._call(self._open().errors(job_id))

    def nodes(self) -> Sequence[KnownNode]:
        """See `Client.nodes`."""
        return self._call(self._open().nodes())

    def tree(self, node: str | None = None, timeout: float = TREE_TIMEOUT) -> TreeNode:
        """See `Client.tree`."""
        return self._call(self._open().tree(node, timeout))

    def events(self, *kinds: type[Event], buffer: int = BUFFER, timeout: float = float("inf")) -> SyncEventStream:
        """Give events of these kinds (none means all) of all nodes to a plain `for`, from now on; see `Client.events`.

        Args:
            *kinds: classes of events.
            buffer: events that may wait for this program.
            timeout: the loop ends when nothing has come for so many seconds.

        Raises:
            BadConfiguration: one of these is of no use.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            with client.events(JobTransition, timeout=60) as events:
                for event in events:
                    print(event.node, event.worker, event.old, "->", event.new)
            ```
        """
        return SyncEventStream(self._open().events(*kinds, buffer=buffer), self._call, check_timeout(timeout))

    def report(self, window: float = WINDOW) -> Report:
        """See `Client.report`."""
        return self._call(self._open().report(window))

    def health(self) -> Health:
        """See `Client.health`."""
        return self._call(self._open().health())

    def queues(self) -> Sequence[QueueStatus]:
        """See `Client.queues`."""
        return self._call(self._open().queues())

    def queue_status(self, queue: str) -> QueueStatus:
        """See `Client.queue_status`."""
        return self._call(self._open().queue_status(queue))

    def pause(self, queue: str) -> None:
        """See `Client.pause`."""
        self._call(self._open().pause(queue))

    def resume(self, queue: str) -> None:
        """See `Client.resume`."""
        self._call(self._open().resume(queue))

    def scale(self, queue: str, concurrency: int | None) -> None:
        """See `Client.scale`."""
        self._call(self._open().scale(queue, concurrency))

    def drain(self, queue: str | None = None, timeout: float = 300.0) -> None:
        """See `Client.drain`."""
        self._call(self._open().drain(queue, timeout))

    def add_queue(self, queue: Queue) -> None:
        """See `Client.add_queue`."""
        self._call(self._open().add_queue(queue))

    def remove_queue(self, queue: str, timeout: float = 300.0) -> None:
        """See `Client.remove_queue`."""
        self._call(self._open().remove_queue(queue, timeout))

    def counts(self) -> Sequence[Counts]:
        """See `Client.counts`."""
        return self._call(self._open().counts())

    def wait(self, job_id: UUID | str, timeout: float = float("inf")) -> Job:
        """See `Client.wait`."""
        return self._call(self._open().wait(job_id, timeout))

    def cancel(self, job_id: UUID | str) -> Job:
        """See `Client.cancel`."""
        return self._call(self._open().cancel(job_id))

    def discard(self, job_id: UUID | str | Job, reason: object = "by its runner") -> Job:
        """See `Client.discard`."""
        return self._call(self._open().discard(job_id, reason))

    def report_progress(self, job_id: UUID | str, percent: int) -> None:
        """See `Client.report_progress`."""
        self._call(self._open().report_progress(job_id, percent))

    def claim(self, queue: str, limit: int = 1, lease: float = 30.0) -> Sequence[Job]:
        """See `Client.claim`."""
        return self._call(self._open().claim(queue, limit, lease))

    def extend(self, job: Job, lease: float = 30.0) -> None:
        """See `Client.extend`."""
        self._call(self._open().extend(job, lease))

    def complete(self, job: Job, result: Any = None) -> Job:
        """See `Client.complete`."""
        return self._call(self._open().complete(job, result))

    def fail(self, job: Job, reason: object, delay: float | None = None) -> Job:
        """See `Client.fail`."""
        return self._call(self._open().fail(job, reason, delay))

    def snooze(self, job: Job, seconds: float) -> Job:
        """See `Client.snooze`."""
        return self._call(self._open().snooze(job, seconds))

    def retry(self, job_id: UUID | str, delay: float = 0) -> Job:
        """See `Client.retry`."""
        return self._call(self._open().retry(job_id, delay))

    def rerun(self, job_id: UUID | str) -> Job:
        """See `Client.rerun`."""
        return self._call(self._open().rerun(job_id))

    def _open(self) -> Client:
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the client is closed; make another one")
            if self._client is not None and self._pid == os.getpid():
                return self._client
            # Not by the policy: trio-asyncio has set its own.
            loop = asyncio.SelectorEventLoop()
            thread = threading.Thread(target=loop.run_forever, name="kathikon-client", daemon=True)
            thread.start()
            try:
                client = asyncio.run_coroutine_threadsafe(self._make().__aenter__(), loop).result()
            except BaseException:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()
                raise
            self._client, self._loop, self._thread, self._pid = client, loop, thread, os.getpid()
            return client

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None:
            work.close()
            raise StoreUnavailable("the client is closed; make another one")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C here ends the work there; when it has ended by itself this does nothing
            raise
