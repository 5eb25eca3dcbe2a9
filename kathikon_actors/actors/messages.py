"""What arrives at `handle_info` besides what users send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kathikon_actors.actors.monitor import Monitor
    from kathikon_actors.actors.ref import ActorRef
    from supervisors import ExitReason

__all__ = ["Down", "ExitSignal", "Timeout"]


@dataclass(frozen=True, slots=True)
class Down:
    """A monitored actor is dead; comes once for each monitor.

    Attributes:
        monitor: the monitor that `ref.monitor()` gave.
        ref: the reference it was made from.
        reason: how the actor ended; `Crash(NoSuchActor(...))` when it was dead already.
    """

    monitor: Monitor
    ref: ActorRef[Any]
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class ExitSignal:
    """A linked actor ended, or somebody used `exit`; only actors with `trap_exit` get it, others die of it.

    Attributes:
        ref: who ended or sent it; None when it was no actor.
        reason: with what reason.
    """

    ref: ActorRef[Any] | None
    reason: ExitReason


@dataclass(frozen=True, slots=True)
class Timeout:
    """No message came within the seconds that `set_timeout` named."""
