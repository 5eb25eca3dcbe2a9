"""Whether and when a child that died is started again: intensity, backoff, restart types. Pure."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from supervisors._exits import ExitReason, Normal, Shutdown, is_abnormal
from supervisors._specs import BRUTAL_KILL, ChildSpec, OnExceed
from supervisors._window import RestartWindow

if TYPE_CHECKING:
    from supervisors._child import Child

__all__ = ["RestartPolicy", "is_clean_stop", "is_reported", "wants_restart"]

logger = logging.getLogger("supervisors")


def wants_restart(spec: ChildSpec, reason: ExitReason) -> bool:
    """Whether a child that died by itself is started again (OTP's table of restart type and reason)."""
    if spec.restart == "temporary" or (spec.restart == "transient" and not is_abnormal(reason)):
        return False
    if spec.restart_if is None:
        return True
    try:
        return bool(spec.restart_if(reason))
    except Exception:
        logger.exception("restart_if of child %r raised: restarting the child", spec.id)
        return True


def is_reported(spec: ChildSpec, reason: ExitReason) -> bool:
    """Whether a child's own end is worth a report: all of a permanent one, abnormal ones of the others."""
    return spec.restart == "permanent" or is_abnormal(reason)


def is_clean_stop(spec: ChildSpec, reason: ExitReason) -> bool:
    """Whether `reason` is what a stop of this child is expected to give; anything else is a shutdown error."""
    brutal = spec.shutdown is BRUTAL_KILL
    permanent = spec.restart == "permanent"
    match reason:
        case Shutdown(None):
            return not (brutal and permanent)
        case Normal() | Shutdown():
            return not permanent
        case _:
            return brutal and not hasattr(reason, "exception")


class RestartPolicy:
    """The limits of one supervisor, and the books it keeps on them."""

    __slots__ = ("on_exceed", "window")

    def __init__(self, max_restarts: int, max_seconds: float, on_exceed: OnExceed) -> None:
        self.window = RestartWindow(max_restarts, max_seconds)
        self.on_exceed = on_exceed

    def note_death(self, child: Child, ran: float) -> None:
        """Start the delays of `child` anew if it had run long enough."""
        backoff = child.spec.backoff
        if backoff is not None and backoff.resets(ran):
            child.attempts = 0

    def next_delay(self, child: Child) -> float | None:
        """Seconds to wait before the next restart; None means at once (and that it counts in the shared window)."""
        backoff = child.spec.backoff
        return None if backoff is None else backoff.delay(child.attempts)

    def admit(self, child: Child, now: float) -> bool:
        """Count one restart of `child`; False when one of its limits is exceeded."""
        spec = child.spec
        allowed = True
        if spec.backoff is None:
            allowed = self.window.add(now)
        else:
            allowed = not spec.backoff.is_over(child.attempts)
            child.attempts += 1
        if spec.child_intensity is not None:
            if child.window is None:
                child.window = RestartWindow(*spec.child_intensity)
            allowed = child.window.add(now) and allowed
        return allowed

    def forgive(self, child: Child) -> None:
        """Empty every count that `child` is held to: after a pause it starts with clean books."""
        self.window.clear()
        child.attempts = 0
        if child.window is not None:
            child.window.clear()
