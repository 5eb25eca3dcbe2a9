"""A tree of supervisors that lives in a process of its own: the process' side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trio

from kathikon_actors.actors.codec import dump, dump_reason, load
from kathikon_actors.actors.errors import RemoteError, Unpicklable
from kathikon_actors.actors.remote_cell import RemoteCell
from kathikon_actors.actors.wire import EXITED, UP
from supervisors import (
    Crash,
    ExitReason,
    RestartLimitReached,
    Shutdown,
    Supervisor,
    TreeNode,
    open_supervisor,
    reason_of,
)

if TYPE_CHECKING:
    from kathikon_actors.actors.child_system import ChildSystem

__all__ = ["be_subtree"]

_LOOK_AGAIN = 1.0


class _Root(RemoteCell):
    """The supervisor at the root, as something that the node can ask to stop."""

    __slots__ = ("stopping",)

    def __init__(self, system: ChildSystem, uid: int) -> None:
        super().__init__(system, uid, None, "subtree", system.wire)
        self.stopping = trio.Event()

    def stop(self, reason: ExitReason) -> None:  # noqa: ARG002 children see a plain shutdown
        self.stopping.set()


async def be_subtree(
    system: ChildSystem, uid: int, what: Any, options: Any, begin_to_read: Callable[[], object]
) -> None:
    """Run the supervisor and its children until it ends."""
    root = _Root(system, uid)
    reason: ExitReason
    try:
        children, chosen = load(what), load(options)
        system.adopt(root)
        begin_to_read()
        async with open_supervisor(children, **chosen) as tree, trio.open_nursery() as nursery:
            nursery.start_soon(_stop_when_asked, tree, root.stopping)
            nursery.start_soon(_show, system, tree)
            system.wire.put((UP, uid))
            await tree.wait()
            nursery.cancel_scope.cancel()
        reason = tree.exit_reason or Shutdown()
    except RestartLimitReached as exc:
        reason = Shutdown(exc)
    except BaseException as exc:  # a child that did not start, a module that cannot be imported
        reason = reason_of(exc)
    system.wire.put((EXITED, uid, dump_reason(reason)))


async def _stop_when_asked(tree: Supervisor, stopping: trio.Event) -> None:
    await stopping.wait()
    await tree.stop(Shutdown())


async def _show(system: ChildSystem, tree: Supervisor) -> None:
    """Send the tree to the node at every change, and once a second for what changes without an event."""
    changed = trio.Event()

    def on_event(_event: object) -> None:
        changed.set()

    tree.subscribe(on_event)
    shown: TreeNode | None = None
    while True:
        changed = trio.Event()
        node = tree.tree()
        if shown is None or _timeless(node) != _timeless(shown):
            shown = node
            system.tell("tree", (_sendable(node),))
        with trio.move_on_after(_LOOK_AGAIN):
            await changed.wait()
        await trio.lowlevel.checkpoint()


def _sendable(node: TreeNode) -> TreeNode:
    """Put text in the place of exceptions that cannot be sent."""
    try:
        dump(node, "tree")
    except Unpicklable:
        last = node.last_exit
        if isinstance(last, Crash):
            last = Crash(RemoteError(type(last.exception).__name__, str(last.exception)))
        below = tuple(_sendable(child) for child in node.children)
        return replace(node, id=str(node.id), last_exit=last, children=below)
    return node


def _timeless(node: TreeNode) -> TreeNode:
    return replace(node, uptime=None, children=tuple(_timeless(child) for child in node.children))
