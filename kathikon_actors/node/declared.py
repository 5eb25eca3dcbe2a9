"""What a client knows of workers whose code it has not: what nodes have declared in the store."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from kathikon_actors.jobs.build import NamedWorker
from kathikon_actors.jobs.errors import InvalidJob, UnknownWorker
from kathikon_actors.store.declaring import declared_workers

if TYPE_CHECKING:
    from kathikon_actors.jobs.build import WorkerDefaults
    from kathikon_actors.jobs.declaration import Declaration
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.store.connection import Raw

__all__ = ["DeclaredWorkers"]

T = TypeVar("T")

FRESH: Final = 60.0
"""Seconds after which the store is asked again."""

MISSED: Final = 0.2
"""The same for a name that was not there: a node that has it may just have started."""


class _Runs(Protocol):
    async def __call__(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...


class DeclaredWorkers:
    """The declarations of a store, read by one query when they are first needed and now and then.

    Args:
        run: runs a piece of work on a connection of the client.
    """

    def __init__(self, run: _Runs) -> None:
        self._run = run
        self._known: dict[str, Declaration] = {}
        self._read_at = -FRESH

    async def learn(self, jobs: Iterable[NewJob]) -> None:
        """See to it that what is declared of the workers of these jobs is known.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        for job in jobs:
            if job.definition is None and not self._knows(job.worker, time.monotonic()):
                await self._run(self._read, time.monotonic())

    def worker_of(self, job: NewJob) -> WorkerDefaults:
        """Give what the job's worker says of its jobs, as far as is known: `learn` goes before.

        Raises:
            TypeError: it does not take these arguments.
            UnknownWorker: nobody has declared it, and the job names no queue.
            InvalidJob: there is no queue, and nobody has declared anything.
        """
        if job.definition is not None:
            return job.definition
        declaration = self._known.get(job.worker)
        if declaration is not None:
            declaration.check(job.args)
            return declaration
        if job.given.get("queue") is not None:
            return NamedWorker(job.worker)
        if self._known:
            raise UnknownWorker(job.worker, self._known, " Give its queue if its code is deployed later.")
        raise InvalidJob(job.worker, "queue", "is not given, and no node has declared the worker on this store")

    def _knows(self, worker: str, now: float) -> bool:
        return now - self._read_at < (FRESH if worker in self._known else MISSED)

    async def _read(self, raw: Raw, asked_at: float) -> None:
        if self._read_at >= asked_at:
            return  # by another task, while this one waited for a connection
        begun = time.monotonic()
        known = self._known
        found = {new.name: new for new in await declared_workers(raw)}
        # What has not changed stays the same object: what was made of it is kept by it.
        self._known = {name: known[name] if known.get(name) == new else new for name, new in found.items()}
        self._read_at = begun
