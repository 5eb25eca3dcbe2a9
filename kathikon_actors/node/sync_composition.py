"""Batches and workflows for plain code."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

if TYPE_CHECKING:
    from kathikon_actors.jobs.batch import Batch
    from kathikon_actors.jobs.batch_status import BatchStatus
    from kathikon_actors.jobs.inserted import OnError
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.jobs.record import Job
    from kathikon_actors.jobs.workflow import Workflow
    from kathikon_actors.node.client import Client
    from kathikon_actors.node.composition import OpenBatch
    from kathikon_actors.node.listing import InsertedMany
    from kathikon_actors.node.operations import ChangedMany

__all__ = ["SyncComposition", "SyncOpenBatch"]

T = TypeVar("T")


class SyncOpenBatch:
    """`OpenBatch` without `await`.

    Attributes:
        id: its id.
    """

    def __init__(self, owner: SyncComposition, batch_id: UUID) -> None:
        self._owner = owner
        self.id = batch_id

    def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """See `OpenBatch.insert`."""
        return self._owner.insert(job, args, batch=self.id, **options)

    def insert_many(self, jobs: Iterable[NewJob], *, on_error: OnError = "continue") -> InsertedMany:
        """See `OpenBatch.insert_many`."""
        return self._owner.insert_many((job.options(batch=self.id) for job in jobs), on_error=on_error)

    def close(self) -> BatchStatus:
        """See `OpenBatch.close`."""
        return self._owner.close_batch(self.id)

    def status(self) -> BatchStatus:
        """See `OpenBatch.status`."""
        return self._owner.batch(self.id)


class SyncComposition(ABC):
    """The part of `SyncClient` that opens batches and inserts workflows."""

    @abstractmethod
    def _open(self) -> Client: ...

    @abstractmethod
    def _call(self, work: Coroutine[Any, Any, T]) -> T: ...

    @abstractmethod
    def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """See `Client.insert`."""

    @abstractmethod
    def insert_many(self, jobs: Iterable[NewJob], *, on_error: OnError = "continue") -> InsertedMany:
        """See `Client.insert_many`."""

    @contextmanager
    def open_batch(
        self, batch: Batch | None = None, *, within: OpenBatch | SyncOpenBatch | UUID | str | None = None
    ) -> Iterator[SyncOpenBatch]:
        """See `Client.open_batch`: here it is a `with` block."""
        opened = SyncOpenBatch(self, self.new_batch(batch, within=within))
        try:
            yield opened
        finally:
            opened.close()

    def new_batch(
        self, batch: Batch | None = None, *, within: OpenBatch | SyncOpenBatch | UUID | str | None = None
    ) -> UUID:
        """See `Client.new_batch`."""
        outer = within.id if isinstance(within, SyncOpenBatch) else within
        return self._call(self._open().new_batch(batch, within=outer))

    def batch(self, batch_id: UUID | str) -> BatchStatus:
        """See `Client.batch`."""
        return self._call(self._open().batch(batch_id))

    def batches(self, *, after: UUID | str | None = None, limit: int = 100) -> Sequence[BatchStatus]:
        """See `Client.batches`."""
        return self._call(self._open().batches(after=after, limit=limit))

    def children(self, parent: UUID | str, *, after: UUID | str | None = None, limit: int = 100) -> Sequence[Job]:
        """See `Client.children`."""
        return self._call(self._open().children(parent, after=after, limit=limit))

    def close_batch(self, batch_id: UUID | str) -> BatchStatus:
        """See `Client.close_batch`."""
        return self._call(self._open().close_batch(batch_id))

    def retry_failed(self, batch_id: UUID | str) -> ChangedMany:
        """See `Client.retry_failed`."""
        return self._call(self._open().retry_failed(batch_id))

    def wait_batch(self, batch_id: UUID | str, timeout: float = float("inf")) -> BatchStatus:
        """See `Client.wait_batch`."""
        return self._call(self._open().wait_batch(batch_id, timeout))

    def prune_batches(self, older_than: float, limit: int = 10_000) -> int:
        """See `Client.prune_batches`."""
        return self._call(self._open().prune_batches(older_than, limit))

    def workflow(self, flow: Workflow) -> dict[str, Job]:
        """See `Client.workflow`."""
        return self._call(self._open().workflow(flow))
