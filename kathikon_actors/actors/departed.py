"""An actor that is dead, and of which only the reference is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kathikon_actors.actors.cell import Cell, nobody
from kathikon_actors.actors.statistics import ActorStatistics

if TYPE_CHECKING:
    from kathikon_actors.actors.ref import ActorRef
    from kathikon_actors.actors.replies import Reply
    from kathikon_actors.actors.system import ActorSystem
    from supervisors import ExitReason

__all__ = ["Departed"]


class Departed(Cell):
    """Stands for the sender of an exit signal that nobody is left to send."""

    __slots__ = ()

    def __init__(self, system: ActorSystem, ref: ActorRef[Any]) -> None:
        super().__init__(system, ref.uid or 0, ref.name, "actor")
        self.alive = False
        self.reason = nobody(ref.label)
        self._ref = ref

    @property
    def pid(self) -> int | None:
        """It is in no process."""
        return None

    def call(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], reply: Reply) -> None:  # noqa: ARG002
        """Fail the call."""
        reply.died(self.reason or nobody(self.label))

    def cast(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Do nothing."""

    def send(self, message: object) -> None:
        """Do nothing."""

    def stop(self, reason: ExitReason) -> None:
        """Do nothing."""

    def signal(self, reason: ExitReason, sender: Cell | None, *, linked: bool) -> None:
        """Do nothing."""

    def kill(self) -> None:
        """Do nothing."""

    def statistics(self) -> ActorStatistics:
        """It does nothing any more."""
        return ActorStatistics(0, 0.0, 0, 0.0, 0)
