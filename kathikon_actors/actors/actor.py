"""What users derive from."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from supervisors import ExitReason, Normal

if TYPE_CHECKING:
    from typing import Self

    from kathikon_actors.actors.ref import ActorRef
    from kathikon_actors.actors.system import ActorSystem
    from kathikon_actors.actors.task_cell import TaskCell

__all__ = ["Actor", "messages_of"]

logger = logging.getLogger("kathikon_actors")

Handler = Callable[..., Awaitable[Any]]


class Actor:
    """A class whose public async methods are its messages, handled one at a time in the order in which they came.

    `__init__` takes the arguments of the start. Hooks, all optional: `init`, `started`, `handle_info`, `terminate`.
    An exception that leaves a method or a hook ends the actor; its supervisor starts a new one.

    Attributes:
        trap_exit: exit signals of others arrive at `handle_info` as `ExitSignal` instead of ending the actor.

    Example:
        class Counter(Actor):
            def __init__(self, start: int = 0) -> None:
                self.value = start

            async def add(self, by: int) -> int:
                self.value += by
                return self.value

        async with open_actor_system() as system:
            counter = await system.start(Counter, 10)
            assert await counter.call(Counter.add, 5) == 15
    """

    hooks_: ClassVar[frozenset[str]] = frozenset({"init", "started", "handle_info", "terminate"})
    trap_exit: bool = False
    _cell: TaskCell

    async def init(self) -> None:
        """Finish the start where that has to wait for something: `system.start` returns after it.

        Return `IGNORE` to have nothing run; raise `Exit(reason)` or anything else to make the start fail.
        """

    async def started(self) -> None:
        """Begin to work: runs after `system.start` has returned and before the first message (OTP's continue)."""

    async def handle_info(self, message: object) -> None:
        """Take what came by `send`, timers, monitors and links; the default logs it.

        Args:
            message: anything; `Down`, `ExitSignal` and `Timeout` come from the system.
        """
        logger.warning("%s got a message that it does not handle: %r", self._cell.label, message)

    async def _take_info(self, message: object) -> None:
        """Take what is for `handle_info`; stages have their own messages among it."""
        return await self.handle_info(message)

    async def terminate(self, reason: ExitReason) -> None:
        """Clean up; runs at every end but a kill and a failed start. What it raises becomes the reason."""

    @property
    def ref(self) -> ActorRef[Self]:
        """The reference to this actor."""
        return self._cell.ref

    @property
    def system(self) -> ActorSystem:
        """The system that it lives in."""
        return self._cell.system

    def stop(self, reason: ExitReason = Normal()) -> None:
        """End after the present message; its caller gets the reply when `terminate` has run."""
        self._cell.stop_after_message(reason)

    def set_timeout(self, seconds: float | None) -> None:
        """Get a `Timeout` if no message comes within `seconds` of the end of the present one; None takes it back.

        Any message cancels it; it is not set again by itself.
        """
        self._cell.set_timeout(seconds)


def messages_of(cls: type[Actor]) -> dict[str, Handler]:
    """Give the methods of `cls` that can be called and cast, by name."""
    found: dict[str, Handler] | None = cls.__dict__.get("_messages")
    if found is None:
        found = {
            name: getattr(cls, name)
            for name in dir(cls)
            if name[0] != "_" and name not in cls.hooks_ and inspect.iscoroutinefunction(getattr(cls, name))
        }
        cls._messages = found  # type: ignore[attr-defined]
    return found
