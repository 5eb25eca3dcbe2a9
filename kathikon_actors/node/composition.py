"""Batches and workflows: the same on nodes and on clients."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sniffio

from kathikon_actors.jobs.actions import check_timeout
from kathikon_actors.jobs.batch import Batch, BatchRecord, Callback
from kathikon_actors.jobs.batch_status import BatchStatus
from kathikon_actors.jobs.errors import BadConfiguration, BatchNotFound, InvalidJob, WaitTimeout
from kathikon_actors.jobs.ids import IdSource, as_uuid, raw_id
from kathikon_actors.jobs.new_job import NewJob, check_jobs
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.sealed_record import is_sealed
from kathikon_actors.jobs.workflow import Workflow
from kathikon_actors.node.listing import decided
from kathikon_actors.node.operations import ChangedMany

if TYPE_CHECKING:
    from kathikon_actors.jobs.composing import Answer
    from kathikon_actors.jobs.inserted import OnError
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.node.listing import InsertedMany
    from kathikon_actors.store.graph import BatchStore

__all__ = ["Composition", "OpenBatch"]

CLOSE_PATIENCE = 5.0
"""Seconds that a block which was cancelled takes to close its batch."""

POLL = (0.005, 0.2)
"""Seconds between two looks at a batch that is waited for: the first, and the longest."""


class OpenBatch:
    """A batch that takes children; made by `open_batch`.

    Attributes:
        id: its id, to look at it later or to append from elsewhere: `node.insert(job, batch=id)`.
    """

    def __init__(self, owner: Composition, batch_id: bytes) -> None:
        self._owner = owner
        self.id = as_uuid(batch_id)

    async def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """Append one job; as `insert` of a node otherwise.

        Raises:
            BatchClosed: it takes no more.
        """
        return await self._owner.insert(job, args, batch=self.id, **options)

    async def insert_many(
        self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, on_error: OnError = "continue"
    ) -> InsertedMany:
        """Append any number of jobs, by chunks; as `insert_many` of a node otherwise."""
        return await self._owner.insert_children(jobs, self.id, on_error=on_error)

    async def close(self) -> BatchStatus:
        """Take no more children: from now on the batch ends when they all have. Harmless when it is closed."""
        return await self._owner.close_batch(self.id)

    async def status(self) -> BatchStatus:
        """Give its counts as committed now."""
        return await self._owner.batch(self.id)

    def __repr__(self) -> str:
        return f"<OpenBatch {self.id}>"


class Composition(ABC):
    """The part of `Node` and `Client` that opens batches and inserts workflows."""

    @abstractmethod
    def _batch_store(self) -> BatchStore: ...

    @abstractmethod
    def _ids_and_now(self) -> tuple[IdSource, int]: ...

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...

    @abstractmethod
    def _build(self, new: object, coming: Sequence[Record] = ()) -> Record: ...

    async def _learn(self, *jobs: object) -> None:  # noqa: B027 a node has its workers
        """Find out what is declared of the workers of these jobs, where their code is not here."""

    def _build_callback(self, job: NewJob) -> Record:
        """Build what a store inserts later by itself."""
        return self._build(job)

    async def _built(self, job: NewJob) -> Record:
        await self._learn(job)
        return self._build(job)

    @abstractmethod
    async def _insert_whole(self, records: Sequence[Record]) -> dict[bytes, Answer]:
        """Insert all of these jobs or, when one of them is refused, none; its answer says why."""

    @abstractmethod
    async def insert(
        self, job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        """See `Node` and `Client`."""

    @abstractmethod
    async def insert_many(
        self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, on_error: OnError = "continue"
    ) -> InsertedMany:
        """See `Node` and `Client`."""

    async def insert_children(
        self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], batch_id: UUID, *, on_error: OnError = "continue"
    ) -> InsertedMany:
        """See `OpenBatch.insert_many`."""
        return await self.insert_many(_children(jobs, batch_id), on_error=on_error)

    @asynccontextmanager
    async def open_batch(
        self, batch: Batch | None = None, *, within: OpenBatch | UUID | str | None = None
    ) -> AsyncIterator[OpenBatch]:
        """Open a batch for a block that appends its children; it is closed when the block ends, also by an exception.

        Children run while it is open. When it is closed and the last of them has ended (completed, cancelled,
        discarded or purged), it is resolved, in the transaction that ends that child, and there its callback job is
        inserted: exactly one, or none when nothing is given for how it ended.

        Args:
            batch: callbacks and policy; none by default.
            within: another batch, in which this one counts as one child.

        Raises:
            BatchNotFound, BatchClosed: of `within`.
            BadConfiguration: this is no batch.
            InvalidJob, UnknownQueue, UnknownWorker: a callback does not fit; nothing was stored.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            async with node.open_batch(Batch(on_success=publish.new("2026-11"))) as batch:
                await batch.insert_many(render.new(page) for page in range(1000))
            ```
        """
        opened = OpenBatch(self, (await self.new_batch(batch, within=within)).bytes)
        try:
            yield opened
        finally:
            with _to_the_end(CLOSE_PATIENCE):
                await opened.close()  # noqa: ASYNC102 it is shielded where that is a word

    async def new_batch(self, batch: Batch | None = None, *, within: OpenBatch | UUID | str | None = None) -> UUID:
        """Open a batch that has no block, for programs that append in several places; `close_batch` closes it.

        Args, errors: see `open_batch`.

        Example:
            ```python
            batch_id = await node.new_batch(Batch(on_complete=report.new()))
            await node.insert(render.new(1), batch=batch_id)
            await node.close_batch(batch_id)
            ```
        """
        batch = Batch() if batch is None else batch
        if not isinstance(batch, Batch):
            raise BadConfiguration(f"a batch is opened with Batch(...), not {batch!r}")
        await self._learn(batch.on_complete, batch.on_success, batch.on_failure)
        record = self._new_batch(batch, outer=_raw(within))
        await self._batch_store().open(record)
        return as_uuid(record.id)

    async def batch(self, batch_id: UUID | str) -> BatchStatus:
        """Give a batch as it is committed now.

        Raises:
            BatchNotFound: there is none with this id (any more).

        Example:
            ```python
            status = await node.batch(batch.id)
            print(status.state, status.progress)
            ```
        """
        record = await self._batch_store().get(_id(batch_id))
        if record is None:
            raise BatchNotFound(batch_id)
        return BatchStatus.of(record)

    async def batches(self, *, after: UUID | str | None = None, limit: int = 100) -> Sequence[BatchStatus]:
        """Give a page of batches, newest first.

        Args:
            after: give the page after the batch with this id.
            limit: batches a page, 1 to 10,000.

        Example:
            ```python
            running = [batch for batch in await node.batches() if batch.state == "running"]
            ```
        """
        _check_limit(limit)
        return [BatchStatus.of(record) for record in await self._batch_store().find(_raw(after), limit)]

    async def children(self, parent: UUID | str, *, after: UUID | str | None = None, limit: int = 100) -> Sequence[Job]:
        """Give a page of the children of a batch, or of a job, oldest first, as they are committed.

        Those of a job are what it has inserted while it ran, in a batch or not, and what a broadcast made of it on
        the nodes. Nothing is known of a parent that is gone, so an id that nobody has gives an empty page.

        Args:
            parent: id of the batch, or of the job.
            after: give the page after the job with this id.
            limit: jobs a page, 1 to 10,000.

        Raises:
            ValueError: a limit out of range.
            JobNotFound: what is given is no id.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            dead = [job for job in await node.children(batch.id) if job.state == "discarded"]
            pages = await node.children(crawl_job.id)
            ```
        """
        _check_limit(limit)
        after_id = None if after is None else raw_id(after)
        found = await self._batch_store().children(raw_id(getattr(parent, "id", parent)), after_id, limit)
        return [Job(record) for record in found]

    async def close_batch(self, batch_id: UUID | str) -> BatchStatus:
        """Close a batch whose block never ended, since its program died. Harmless when it is closed.

        Raises:
            BatchNotFound: there is none with this id.

        Example:
            ```python
            await node.close_batch(batch.id)
            ```
        """
        record = await self._batch_store().seal(_id(batch_id))
        return BatchStatus.of(record)

    async def retry_failed(self, batch_id: UUID | str) -> ChangedMany:
        """Run the cancelled and discarded children of a batch again; give how many, and the errors of the others.

        They do not count as ended any more. A batch that was resolved runs again, and is resolved again when they
        have ended, with a callback for how it ends then. A child whose unique key another job has meanwhile stays as it
        is, with a `UniqueConflict`.

        Raises:
            BatchNotFound: there is none with this id.

        Example:
            ```python
            if (await node.batch(batch.id)).state == "failed":
                await node.retry_failed(batch.id)
            ```
        """
        _, now = self._ids_and_now()
        found = await self._batch_store().retry_failed(_id(batch_id), now)
        return ChangedMany.of(found)

    async def wait_batch(self, batch_id: UUID | str, timeout: float = float("inf")) -> BatchStatus:
        """Wait until a batch is resolved.

        Args:
            batch_id: its id.
            timeout: seconds.

        Raises:
            BatchNotFound: there is none with this id.
            WaitTimeout: it was not resolved in time; it goes on.
            ValueError: `timeout` is no number from 0.

        Example:
            ```python
            done = await node.wait_batch(batch.id, timeout=600)
            ```
        """
        left = timeout = check_timeout(timeout)
        pause, longest = POLL
        while True:
            status = await self.batch(batch_id)
            if status.is_resolved:
                return status
            if left <= 0:
                raise WaitTimeout(f"of batch {batch_id}", timeout, status.state)
            await self._sleep(min(pause, left))
            left -= pause
            pause = min(1.5 * pause, longest)

    async def prune_batches(self, older_than: float, limit: int = 10_000) -> int:
        """Delete batches that were resolved longer ago than `older_than` seconds; give how many.

        Args:
            older_than: seconds.
            limit: the most to delete at once.

        Example:
            ```python
            await node.prune_batches(older_than=14 * 86_400)
            ```
        """
        _, now = self._ids_and_now()
        return await self._batch_store().prune(now - int(older_than * 1e6), limit)

    def _new_batch(self, batch: Batch, *, outer: bytes | None = None, parent: Record | None = None) -> BatchRecord:
        """Give a new batch as it is stored, its callbacks checked."""
        ids, now = self._ids_and_now()
        return BatchRecord(
            id=ids.next(now),
            opened_at=now,
            needed=batch.needed,
            name=batch.name,
            outer_id=outer,
            parent_id=None if parent is None else parent.id,
            run_at=None if parent is None else parent.attempted_at,
            on_complete=self._callback(batch.on_complete),
            on_success=self._callback(batch.on_success),
            on_failure=self._callback(batch.on_failure),
        )

    def _callback(self, job: NewJob | None) -> bytes | None:
        if job is None:
            return None
        record = self._build_callback(job)
        if is_sealed(record):
            raise InvalidJob(
                job.worker, "encrypt", "is not possible for a batch's callback; give it .options(encrypt=False)"
            )
        return Callback.of(record).encode()

    async def workflow(self, flow: Workflow) -> dict[str, Job]:
        """Insert all steps of a workflow in one transaction; give the jobs by their names.

        Raises:
            WorkflowCycle: steps wait for each other; it names them.
            QueueFull: there is no room for all of its steps.
            BadConfiguration, InvalidJob, UnknownQueue, UnknownWorker, DependenciesNotFound: a step does not fit.
                Whatever is raised, nothing was stored.

        Example:
            ```python
            flow = Workflow().add("fetch", fetch.new()).add("report", report.new(), after="fetch")
            jobs = await node.workflow(flow)
            ```
        """
        if not isinstance(flow, Workflow):
            raise InvalidJob(repr(flow)[:80], "workflow", "is not a Workflow; add its steps to one")
        ids, now = self._ids_and_now()
        steps = flow.in_order()
        await self._learn(*(job for _, job, _ in steps))
        given = {name: as_uuid(ids.next(now)) if "id" not in job.given else job.given["id"] for name, job, _ in steps}
        records: list[Record] = []
        for name, job, after in steps:
            parents = job.given.get("depends_on", ())
            parents = [parents] if isinstance(parents, Job | UUID | str) else [*parents]
            parents += [given[parent] for parent in after]
            step = job.options(id=given[name], **({"depends_on": parents} if parents else {}))
            records.append(self._build(step, records))
        answers = await self._insert_whole(records)
        refused = next((answer for answer in answers.values() if answer.error is not None), None)
        if refused is not None:
            decided(refused)
        jobs = {}
        for (name, _, _), record in zip(steps, records, strict=True):
            stored, conflict = decided(answers[record.id])
            jobs[name] = Job(stored, conflict=conflict)
        return jobs


async def _children(jobs: Iterable[NewJob] | AsyncIterable[NewJob], batch: UUID) -> AsyncIterator[NewJob]:
    check_jobs(jobs)
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield _child(job, batch)
    else:
        for job in jobs:
            yield _child(job, batch)


def _child(job: object, batch: UUID) -> NewJob:
    if not isinstance(job, NewJob):
        raise InvalidJob(repr(job)[:80], "job", "is not a job; give worker.new(...)")
    return job.options(batch=batch)


def _id(value: OpenBatch | UUID | str) -> bytes:
    raw = _raw(value)
    if raw is None:
        raise BatchNotFound(value)
    return raw


def _raw(value: OpenBatch | UUID | str | None) -> bytes | None:
    if value is None:
        return None
    found: Any = getattr(value, "id", value)
    try:
        return found.bytes if isinstance(found, UUID) else UUID(found).bytes
    except (ValueError, AttributeError, TypeError):
        raise BatchNotFound(value) from None


def _check_limit(limit: object) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 10_000:
        raise ValueError(f"limit is {limit!r}; give 1 to 10,000 and go on with after=")


def _to_the_end(seconds: float) -> AbstractContextManager[object]:
    """Let a cancelled trio task do one thing more; asyncio delivers a cancellation once, and needs nothing."""
    if sniffio.current_async_library() != "trio":
        return nullcontext()
    import trio

    return trio.CancelScope(deadline=trio.current_time() + seconds, shield=True)
