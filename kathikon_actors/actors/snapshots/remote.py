"""The way to the system's snapshots from an actor's own process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from kathikon_actors.actors.codec import dump_error
from kathikon_actors.actors.snapshots.writer import SnapshotEvent, SnapshotRejected

if TYPE_CHECKING:
    from kathikon_actors.actors.child_system import ChildSystem
    from kathikon_actors.actors.snapshots.sink import StoredSnapshot

__all__ = ["RemoteSnapshots"]


class RemoteSnapshots:
    """Hands snapshots to the node's process; see `SnapshotWriter`."""

    def __init__(self, system: ChildSystem) -> None:
        self._system = system

    async def load(self, actor: str) -> list[StoredSnapshot]:
        """Give an actor's last snapshots, the newest first."""
        found: list[StoredSnapshot] = await self._system.request("load_snapshots", actor)
        return found

    def put(self, actor: str, snapshot: StoredSnapshot) -> None:
        """Have a snapshot kept, soon."""
        self._system.tell("put_snapshot", (actor, snapshot))

    async def flush(self, actor: str) -> None:
        """Wait until what was put of this actor is kept."""
        await self._system.request("flush_snapshot", actor)

    async def delete(self, actor: str) -> None:
        """Forget an actor's snapshots."""
        await self._system.request("delete_snapshots", actor)

    def report(self, event: SnapshotEvent) -> None:
        """Tell what went wrong."""
        version = event.version if isinstance(event, SnapshotRejected) else None
        self._system.tell("report_snapshot", (event.actor, dump_error(event.error), version))

    def subscribe(self, handler: Callable[[SnapshotEvent], object]) -> NoReturn:
        """Subscribe in the process of the system.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("events of snapshots are told in the process of the actor system; subscribe there")
