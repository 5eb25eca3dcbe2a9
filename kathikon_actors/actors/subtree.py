"""A supervisor and its children in one operating system's process of their own."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

import trio

from kathikon_actors.actors.codec import dump
from kathikon_actors.actors.errors import NoActorSystem
from kathikon_actors.actors.host import Host, run_host
from kathikon_actors.actors.process_cell import ProcessCell
from kathikon_actors.actors.systems import current_system
from kathikon_actors.actors.wire import START
from supervisors import ChildSpec, InvalidSpec, SupervisorOptions, TreeNode, check_childspecs, format_node, self_pid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kathikon_actors.actors.system import ActorSystem
    from supervisors._specs import BrutalKill, Restart

__all__ = ["Subtree", "subtree_spec"]


class Subtree:
    """The started info of a `subtree_spec`: a supervisor that runs in another process.

    Attributes:
        pid: the number of that process.
    """

    __slots__ = ("_host", "_id", "pid")

    def __init__(self, child_id: object, host: Host, pid: int) -> None:
        self._id = child_id
        self._host = host
        self.pid = pid

    def __repr__(self) -> str:
        return f"<Subtree {self._id} in process {self.pid}>"

    def tree(self) -> TreeNode:
        """Return what the process last told of its supervisor and everything below it; it tells every change."""
        shown = self._host.tree
        if shown is None:
            return TreeNode(self._id, "supervisor", "running", None, None, None, 0, None, None)
        node, at = shown
        return _aged(node, time.monotonic() - at)

    def format_tree(self) -> str:
        """Draw `tree()` as text, one line each."""
        return format_node(self.tree())


def _aged(node: TreeNode, seconds: float) -> TreeNode:
    uptime = None if node.uptime is None else node.uptime + seconds
    return replace(node, uptime=uptime, children=tuple(_aged(child, seconds) for child in node.children))


def subtree_spec(
    id: object,  # noqa: A002
    children: Iterable[ChildSpec],
    *,
    restart: Restart = "permanent",
    shutdown: float | BrutalKill | None = math.inf,
    significant: bool = False,
    start_timeout: float | None = None,
    system: ActorSystem | None = None,
    **options: Unpack[SupervisorOptions],
) -> ChildSpec:
    """Return a supervisor and its children, all in one process of their own, as a child for any tree of supervisors.

    When the process dies the whole subtree is started again. Its actors are in the same system as all others, and
    `tree()` and `format_tree()` of the supervisors above show what is in it. Its started info is a `Subtree`.

    Args:
        id: the child's id; also the name of the inner supervisor unless `options` say another.
        children: what can be sent to another process: functions and classes of modules, or by value.
        restart: as for any child.
        shutdown: seconds for the whole subtree to stop; infinite unless you know better. Then SIGKILL.
        significant: as for any child.
        start_timeout: seconds that the start of all children may take.
        system: the actor system that it belongs to; default is the one round the supervisor.
        options: as for `open_supervisor`.

    Raises:
        InvalidSpec: a spec or an option is not legal.
        Unpicklable: something in the children cannot be sent; says what.

    Example:
        async with open_actor_system(), open_supervisor([
            subtree_spec("readers", [actor_spec(Reader, n, id=n) for n in range(4)], strategy="one_for_all"),
        ]) as tree:
            print(tree.format_tree())
    """
    checked = check_childspecs(children, auto_shutdown=options.get("auto_shutdown", "never"))
    chosen: dict[str, Any] = {"name": str(id), **options}
    for name, value in chosen.items():
        if name not in _OPTIONS:
            raise InvalidSpec(name, value, f"no such option; there are {', '.join(sorted(_OPTIONS))}")
    return ChildSpec(
        id,
        _run_subtree,
        (id, dump(checked, "children"), dump(chosen, "options"), system),
        restart=restart,
        shutdown=shutdown,
        type="supervisor",
        significant=significant,
        start_timeout=start_timeout,
    )


_OPTIONS = frozenset(SupervisorOptions.__annotations__)


async def _run_subtree(
    child_id: object,
    children: Any,
    options: Any,
    system: ActorSystem | None,
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    system = system or current_system.get(None)
    if system is None:
        raise NoActorSystem
    life = self_pid()
    cell = ProcessCell(system, system.new_uid(), None, f"subtree {child_id}", life.kill)
    life.when_dead(cell.finish)
    cell.wire.put((START, system.token, cell.uid, "subtree", cell.kind, children, options))
    await system.claim(cell)
    hosts: list[Host] = []

    def on_up(_: object) -> None:
        assert cell.pid is not None
        task_status.started(Subtree(child_id, hosts[0], cell.pid))

    await run_host(system, cell, "__main__", on_up, hosts.append)
