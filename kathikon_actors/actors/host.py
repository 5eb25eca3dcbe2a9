"""The node's side of one actor process: a child of a supervisor that lives as long as the process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from kathikon_actors.actors.cell import link_cells
from kathikon_actors.actors.codec import dump, dump_call, load_reason
from kathikon_actors.actors.door import Door
from kathikon_actors.actors.errors import ProcessDied
from kathikon_actors.actors.process_cell import ProcessCell
from kathikon_actors.actors.remote_cell import RemoteCell
from kathikon_actors.actors.wire import EXITED, IGNORED, START, UP, Message
from supervisors import IGNORE, Crash, Exit, ExitReason, Killed, Normal, Shutdown, on_stop_request, self_pid

if TYPE_CHECKING:
    from kathikon_actors.actors.recipe import Recipe
    from kathikon_actors.actors.system import ActorSystem
    from kathikon_actors.processes.exits import ExitStatus
    from kathikon_actors.processes.program_process import ProgramProcess
    from supervisors import TreeNode

__all__ = ["Host", "run_host", "run_process_actor"]

_LEAVING = 0.5


class _Inner(RemoteCell):
    """An actor inside a subtree's process."""

    __slots__ = ("process",)
    process: ProgramProcess

    @property
    def pid(self) -> int | None:
        """The number of the subtree's process."""
        return self.process.pid


class Host(Door):
    """Routes between one process and the rest of the system.

    Attributes:
        reason: how the actor said that it ended; None if it said nothing.
        tree: what the process last told of its supervisors, and when (`time.monotonic()`).
    """

    def __init__(
        self, system: ActorSystem, cell: ProcessCell, process: ProgramProcess, on_up: Callable[[object], object]
    ) -> None:
        super().__init__(system, cell.wire)
        self.cell = cell
        self.reason: ExitReason | None = None
        self.tree: tuple[TreeNode, float] | None = None
        self._process = process
        self._on_up = on_up
        self._reading = trio.CancelScope()
        self._inner: dict[int, RemoteCell] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self) -> ExitStatus:
        """Talk with the process until it is gone."""
        self.wire.attach(self._process.socket)
        async with trio.open_nursery() as self._nursery:
            self._nursery.start_soon(self.wire.run_sender)
            with self._reading:
                await self.wire.run_reader(self.take)
            self.wire.open = False
            status = await self._process.ended()
            self._nursery.cancel_scope.cancel()
        return status

    def close(self, reason: ExitReason) -> None:
        """Let go of everything that belonged to the process, which ended with `reason`."""
        self.wire.open = False
        self._process.close()
        for withdraw in self.watching.values():
            withdraw()
        self.watching.clear()
        for cell in list(self._inner.values()):
            cell.finish(reason)

    def own(self, kind: int, message: Message) -> None:
        """Act on what only the node is told."""
        if kind == UP:
            self._on_up(self.cell.ref)
        elif kind == IGNORED:
            self._on_up(IGNORE)
        elif kind == EXITED:
            _, uid, reason = message
            if uid == self.cell.uid:
                self.reason = load_reason(reason)
                self._reading.deadline = trio.current_time() + _LEAVING
                self.cell.finish(self.reason)  # it has said its last word: nobody shall wait for the process to go
            elif (cell := self._inner.pop(uid, None)) is not None:
                cell.finish(load_reason(reason))

    def start_soon(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a task that ends with the process."""
        assert self._nursery is not None
        self._nursery.start_soon(function, *args)

    def _tree(self, node: TreeNode) -> None:
        self.tree = (node, time.monotonic())

    def _claim(self, name: str | None, kind: str) -> int:
        cell = _Inner(self.system, self.system.new_uid(), name, kind, self.wire)
        cell.process = self._process
        self.system.claim_now(cell)
        self._inner[cell.uid] = cell
        return cell.uid


async def run_process_actor(system: ActorSystem, recipe: Recipe, task_status: trio.TaskStatus[Any]) -> None:
    """Be one life of an actor in a process of its own."""
    life = self_pid()
    cell = ProcessCell(system, system.new_uid(), recipe.name, recipe.cls.__name__, life.kill)
    life.when_dead(cell.finish)
    parent = None if recipe.parent is None else recipe.parent.uid
    plain = replace(recipe, system=None, parent=None, args=(), kwargs={})
    start = (
        START,
        system.token,
        cell.uid,
        "actor",
        f"actor {cell.kind}",
        dump((plain, parent), "recipe"),
        dump_call(recipe.args, recipe.kwargs),
    )
    cell.wire.put(start)
    await system.claim(cell)
    if recipe.parent is not None and recipe.parent.alive:
        link_cells(recipe.parent, cell)
    await run_host(system, cell, recipe.cls.__module__, task_status.started)


async def run_host(
    system: ActorSystem,
    cell: ProcessCell,
    module: str,
    on_up: Callable[[object], object],
    on_host: Callable[[Host], object] = lambda _: None,
) -> None:
    """Run the process of `cell`, whose first message is in its wire, to its end; end as it did."""
    process = await system.forker.fork(f"actor {cell.kind}", module)
    cell.process = process
    host = Host(system, cell, process, on_up)
    on_host(host)
    reason: ExitReason = Killed()
    try:
        with on_stop_request(partial(cell.stop, Shutdown())):
            status = await host.run()
        reason = host.reason or _reason_of(status)
    finally:
        process.kill()
        with trio.CancelScope(shield=True), trio.move_on_after(_LEAVING):
            await process.ended()
        host.close(reason)
    if isinstance(reason, Crash):
        raise reason.exception
    if not isinstance(reason, Normal):
        raise Exit(reason)


def _reason_of(status: ExitStatus) -> ExitReason:
    """Say how a process ended that did not say it itself."""
    if status.signal == signal.SIGKILL and not status.out_of_memory:
        return Killed()
    return Crash(ProcessDied(status))
