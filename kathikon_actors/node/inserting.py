"""How a node inserts: into its table, from where the journal commits."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import trio

from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import (
    AlreadyExists,
    BadConfiguration,
    InvalidJob,
    KathikonError,
    NodeStopping,
    QueueFull,
    StoreUnavailable,
    UnknownWorker,
)
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.inserted import OnError, check_on_error
from kathikon_actors.jobs.new_job import NewJob, check_new, check_options, named_args
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.worker import definition_of
from kathikon_actors.node.aborting import insert_or_abort
from kathikon_actors.node.chunks import CHUNK, Chunks
from kathikon_actors.node.listing import InsertedMany, decided, new_jobs
from kathikon_actors.node.transactional import insert_on
from kathikon_actors.store.lane_queue import Insert
from kathikon_actors.telemetry.events import LimitDecision
from kathikon_actors.telemetry.tracing import traced

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState

__all__ = ["NodeInserts"]


class NodeInserts:
    """The part of `Node` that inserts."""

    _state: NodeState
    _insert_timeout: float

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
        # As `insert_record`, without one more coroutine for each that waits.
        table = self._state.the_table()
        if record.durability != "commit" and table.admit(record):
            await trio.lowlevel.checkpoint()
            return Job.of(record)
        insert = await table.submit([record], may_conflict=given_id, timeout=self._insert_timeout)
        if await table.committed(insert) or insert.answers:
            stored, conflict = _outcome_of(insert, record)
            if conflict:
                return Job(stored, conflict=True)
            record = stored
        return Job.of(record)

    async def insert_record(self, record: Record, *, given_id: bool) -> tuple[Record, bool]:
        """Insert what `build` has made; give the job, and whether it is a unique one that was there already."""
        table = self._state.the_table()
        if record.durability != "commit" and table.admit(record):
            await trio.lowlevel.checkpoint()
            return record, False
        insert = await table.submit([record], may_conflict=given_id, timeout=self._insert_timeout)
        await table.committed(insert)
        return _outcome_of(insert, record)

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

    async def _insert_whole(self, records: Sequence[Record]) -> dict[bytes, Answer]:
        for record in records:
            record.node = None
        await self._state.the_table().parents_written(records, trio.current_time() + self._insert_timeout)
        answers = await self._state.store.insert_composed(records, whole=True)
        table = self._state.table
        if table is not None and all(answer.error is None for answer in answers.values()):
            for record in records:
                answer, border = answers.get(record.id), table.borders.get(record.queue)
                if border is not None and (answer is None or not answer.conflict):
                    border.outside += 1
        return answers

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
        return NewJob(definition.name, definition.bind((), named_args(definition.name, args)), definition, options)

    def _build(self, new: object, coming: Sequence[Record] = ()) -> Record:
        state = self._state
        if state.draining:
            raise NodeStopping(f'node "{state.name}" is stopping and takes no more jobs')
        return self.build(new, coming)

    def _build_callback(self, job: NewJob) -> Record:
        # How full its queue is now means nothing for the time when the batch ends.
        return self.build(job, bounded=False)

    def build(self, new: object, coming: Sequence[Record] = (), *, bounded: bool = True) -> Record:
        """Give the record of a job that is to be inserted, also while the node stops: what runs may go on.

        Args:
            new: a `NewJob`.
            coming: what is to be inserted with it, and is not counted in the queue's depth yet.
            bounded: it is refused when its queue is full.
        """
        state = self._state
        new = check_new(new)
        definition = state.definitions.get(new.worker)
        if definition is None:
            raise UnknownWorker(new.worker, state.definitions)
        new = new.bound(definition)
        if state.app.tracing:
            new = traced(new)
        record = build_record(new, definition, state.defaults, state.ids, state.clock())
        queue = state.queues[record.queue]
        if queue.isolation == "task":
            refusal = queue.refusal(record.worker, is_async=definition.is_async or state.one_loop)
            if refusal is not None:
                raise InvalidJob(record.worker, "queue", f"does not fit: {refusal}")
        if queue.broadcast and record.durability != "commit":
            if record.durability == "memory":
                problem = f'is "memory"; what all nodes of queue "{queue.name}" are to run is stored, give "commit"'
                raise InvalidJob(record.worker, "durability", problem)
            record.durability = "commit"
        record.node = state.name
        border = None if state.table is None else state.table.borders.get(record.queue)
        if bounded and border is not None and border.depth is not None:
            depth = border.full_with(record.queue, coming)
            if depth is not None:
                state.bus.emit(
                    LimitDecision(queue=record.queue, limit="depth", decision="refused", worker=record.worker)
                )
                raise QueueFull(record.queue, depth, border.depth)
        return record


def _outcome_of(insert: Insert, record: Record) -> tuple[Record, bool]:
    """Give the job of a committed insert of one, and whether it is another that was there already."""
    if insert.answers:
        return decided(insert.answers[record.id])
    if insert.existing:
        raise AlreadyExists(as_uuid(record.id))
    return record, False
