"""Messages that come later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from kathikon_actors.actors.deadlines import Deadlines
    from kathikon_actors.actors.ref import ActorRef

__all__ = ["Timer"]


class Timer:
    """A message on its way; from `system.send_after`.

    Attributes:
        ref: who gets it; a name is looked up when the time has come.
        message: what comes.
    """

    __slots__ = ("_deadlines", "_scheduled", "message", "ref")

    def __init__(self, deadlines: Deadlines, delay: float, ref: ActorRef[Any], message: object) -> None:
        self.ref = ref
        self.message = message
        self._deadlines = deadlines
        self._scheduled = deadlines.at(trio.current_time() + delay, self._fire)

    def _fire(self) -> None:
        self.ref.send(self.message)

    def cancel(self) -> float | bool:
        """Take it back: the seconds that were left, or False when it has fired or was cancelled before.

        After False the message may be in the mailbox already.
        """
        left = max(0.0, self._scheduled.when - trio.current_time())
        return left if self._deadlines.cancel(self._scheduled) else False
