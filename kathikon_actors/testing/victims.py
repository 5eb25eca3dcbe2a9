"""What of a running node can be killed, and how."""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from kathikon_actors.node.node import Node
from supervisors import ChildNotFound, TreeNode
from supervisors.testing import InjectedCrash, crash

__all__ = ["PROCESSES", "TREE", "UnknownVictim", "Victim", "check_kind", "victims"]

PROCESSES: Final = ("worker", "zygote", "postgres")
"""Processes, killed by SIGKILL: one worker process, the fork server, the embedded Postgres."""

TREE: Final = (
    "store", "table", "database", "membership", "journal", "declarer", "inside", "queues", "queue", "pool",
    "producer", "mourners", "scheduler", "claimer", "maintenance", "rescuer", "pruner", "figures", "queue keeper",
    "commands", "leadership", "limiter", "broadcaster", "crons", "actors", "telemetry", "forwarder", "control",
    "children",
)  # fmt: skip
"""Parts of the node's tree, ended by an injected exception."""


RESERVE: Final = 1
"""Restarts that every supervisor keeps: an earlier kill may be on its way up the tree."""


class UnknownVictim(ValueError):
    """There is nothing of that name to kill; the message names the nearest."""

    def __init__(self, kind: str, known: Sequence[str]) -> None:
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        super().__init__(f'nothing in a node is called "{kind}" (known: {", ".join(known)}).{hint}')


@dataclass(frozen=True)
class Victim:
    """One thing that can be killed now.

    Attributes:
        name: as a person would say it: `worker 4711`, `queues/queue mail/producer`.
        kill: does it; tells whether it was there.
    """

    name: str
    kill: Callable[[], bool]


def check_kind(kind: str) -> None:
    """Refuse a kind of victim that no node has.

    Raises:
        UnknownVictim: naming the nearest.
    """
    known = (*PROCESSES, *TREE)
    if kind not in known:
        raise UnknownVictim(kind, known)


def victims(node: Node, kind: str) -> list[Victim]:
    """Give what of one kind can be killed now without making the tree give up.

    A supervisor whose restarts are used up answers one more crash by giving up, as it should: that is the end of a
    crash loop, not a fault to survive. So such a child is left out until older restarts have left the window.
    """
    match kind:
        case "worker":
            pids = sorted(pid for pids in node.worker_pids().values() for pid in pids)
            return [_process(f"worker {pid}", pid) for pid in pids]
        case "zygote":
            return [_process(f"zygote {pid}", pid) for pid in _pids(node, "zygote")]
        case "postgres":
            return [_process(f"postgres {pid}", pid) for pid in _pids(node, "server")]
        case _:
            return [_child(node, path) for path in _paths(node.tree(), kind)]


def _process(name: str, pid: int) -> Victim:
    def kill() -> bool:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            return True
        return False

    return Victim(name, kill)


def _child(node: Node, path: tuple[object, ...]) -> Victim:
    name = "/".join(str(step) for step in path)

    def kill() -> bool:
        with suppress(ChildNotFound):
            crash(node.supervisor, list(path), InjectedCrash(f"{name} killed on purpose"))
            return True
        return False

    return Victim(name, kill)


def _paths(tree: TreeNode, kind: str) -> Iterator[tuple[object, ...]]:
    """Find running children of that name whose supervisors, all the way up, have restarts to spare."""

    def below(at: TreeNode, path: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
        if at.max_restarts is None or (at.restarts_in_window or 0) >= at.max_restarts - RESERVE:
            return
        for child in at.children:
            here = (*path, child.id)
            is_meant = child.id == kind or (kind == "queue" and path == ("queues",))
            if child.state == "running" and is_meant:
                yield here
            yield from below(child, here)

    yield from below(tree, ())


def _pids(node: Node, name: str) -> Iterator[int]:
    """Give the pids that such children told when they started."""
    for path in _paths(node.tree(), name):
        at: Any = node.supervisor
        for step in path:
            at = at.which_child(step).info
        if isinstance(at, int):
            yield at
