"""How to make one actor: what stays the same over its lives."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from kathikon_actors.actors.snapshots.keeper import Keeper, SnapshotOutlet

if TYPE_CHECKING:
    from kathikon_actors.actors.actor import Actor
    from kathikon_actors.actors.cell import Cell
    from kathikon_actors.actors.mailbox import Mailbox
    from kathikon_actors.actors.snapshots.state import Snapshot
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["Isolation", "Recipe"]

Isolation = Literal["task", "process"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The class of an actor, the arguments of its start, and how it runs.

    Attributes:
        system: where it is to live; None for the system around its supervisor.
        parent: the actor that it is linked to from its start.
        snapshot: when its state is kept; None for never.
    """

    cls: type[Actor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    isolation: Isolation = "task"
    mailbox: Mailbox | None = None
    system: ActorSystem | None = None
    parent: Cell | None = None
    snapshot: Snapshot | None = None

    def keeper(self, outlet: SnapshotOutlet) -> Keeper | None:
        """Make what keeps the state of one life; None where nothing is kept."""
        if self.snapshot is None or self.name is None:
            return None
        return Keeper(self.name, self.snapshot, outlet, time.monotonic)
