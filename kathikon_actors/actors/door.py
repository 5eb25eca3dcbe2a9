"""What a process may ask of the system: names, starts, links, snapshots, and the node's jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.actors.cell import link_cells, unlink_cells
from kathikon_actors.actors.codec import load, load_error
from kathikon_actors.actors.remote_cell import WireReply
from kathikon_actors.actors.router import Router
from kathikon_actors.actors.snapshots.writer import SnapshotLost, SnapshotRejected

if TYPE_CHECKING:
    from kathikon_actors.actors.snapshots.sink import StoredSnapshot
    from kathikon_actors.jobs.new_job import NewJob

__all__ = ["Door"]

_WAITED_FOR: Final = frozenset(
    {"start", "load_snapshots", "flush_snapshot", "delete_snapshots", "insert", "insert_many"}
)


class Door(Router):
    """The system's side of a wire to a process that has a `ChildSystem`."""

    def start_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a task that may end with this door."""
        helpers = self.system.helpers
        assert helpers is not None
        helpers.start_soon(function, *args)

    def request(self, what: str, payload: Any, reply: WireReply) -> None:
        """Answer what the process asks the system."""
        args = load(payload)
        answer = getattr(self, f"_{what}")
        if what in _WAITED_FOR:
            self.start_soon(self._answer_later, answer, args, reply)
        else:
            reply.reply(answer(*args))

    async def _answer_later(self, answer: Callable[..., Any], args: tuple[Any, ...], reply: WireReply) -> None:
        try:
            value = await answer(*args)
        except Exception as error:  # the asker's to know
            reply.fail(error)
        else:
            reply.reply(value)

    async def _start(self, cls: Any, args: Any, kwargs: Any, options: Any, parent: int | None) -> Any:
        cell = None if parent is None else self.system.cell_at(parent)
        return await self.system.start_linked(cell, cls, args, kwargs, options)

    def _token(self) -> str:
        return self.system.token

    def _whereis(self, name: str) -> bool:
        return self.system.cell_at(name) is not None

    def _alive(self, address: int | str) -> bool:
        return self.system.cell_at(address) is not None

    def _pid(self, address: int | str) -> int | None:
        cell = self.system.cell_at(address)
        return None if cell is None else cell.pid

    def _names(self) -> list[str]:
        return self.system.names()

    def _statistics(self, address: int | str) -> object:
        cell = self.system.cell_at(address)
        return None if cell is None else cell.statistics()

    def _link(self, one: int | str, other: int | str) -> tuple[int | None, int | None]:
        first, second = self.system.cell_at(one), self.system.cell_at(other)
        if first is not None and second is not None:
            link_cells(first, second)
        return (None if first is None else first.uid, None if second is None else second.uid)

    def _unlink(self, one: int | str, other: int | str) -> tuple[int | None, int | None]:
        first, second = self.system.cell_at(one), self.system.cell_at(other)
        if first is not None and second is not None:
            unlink_cells(first, second)
        return (None if first is None else first.uid, None if second is None else second.uid)

    # Snapshots.

    async def _load_snapshots(self, actor: str) -> list[StoredSnapshot]:
        return await self.system.snapshots.load(actor)

    def _put_snapshot(self, actor: str, snapshot: StoredSnapshot) -> None:
        self.system.snapshots.put(actor, snapshot)

    async def _flush_snapshot(self, actor: str) -> None:
        await self.system.snapshots.flush(actor)

    async def _delete_snapshots(self, actor: str) -> None:
        await self.system.snapshots.delete(actor)

    def _report_snapshot(self, actor: str, error: Any, version: int | None) -> None:
        cause = load_error(error)
        lost = SnapshotLost(actor, cause) if version is None else SnapshotRejected(actor, cause, version)
        self.system.snapshots.report(lost)

    # Jobs.

    async def _insert(self, job: NewJob) -> Any:
        return await self.system.node.insert(job)

    async def _insert_many(self, jobs: list[NewJob]) -> Any:
        return await self.system.node.insert_many(jobs)
