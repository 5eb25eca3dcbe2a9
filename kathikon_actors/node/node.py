"""The node: what a program holds of the running tree, and the block it lives in."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
import trio

from kathikon_actors.actors.system import ActorSystem
from kathikon_actors.actors.systems import inside
from kathikon_actors.jobs.batch import Batch
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import (
    AlreadyExists,
    BadConfiguration,
    InvalidJob,
    JobNotFound,
    KathikonError,
    NodeStopping,
    QueueFull,
    StoreUnavailable,
    UnknownWorker,
    WaitTimeout,
)
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.ids import IdSource, as_uuid, raw_id
from kathikon_actors.jobs.inserted import OnError, check_on_error
from kathikon_actors.jobs.new_job import NewJob, check_options
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.jobs.sealing import Keyring, known_keyrings
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.jobs.worker import definition_of
from kathikon_actors.node.aborting import insert_or_abort
from kathikon_actors.node.app import App
from kathikon_actors.node.children import launch_zygote, node_children
from kathikon_actors.node.chunks import CHUNK, Chunks
from kathikon_actors.node.composition import Composition
from kathikon_actors.node.control import ControlSocket
from kathikon_actors.node.crons import Crons, Schedules, declared_rows
from kathikon_actors.node.listing import InsertedMany, decided, new_jobs
from kathikon_actors.node.manage import JobActions
from kathikon_actors.node.operations import Operations
from kathikon_actors.node.reporting import NodeReports
from kathikon_actors.node.rotation import Rotation
from kathikon_actors.node.state import NodeState
from kathikon_actors.node.telemetry import Telemetry, report_supervisors, telemetry_of
from kathikon_actors.node.transactional import insert_on
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.cron_store import CronStore
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.store.graph import BatchStore
from kathikon_actors.store.journal import SNAPSHOT_INTERVAL
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Counts, Store
from kathikon_actors.store.rotating import SealedStore
from kathikon_actors.store.urls import parse_store_url
from kathikon_actors.telemetry.events import BatchChanged, LimitDecision, NodeChanged
from kathikon_actors.telemetry.tracing import traced
from supervisors import ChildSpec, FailedToStart, Supervisor, TreeNode, open_supervisor

__all__ = ["InsertedMany", "Node", "NodeStatistics", "open_node", "open_nodes", "run_node"]

logger = logging.getLogger(__name__)

UNOWNED_POLL: Final = 0.2
"""Seconds between two looks at a job that this node does not own."""


@dataclass(frozen=True)
class NodeStatistics:
    """What a node is doing, from memory.

    Attributes:
        jobs: that it owns and that have not ended.
        running: given to worker processes.
        uncommitted_inserts: rows that wait for the journal or are in flight; likewise `uncommitted_outcomes`.
        commits: batches committed since the journal started, with `rows` rows in all.
        cuts: how often the store was cut off.
        degraded: queues whose worker processes keep dying; each is tried again after a pause.
    """

    jobs: int
    running: int
    uncommitted_inserts: int
    uncommitted_outcomes: int
    commits: int
    rows: int
    cuts: int
    degraded: tuple[str, ...] = ()


class Node(JobActions, Operations, NodeReports, Composition, Telemetry, Schedules, Rotation):
    """A running node. Made by `open_node`."""

    _tree: Supervisor

    def __init__(self, state: NodeState, insert_timeout: float) -> None:
        self._state = state
        self._insert_timeout = insert_timeout
        state.system.belong_to(self)

    @property
    def name(self) -> str:
        """The node's name on its store."""
        return self._state.name

    @property
    def supervisor(self) -> Supervisor:
        """The root of the node's supervision tree."""
        return self._tree

    @property
    def system(self) -> ActorSystem:
        """The node's actors: `await node.system.start(Counter, name="counter")`; their snapshots are in its store."""
        return self._state.system

    def tree(self) -> TreeNode:
        """Give the supervision tree as plain data."""
        return self._tree.tree()

    def format_tree(self) -> str:
        """Draw the supervision tree."""
        return self._tree.format_tree()

    @property
    def crons(self) -> Crons:
        """The cron entries of the store: add, change, pause, resume, run now, remove, list.

        Example:
            ```python
            await node.crons.pause("nightly")
            ```
        """
        return Crons(lambda: self._state.store.crons, self._build, self._ids_and_now, self._state.app.keyring)

    def _encrypts(self, worker: str | None) -> bool:
        if self._state.app.keyring is None:
            return False
        definition = None if worker is None else self._state.definitions.get(worker)
        return definition is None or definition.encrypt is not False

    def _batch_told(self, batch_id: bytes, action: str) -> None:
        self._state.bus.emit(BatchChanged(batch_id=as_uuid(batch_id), action=action))

    def _rotating(self) -> tuple[Keyring | None, SealedStore, CronStore]:
        store = self._state.store
        return self._state.app.keyring, store.sealed, store.crons

    def _operator(self) -> Store:
        return self._state.store

    def _queue_store(self) -> Store:
        return self._state.store

    def _own_queues(self) -> Sequence[str]:
        return list(self._state.queues)

    async def _queues_changed(self) -> None:
        keeper = self._state.queue_keeper
        if keeper is not None:
            await keeper.refresh()

    def _retention(self) -> Retention:
        return self._state.app.retention

    def _ids_and_now(self) -> tuple[IdSource, int]:
        return self._state.ids, self._state.clock()

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    # -- inserting ----------------------------------------------------------------------------------------------

    async def insert(
        self, job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        """Insert a job; it is committed when this returns, unless its `durability` says otherwise.

        Args:
            job: `worker.new(...)`, or a worker (or its name) with `args`.
            args: arguments by name, with a worker.
            connection: your own asyncpg connection, opened in this node's asyncio loop: the insert is a part of its
                transaction, visible and claimed only after its commit and gone on rollback.
            **options: insert options, over those of the `NewJob`.

        Raises:
            UnknownWorker, UnknownQueue, UnknownOption, InvalidJob, TypeError: it does not fit; nothing was stored.
            AlreadyExists: the given id is taken.
            QueueFull: the queue holds its `max_depth` of jobs, or its `max_in_memory` when it is to live in memory.
            NodeStopping: the node takes no more work.
            StoreUnavailable: not committed within the node's `insert_timeout`.

        Example:
            ```python
            job = await node.insert(charge_customer.new("INV-99", cents=1250).options(priority=3))
            job = await node.insert(charge_customer, {"invoice_id": "INV-7", "cents": 5}, schedule_in=60)
            ```
        """
        record = self._build(self._new_job(job, args, options))
        if connection is not None:
            if self._state.store.url == "memory:":
                raise BadConfiguration("a transactional insert needs a store on Postgres; this node's is memory:")
            record.node = None
            return await insert_on(connection, record, on_trio=True)
        given_id = "id" in options or (isinstance(job, NewJob) and "id" in job.given)
        stored, conflict = await self.insert_record(record, given_id=given_id)
        return Job(stored, conflict=conflict) if conflict else Job.of(stored)

    async def insert_record(self, record: Record, *, given_id: bool) -> tuple[Record, bool]:
        """Insert what `build` has made; give the job, and whether it is a unique one that was there already."""
        table = self._state.the_table()
        if record.durability != "commit" and table.admit(record):
            await trio.lowlevel.checkpoint()
            return record, False
        insert = await table.submit([record], may_conflict=given_id, timeout=self._insert_timeout)
        existing = await table.committed(insert)
        if insert.answers:
            return decided(insert.answers[record.id])
        if existing:
            raise AlreadyExists(as_uuid(record.id))
        return record, False

    async def insert_many(
        self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, on_error: OnError = "continue"
    ) -> InsertedMany:
        """Insert any number of jobs in input order, by chunks of 1,000, each committed as one.

        A job that does not fit is left out and reported with its index; the others are stored. While one chunk
        commits the next one is made, so that a generator of a million jobs uses bounded memory.

        With `on_error="abort"` the first job that does not fit ends it: nothing of its chunk is stored nor anything
        behind it, `errors` has that one, `ids` are those of the chunks before. Jobs of durability `"memory"` cannot be
        rolled back and do not fit there; `"snapshot"` is committed.

        Raises:
            NodeStopping: the node takes no more work; chunks before are stored.
            StoreUnavailable: a chunk was not committed in time; chunks before are stored.
            ValueError: `on_error` is something else.
        """
        return await self.insert_records(jobs, self._build, on_error=on_error)

    async def insert_children(
        self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], batch_id: UUID, *, on_error: OnError = "continue"
    ) -> InsertedMany:
        """See `OpenBatch.insert_many`."""
        plain = Extra(batch_id=batch_id.bytes)

        def build(new: object, coming: Sequence[Record]) -> Record:
            record = self._build(new, coming)
            extra = record.extra
            record.extra = plain if extra is None else msgspec.structs.replace(extra, batch_id=plain.batch_id)
            if record.durability != "commit":
                record.durability = "commit"
            return record

        return await self.insert_records(jobs, build, on_error=on_error)

    async def insert_records(
        self,
        jobs: Iterable[NewJob] | AsyncIterable[NewJob],
        build: Callable[[object, Sequence[Record]], Record],
        *,
        on_error: OnError = "continue",
    ) -> InsertedMany:
        """As `insert_many`, with jobs built by `build`."""
        check_on_error(on_error)
        if on_error == "abort":
            return await insert_or_abort(jobs, build, self._insert_whole)
        chunks = Chunks(self._state, self._insert_timeout)
        async for new in new_jobs(jobs):
            try:
                chunks.add(build(new, chunks.records), given_id="id" in new.given)
            except (NodeStopping, StoreUnavailable):
                raise
            except (KathikonError, TypeError) as error:
                chunks.refuse(error)
            if len(chunks.records) >= CHUNK:
                await chunks.submit()
        return await chunks.finish()

    def _batch_store(self) -> BatchStore:
        return self._state.store.batches

    async def _insert_whole(self, records: Sequence[Record]) -> dict[bytes, Answer]:
        for record in records:
            record.node = None
        return await self._state.store.insert_composed(records, whole=True)

    def _new_job(self, job: object, args: Mapping[str, Any] | None, options: dict[str, Any]) -> NewJob:
        if isinstance(job, NewJob):
            if args is not None:
                raise InvalidJob(job.worker, "args", "are bound already by new(...); leave them out here")
            return job.options(**options) if options else job
        if isinstance(job, str):
            definition = self._state.definitions.get(job)
            if definition is None:
                raise UnknownWorker(job, self._state.definitions)
        else:
            definition = definition_of(job)
        check_options(definition.name, options)
        if args is not None and not isinstance(args, Mapping):
            raise InvalidJob(definition.name, "args", f"is {args!r}; give arguments by name, as a dict")
        bad = [key for key in args or {} if not isinstance(key, str)]
        if bad:
            raise InvalidJob(definition.name, f"args[{bad[0]!r}]", "has a key that is not a string")
        return NewJob(definition.name, definition.bind((), args or {}), definition, options)

    async def open_batch_of(self, parent: bytes, batch: Batch) -> bytes:
        """Open a batch for a job that runs here, and that ends with it; give its id."""
        record = self._new_batch(batch, parent=parent)
        await self._state.store.batches.open(record)
        return record.id

    def _build(self, new: object, coming: Sequence[Record] = ()) -> Record:
        state = self._state
        if state.draining:
            raise NodeStopping(f'node "{state.name}" is stopping and takes no more jobs')
        return self.build(new, coming)

    def build(self, new: object, coming: Sequence[Record] = ()) -> Record:
        """Give the record of a job that is to be inserted, also while the node stops: what runs may go on.

        Args:
            new: a `NewJob`.
            coming: what is to be inserted with it, and is not counted in the queue's depth yet.
        """
        state = self._state
        if not isinstance(new, NewJob):
            raise InvalidJob(repr(new)[:80], "job", "is not a job; give worker.new(...)")
        definition = state.definitions.get(new.worker)
        if definition is None:
            raise UnknownWorker(new.worker, state.definitions)
        if state.app.tracing:
            new = traced(new)
        record = build_record(new, definition, state.defaults, state.ids, state.clock())
        refusal = state.queues[record.queue].refusal(record.worker, is_async=definition.is_async or state.one_loop)
        if refusal is not None:
            raise InvalidJob(record.worker, "queue", f"does not fit: {refusal}")
        record.node = state.name
        border = None if state.table is None else state.table.borders.get(record.queue)
        if border is not None and border.depth is not None:
            depth = border.full_with(record.queue, coming)
            if depth is not None:
                state.bus.emit(
                    LimitDecision(queue=record.queue, limit="depth", decision="refused", worker=record.worker)
                )
                raise QueueFull(record.queue, depth, border.depth)
        return record

    # -- looking ------------------------------------------------------------------------------------------------

    async def get(self, job_id: UUID | str) -> Job:
        """Give one job as it is now.

        Raises:
            JobNotFound: there is none with this id.
            StoreUnavailable: the store did not answer.
        """
        raw = raw_id(job_id)
        record = await self._find(raw)
        if record is None:
            raise JobNotFound(as_uuid(raw))
        return Job.of(record)

    async def wait(self, job_id: UUID | str, timeout: float = float("inf")) -> Job:
        """Wait until a job has ended and that is committed; give it in its terminal state.

        Args:
            job_id: its id.
            timeout: seconds.

        Raises:
            JobNotFound: there is none with this id.
            WaitTimeout: it did not end in time; it goes on.
        """
        raw = raw_id(job_id)
        with trio.move_on_after(timeout):
            return await self._wait(raw)
        try:
            record = await self._find(raw)
        except StoreUnavailable:
            record = None
        raise WaitTimeout(as_uuid(raw), timeout, record.state if record is not None else "unknown")

    async def _wait(self, raw: bytes) -> Job:
        while True:
            table = self._state.table
            record = await table.wait_ended(raw) if table is not None else None
            if record is None:
                try:
                    record = await self._state.store.get(raw)
                except StoreUnavailable as error:
                    logger.warning("waiting for job %s: %s", as_uuid(raw), error)
                    await trio.sleep(UNOWNED_POLL)
                    continue
                if record is None:
                    raise JobNotFound(as_uuid(raw))
            if record.state in TERMINAL_STATES:
                return Job.of(record)
            table = self._state.table
            if table is None or raw not in table.records:
                await trio.sleep(UNOWNED_POLL)

    async def _find(self, raw: bytes) -> Record | None:
        table = self._state.table
        record = table.records.get(raw, table.unwritten.ended.get(raw)) if table is not None else None
        if record is not None:
            await trio.lowlevel.checkpoint()
            return record
        return await self._state.store.get(raw)

    async def counts(self) -> Sequence[Counts]:
        """Count jobs by queue and state, finished ones included, as committed.

        Raises:
            StoreUnavailable: the store did not answer, or is being opened again.
        """
        return await self._state.store.counts()

    def worker_queues(self) -> dict[str, str]:
        """Give the queue of each worker's jobs, where an insert names no other, by the workers' names."""
        state = self._state
        return {name: worker.queue or state.defaults.queue for name, worker in state.definitions.items()}

    def worker_pids(self) -> dict[str, Sequence[int]]:
        """Give the process ids of the worker processes by queue."""
        return {name: [runner.process.pid for runner in crew.runners] for name, crew in self._state.crews.items()}

    def statistics(self) -> NodeStatistics:
        """Count what the node is doing, from memory."""
        state = self._state
        table, journal = state.table, state.journal
        return NodeStatistics(
            jobs=len(table.records) if table is not None else 0,
            running=sum(runner.busy for crew in state.crews.values() for runner in crew.runners),
            uncommitted_inserts=table.inserts.rows if table is not None else 0,
            uncommitted_outcomes=table.outcomes.rows + len(table.unwritten) if table is not None else 0,
            commits=journal.commits if journal is not None else 0,
            rows=journal.rows if journal is not None else 0,
            cuts=state.link.cuts,
            degraded=tuple(name for name, crew in state.crews.items() if crew.degraded),
        )

    # -- stopping -----------------------------------------------------------------------------------------------

    async def _finish(self, timeout: float) -> bool:
        """Take no more work and let what runs finish; tell whether it all did within `timeout` seconds.

        All queues drain at the same time; what has not started is given back. There is no way back: the node is
        meant to be left afterwards.
        """
        self._state.draining = True
        # What becomes ready from now on is for others.
        self._state.store.attach_ready((), lambda _records: None)
        self._state.bus.emit(NodeChanged(action="draining"))
        for crew in self._state.crews.values():
            crew.drain()
        with trio.move_on_after(timeout):
            while not (all(crew.idle for crew in self._state.crews.values()) and self._state.mourned):
                await trio.sleep(0.01)
            return True
        if self._state.wake is not None:
            self._state.wake.give_up()
        for crew in self._state.crews.values():
            crew.give_up()  # else the tree, which stops one queue after the other, would wait for each by itself
        return False


