"""Plain-data views of a supervisor: its children, counts, and the whole subtree as text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from supervisors._exits import ExitReason
from supervisors._specs import BrutalKill, ChildType, Restart

__all__ = ["ChildCounts", "ChildInfo", "ChildState", "TreeNode", "format_node"]

ChildState = Literal["running", "restarting", "stopped", "unkillable"]


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """A child as it was at one moment.

    Attributes:
        id: its id.
        state: "running", "restarting" (a start is under way or waits for its delay), "stopped", or "unkillable" (it
            was killed and lives on).
        type: "worker" or "supervisor".
        restart: its restart type.
        info: what it gave to `started()`; None unless it runs.
        restarts: how often it has been restarted.
        started_at: `trio.current_time()` of its last start; None before the first.
        last_exit: how its last life ended; None in the first.
        shutdown: seconds it has to stop, or `BRUTAL_KILL`.
        significant: whether its own end may end the supervisor.
    """

    id: object
    state: ChildState
    type: ChildType
    restart: Restart
    info: Any
    restarts: int
    started_at: float | None
    last_exit: ExitReason | None
    shutdown: float | BrutalKill
    significant: bool


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """How many children a supervisor has: all specs, those active now, and by type whether active or not."""

    specs: int
    active: int
    supervisors: int
    workers: int


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One supervisor or worker of a tree, with what is below it in start order.

    Attributes:
        id: the child's id; the name of the supervisor at the root.
        type: "worker" or "supervisor".
        state: the child's state; "running" or "stopped" at the root.
        strategy: the restart strategy, "dynamic" for a dynamic supervisor, None for a worker.
        restarts_in_window: restarts that count now; None for a worker.
        max_restarts: how many may count; None for a worker.
        total_restarts: how often this one itself was restarted.
        uptime: seconds since its last start; None when it is down.
        last_exit: how its last life ended.
        children: the nodes below, in start order.
    """

    id: object
    type: ChildType
    state: ChildState
    strategy: str | None
    restarts_in_window: int | None
    max_restarts: int | None
    total_restarts: int
    uptime: float | None
    last_exit: ExitReason | None
    children: tuple[TreeNode, ...] = ()


def _seconds(value: float) -> str:
    if value < 60 or math.isinf(value):
        return f"{value:.1f}s"
    minutes, seconds = divmod(int(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours else f"{minutes}m{seconds:02d}s"


def _line(node: TreeNode) -> str:
    words = [str(node.id)]
    if node.strategy is not None:
        words.append(f"({node.strategy}, {node.restarts_in_window}/{node.max_restarts} restarts)")
    words.append(node.state)
    if node.uptime is not None:
        words.append(_seconds(node.uptime))
    if node.total_restarts:
        words.append(f"restarted {node.total_restarts}x")
    if node.last_exit is not None:
        words.append(f"last: {node.last_exit}")
    return " ".join(words)


def format_node(node: TreeNode) -> str:
    """Draw `node` and all below it, one line each."""
    lines = [_line(node)]

    def draw(children: tuple[TreeNode, ...], indent: str) -> None:
        for number, child in enumerate(children, 1):
            last = number == len(children)
            lines.append(f"{indent}{'└── ' if last else '├── '}{_line(child)}")
            draw(child.children, indent + ("    " if last else "│   "))

    draw(node.children, "")
    return "\n".join(lines)
