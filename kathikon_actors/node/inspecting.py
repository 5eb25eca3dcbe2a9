"""What an operator asks about one job: the same on nodes and on clients; and what both need of a store."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from kathikon_actors.jobs.errors import InvalidState, JobNotFound
from kathikon_actors.jobs.ids import as_uuid, raw_id
from kathikon_actors.jobs.states import TERMINAL_STATES, State
from kathikon_actors.node.asking import Asking

if TYPE_CHECKING:
    from kathikon_actors.jobs.actions import Change
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.record import ErrorEntry, HistoryEntry, Job, Record
    from kathikon_actors.jobs.retention import Retention
    from kathikon_actors.store.commands import Requested
    from kathikon_actors.store.protocol import Page
    from kathikon_actors.store.retaining import Pruned

__all__ = ["Inspection", "OperatorStore"]


class OperatorStore(Asking, Protocol):
    """What operations need of a store: a node has a whole one, a client what its connections can do."""

    async def get(self, job_id: bytes) -> Record | None:
        """See `Store.get`."""
        ...

    async def find(self, page: Page) -> list[Record]:
        """See `Store.find`."""
        ...

    async def ask(self, job_id: bytes, change: Change) -> int:
        """See `Store.ask`."""
        ...

    async def request(self, wanted: Filter, change: Change) -> Requested:
        """See `Store.request`."""
        ...

    async def purge(self, ids: Sequence[bytes]) -> set[bytes]:
        """See `Store.purge`."""
        ...

    async def purge_meeting(self, wanted: Filter) -> int:
        """See `Store.purge_meeting`."""
        ...

    async def count_meeting(self, wanted: Filter) -> int:
        """See `Store.count_meeting`."""
        ...

    async def prune(self, retention: Retention) -> Pruned:
        """See `Store.prune`."""
        ...

    async def promote(self) -> int:
        """See `Store.promote`."""
        ...


class Inspection(ABC):
    """The part of `Node` and `Client` that asks about single jobs, and removes them."""

    @abstractmethod
    def _operator(self) -> OperatorStore:
        """Give the store.

        Raises:
            StoreUnavailable: it is closed.
        """

    @abstractmethod
    async def get(self, job_id: UUID | str) -> Job:
        """See `Node.get` and `Client.get`."""

    @abstractmethod
    async def cancel(self, job_id: UUID | str) -> Job:
        """See `Node.cancel` and `Client.cancel`."""

    async def purge(self, job_id: UUID | str) -> None:
        """Remove a job for good, with its history; one that has not ended is cancelled first.

        Raises:
            JobNotFound: there is none with this id.
            OwnedElsewhere, StoreUnavailable: see `cancel`; it was not removed.

        Example:
            ```python
            await node.purge(job.id)
            ```
        """
        raw = raw_id(job_id)
        if await self._operator().purge([raw]):
            return
        try:
            await self.cancel(job_id)
        except InvalidState as error:
            if error.old not in TERMINAL_STATES:
                raise
        if not await self._operator().purge([raw]):
            raise JobNotFound(as_uuid(raw))

    async def status(self, job_id: UUID | str) -> State:
        """Give the state of a job.

        Raises:
            JobNotFound: there is none with this id.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            assert await node.status(job.id) == "completed"
            ```
        """
        return (await self.get(job_id)).state

    async def result(self, job_id: UUID | str) -> Any:
        """Give what a completed job returned.

        Raises:
            JobNotFound: there is none with this id.
            InvalidState: it is not completed, so it has no result.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            print(await node.result(job.id))
            ```
        """
        job = await self.get(job_id)
        if job.state != "completed":
            step = "look at its errors and history" if job.is_terminal else "wait for it"
            problem = f"only a completed job has a result; {step}"
            raise InvalidState(job.id, job.state, "completed", problem=problem)
        return job.result

    async def history(self, job_id: UUID | str) -> Sequence[HistoryEntry]:
        """Give the transitions of a job, in order.

        Raises:
            JobNotFound, StoreUnavailable: see `status`.

        Example:
            ```python
            for entry in await node.history(job.id):
                print(entry["at"], entry["event"])
            ```
        """
        return (await self.get(job_id)).history

    async def errors(self, job_id: UUID | str) -> Sequence[ErrorEntry]:
        """Give the failed attempts of a job, in order.

        Raises:
            JobNotFound, StoreUnavailable: see `status`.

        Example:
            ```python
            for entry in await node.errors(job.id):
                print(entry["attempt"], entry["kind"], entry["message"])
            ```
        """
        return (await self.get(job_id)).errors