_open: list[Node] = []


def open_nodes() -> list[Node]:
    """Give the nodes whose blocks run in this process, the latest last."""
    return list(_open)


@asynccontextmanager
async def open_node(
    app: App,
    *,
    store: str = "memory:",
    name: str | None = None,
    lease: float = 30.0,
    shutdown_timeout: float = 25.0,
    insert_timeout: float = 30.0,
    snapshot_interval: float = SNAPSHOT_INTERVAL,
) -> AsyncIterator[Node]:
    """Run a node round a block.

    Leaving the block, or cancelling it, stops gracefully: nothing new is taken, what runs may finish within
    `shutdown_timeout`, the rest is given back, everything is committed, the tree stops in reverse order. An exception
    of the block stops at once: what runs is given back.

    Args:
        app: what to run.
        store: `"memory:"`, `"embedded:PATH"` (a private Postgres in that directory) or `"postgresql://..."`.
        name: the node's name on the store; a node that starts again under its name goes on with its jobs. Default:
            the host's name.
        lease: seconds after which others may take the jobs of a node that is silent.
        shutdown_timeout: seconds that running jobs have to finish.
        insert_timeout: seconds that an insert waits for its commit.
        snapshot_interval: seconds after which the changes of jobs with `durability="snapshot"` are written.

    Raises:
        BadConfiguration: the app, the name or the store URL does not fit.
        NodeNameTaken: a live node has this name on this store.
        StoreUnavailable: the store cannot be reached.
        RestartLimitReached: the tree gave up, after its ordered stop.

    Example:
        ```python
        async with open_node(app, store="embedded:./jobs") as node:
            job = await node.insert(render_invoice.new("INV-99"))
            print(await node.wait(job.id, timeout=90))
        ```
    """
    if not isinstance(app, App):
        raise BadConfiguration(f"open_node takes an App, not {app!r}")
    if not snapshot_interval > 0:
        raise BadConfiguration(f"open_node: snapshot_interval is {snapshot_interval!r}; give seconds above 0")
    name = _node_name(name)
    definitions = app.definitions()
    url = parse_store_url(store)
    server: EmbeddedServer | None = None
    driver: Store
    if url.kind == "memory":
        driver = MemoryStore()
    elif url.kind == "embedded":
        assert url.path is not None
        server = EmbeddedServer(url.path)
        driver = PostgresStore(server.dsn)
    else:
        driver = PostgresStore(url.text)
    state = NodeState(app, definitions, driver, name, lease, snapshot_interval)
    running: list[Node] = []
    control = ControlSocket(url, name, lambda: running[0] if running else None)
    children = [*node_children(state, server), ChildSpec("control", control.run)]
    async with run_node(state, children, shutdown_timeout=shutdown_timeout, insert_timeout=insert_timeout) as node:
        running.append(node)
        yield node


