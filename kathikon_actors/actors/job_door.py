"""The node's end for the jobs of one worker process that use actors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kathikon_actors.actors.door import Door
from kathikon_actors.actors.frame_wire import FrameWire
from kathikon_actors.actors.remote_cell import fail_all
from supervisors import Shutdown

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["JobDoor"]


class JobDoor(Door):
    """Answers what jobs ask; what they ask before the node is up waits until it is.

    Args:
        system: the node's.
        send: sends a frame to the process.
        congested: whether the process does not read.
        is_open: whether the node is up.
    """

    def __init__(
        self, system: ActorSystem, send: Callable[[bytes], object], congested: Callable[[], bool], *, is_open: bool
    ) -> None:
        super().__init__(system, FrameWire(send, None, congested))
        self._early: list[bytes] | None = None if is_open else []

    def take_frame(self, frame: bytes) -> None:
        """Act on what the process sent."""
        if self._early is not None:
            self._early.append(frame)
        else:
            self.take(FrameWire.messages(frame))

    def open(self) -> None:
        """The node is up: answer."""
        early, self._early = self._early, None
        for frame in early or ():
            self.take_frame(frame)

    def close(self) -> None:
        """The process is gone: nobody waits for answers, nobody watches."""
        self.wire.open = False
        for withdraw in list(self.watching.values()):
            withdraw()
        self.watching.clear()
        fail_all(self.wire.replies, Shutdown())
