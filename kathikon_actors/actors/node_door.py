"""What actors see of the node that they live in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kathikon_actors.actors.errors import ActorError
from kathikon_actors.jobs.errors import InvalidJob
from kathikon_actors.jobs.new_job import NewJob, check_options
from kathikon_actors.jobs.worker import definition_of

if TYPE_CHECKING:
    from kathikon_actors.actors.child_system import ChildSystem
    from kathikon_actors.jobs.record import Job

__all__ = ["JobInserter", "OutsideNode", "RemoteNode", "portable"]


class OutsideNode(ActorError):
    """The actor system belongs to no node, so there is nobody to run jobs."""

    def __init__(self) -> None:
        super().__init__("this actor system belongs to no node; open one by open_node(app, ...) and use its actors")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), ()


class JobInserter(Protocol):
    """What `system.node` gives: the node itself, or the way to it from another process."""

    async def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """Insert a job; it is committed when this returns. See `Node.insert`."""
        ...

    async def insert_many(self, jobs: Iterable[NewJob]) -> Any:
        """Insert jobs in input order. See `Node.insert_many`."""
        ...


def portable(job: object, args: Mapping[str, Any] | None, options: Mapping[str, Any]) -> NewJob:
    """Make a job that goes to another process: a worker's name instead of its code, which the node has itself.

    Raises:
        InvalidJob, UnknownOption, TypeError: as `Node.insert` would.
    """
    if isinstance(job, NewJob):
        if args is not None:
            raise InvalidJob(job.worker, "args", "are bound already by new(...); leave them out here")
        check_options(job.worker, dict(options))
        return NewJob(job.worker, job.args, None, {**job.given, **options})
    if isinstance(job, str):
        check_options(job, dict(options))
        return NewJob(job, dict(args or {}), None, dict(options))
    definition = definition_of(job)
    check_options(definition.name, dict(options))
    return NewJob(definition.name, definition.bind((), args or {}), None, dict(options))


class RemoteNode:
    """The node, from another process."""

    def __init__(self, system: ChildSystem) -> None:
        self._system = system

    async def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """See `Node.insert`."""
        inserted: Job = await self._system.request("insert", portable(job, args, options))
        return inserted

    async def insert_many(self, jobs: Iterable[NewJob]) -> Any:
        """See `Node.insert_many`; all of them travel in one message."""
        return await self._system.request("insert_many", [portable(job, None, {}) for job in jobs])