@asynccontextmanager
async def run_node(
    state: NodeState, children: Sequence[ChildSpec], *, shutdown_timeout: float, insert_timeout: float
) -> AsyncIterator[Node]:
    """Run a node whose parts and children are chosen already; see `open_node`."""
    app, definitions, name = state.app, state.definitions, state.name
    state.declared_crons = declared_rows(
        list(app.crons.values()),
        definitions,
        lambda new: build_record(new, definitions[new.worker], app.defaults, state.ids, 0),
        app.keyring,
    )
    for handler in app.telemetry:
        state.bus.subscribe(handler)
    node = state.node = Node(state, insert_timeout)
    with known_keyrings(app.keyring), inside(state.system):
        async with open_loop(), telemetry_of(state):
            try:
                if not state.one_loop:
                    state.launched = launch_zygote(state)
                async with open_supervisor(children, strategy="rest_for_one", name=f"node {name}") as tree:
                    node._tree = tree  # noqa: SLF001 its own half
                    state.doors.open()
                    _open.append(node)
                    report_supervisors(state.bus, tree)
                    state.bus.emit(NodeChanged(action="started"))
                    try:
                        yield node
                    except trio.Cancelled:
                        with trio.CancelScope(shield=True, deadline=trio.current_time() + shutdown_timeout + 1.0):
                            await _drain(node, shutdown_timeout)
                        raise
                    else:
                        with trio.CancelScope(shield=True):
                            await _drain(node, shutdown_timeout)
                    finally:
                        _open.remove(node)
            except FailedToStart as error:
                raise _root_cause(error) from error
            finally:
                if state.launched is not None:
                    await state.launched.aclose()


async def _drain(node: Node, timeout: float) -> None:
    if not await node._finish(timeout):  # noqa: SLF001
        logger.warning("some jobs did not finish within %.0f s; they run again when the node is back", timeout)


def _root_cause(error: BaseException) -> BaseException:
    """Give what kept the innermost child from starting: the reader wants the sentence, not the way to it."""
    while isinstance(error, FailedToStart) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _node_name(name: str | None) -> str:
    if name is None:
        name = socket.gethostname() or f"node-{os.getpid()}"
    if not name or len(name) > 200 or not name.isprintable():
        raise BadConfiguration(f"node name {name!r}: give 1 to 200 printable characters")
    return name
