"""What a supervisor tells: frozen records, and who hears them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from supervisors._exits import Crash, ExitReason

if TYPE_CHECKING:
    from supervisors._tree import ChildInfo

__all__ = [
    "ChildStarted",
    "ChildTerminated",
    "ChildUnkillable",
    "Event",
    "RestartLimitExceeded",
    "ShutdownError",
    "StartFailed",
    "is_logged",
    "log",
]

logger = logging.getLogger("supervisors")
logger.addHandler(logging.NullHandler())


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        supervisor: name of the supervisor that tells it.
        child: the child as it was then; what OTP calls the offender.
        reason: the exit reason it is about; None where there is none.
        at: `trio.current_time()` of the event, in seconds.
        restarts: how often this child has been restarted so far.
    """

    context: ClassVar[str] = "event"
    level: ClassVar[int] = logging.ERROR

    supervisor: str
    child: ChildInfo
    reason: ExitReason | None
    at: float
    restarts: int


class ChildStarted(Event):
    """A child is up, for the first time or again (OTP's progress report)."""

    context = "progress"
    level = logging.DEBUG


class ChildTerminated(Event):
    """A child ended by itself in a way that is worth a report."""

    context = "child_terminated"


class StartFailed(Event):
    """A child did not start, with its supervisor or at a restart."""

    context = "start_error"


class ShutdownError(Event):
    """A child that was asked to stop ended otherwise: overran its time, or its cleanup raised."""

    context = "shutdown_error"


class RestartLimitExceeded(Event):
    """A child died once too often; what follows is decided by `on_exceed`."""

    context = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildUnkillable(Event):
    """A child swallowed its cancellation and lives on; `stack` says where it is."""

    context: ClassVar[str] = "unkillable"

    stack: str


def is_logged(level: int) -> bool:
    """Whether a log record of this level would reach a handler; making one nobody reads is most of a restart's cost."""
    if not logger.isEnabledFor(level):
        return False
    at: logging.Logger | None = logger
    while at is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in at.handlers):
            return True
        at = at.parent if at.propagate else None
    return False


def log(event: Event) -> None:
    """Write `event` to the logger `supervisors`, with the traceback of a crash."""
    if not is_logged(event.level):
        return
    reason = event.reason
    error = reason.exception if isinstance(reason, Crash) else None
    logger.log(
        event.level,
        "%s: %s of child %r: %s",
        event.supervisor,
        event.context,
        event.child.id,
        reason,
        exc_info=error,
        extra={"supervision_event": event},
    )
