"""The actors of a node: their system as a child of its tree, their snapshots in its store, the doors for its jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from kathikon_actors.actors.job_door import JobDoor
from kathikon_actors.actors.snapshots.writer import SnapshotEvent, SnapshotRejected
from kathikon_actors.actors.system import serve_system
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.processes.messages import ActorFrame
from kathikon_actors.telemetry.events import SnapshotReport
from supervisors import DynamicSupervisor, Exit, RestartLimitReached, Shutdown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kathikon_actors.actors.snapshots.sink import StoredSnapshot
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.processes.worker_process import WorkerProcess

__all__ = ["JobDoors", "NodeSnapshots", "run_actors"]

T = TypeVar("T")

PATIENCE: Final = 10.0
"""Seconds that the start of an actor waits for a store that is cut off; then it fails, and its supervisor goes on."""

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait for a worker process before answers to its jobs are dropped."""


class NodeSnapshots:
    """Keeps snapshots in the node's store, fenced by its epoch; see `SnapshotSink`."""

    def __init__(self, state: NodeState) -> None:
        self._state = state

    async def save(self, actor: str, snapshot: StoredSnapshot) -> int:
        """See `SnapshotSink.save`."""
        membership = self._state.membership
        if membership is None:
            raise StoreUnavailable("the node is starting")
        try:
            return await self._state.store.snapshots.save(membership, actor, snapshot)
        except StoreUnavailable:
            self._state.link.report_cut()
            raise

    async def load(self, actor: str) -> list[StoredSnapshot]:
        """See `SnapshotSink.load`; waits a while for a store that is cut off."""
        state = self._state
        return await self._patiently(lambda: state.store.snapshots.load(state.the_membership(), actor))

    async def delete(self, actor: str) -> None:
        """See `SnapshotSink.delete`; waits a while for a store that is cut off."""
        state = self._state
        await self._patiently(lambda: state.store.snapshots.delete(state.the_membership(), actor))

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        deadline = trio.current_time() + PATIENCE
        while True:
            try:
                return await work()
            except StoreUnavailable:
                with trio.move_on_at(deadline) as patience:
                    await self._state.link.reopened()
                if patience.cancelled_caught:
                    raise


class JobDoors:
    """The doors of the node's worker processes to its actors."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._doors: set[JobDoor] = set()
        self._is_open = False

    def door(self, process: WorkerProcess) -> JobDoor:
        """Make the door of one process; who asked for it closes it by `close`."""
        door = JobDoor(
            self._state.system,
            lambda data: process.send([ActorFrame(data)]),
            lambda: process.unsent_bytes > MAX_UNSENT,
            is_open=self._is_open,
        )
        self._doors.add(door)
        return door

    def close(self, door: JobDoor) -> None:
        """Its process is gone."""
        self._doors.discard(door)
        door.close()

    def open(self) -> None:
        """The node is up, its own actors included."""
        self._is_open = True
        for door in list(self._doors):
            door.open()


async def run_actors(
    state: NodeState, *, task_status: trio.TaskStatus[DynamicSupervisor] = trio.TASK_STATUS_IGNORED
) -> None:
    """Be the node's actor system, as a child of its tree: the supervisor of what `node.system.start` starts."""
    unsubscribe = state.system.snapshots.subscribe(partial(_tell, state))
    try:
        async with serve_system(state.system, name=f"node {state.name}/actors") as system:
            task_status.started(system.supervisor)
            await system.supervisor.wait()
    except RestartLimitReached as error:
        raise Exit(Shutdown(error)) from error
    finally:
        unsubscribe()
    raise Exit(system.supervisor.exit_reason or Shutdown())


def _tell(state: NodeState, event: SnapshotEvent) -> None:
    problem = f"{type(event.error).__name__}: {event.error}"
    if isinstance(event, SnapshotRejected):
        report = SnapshotReport(action="rejected", actor=event.actor, problem=problem, version=event.version)
    else:
        report = SnapshotReport(action="lost", actor=event.actor, problem=problem)
    state.bus.emit(report)
