"""The node's actors from inside an async job (`blocking` has them for plain functions)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kathikon_actors.actors.child_system import ChildSystem
from kathikon_actors.actors.errors import NoActorSystem
from kathikon_actors.actors.frame_wire import FrameWire
from kathikon_actors.actors.systems import current_system
from kathikon_actors.jobs.runtime import CURRENT

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem
    from kathikon_actors.jobs.runtime import SideChannel

__all__ = ["JobSystem", "actor_system"]


class JobSystem(ChildSystem):
    """The node's actor system, as an async job of a worker process sees it."""

    def __init__(self, side: SideChannel) -> None:
        super().__init__("", FrameWire(side.send_frame, side.receive_frames))
        side.listen(self._take_frame, self.deadlines.run)
        self.adopt_token(self.ask("token"))

    def _take_frame(self, frame: bytes) -> None:
        self.router.take(FrameWire.messages(frame))


_of_this_process: tuple[SideChannel, JobSystem] | None = None


def actor_system() -> ActorSystem:
    """Give the actor system round this code: of the block, of the actor, or, in a job, of the node that runs it.

    In a job of a worker process it leads to the actors of the node: `whereis`, `call`, `cast`, `send`, monitors and
    starts work as in the node, and `node.insert` inserts jobs.

    Raises:
        NoActorSystem: there is none.
        RuntimeError: the job is a plain function, which cannot await; use `blocking_actor_system()`.

    Example:
        ```python
        @worker
        async def count_visit(page: str) -> int:
            counter = actor_system().whereis("visits")
            return await counter.call(Counter.add, 1)
        ```
    """
    global _of_this_process
    here = current_system.get(None)
    if here is not None:
        return here
    runtime = CURRENT.get()
    if runtime is None or runtime.side is None:
        raise NoActorSystem
    if not runtime.is_async:
        raise RuntimeError("a job that is a plain function cannot await; use blocking_actor_system()")
    side = runtime.side
    if _of_this_process is None or _of_this_process[0] is not side:
        _of_this_process = (side, JobSystem(side))
    return _of_this_process[1]
