"""What all stages share: their protocol goes past the user's `handle_info`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar

from kathikon_actors.actors.actor import Actor
from kathikon_actors.actors.messages import Down

if TYPE_CHECKING:
    from typing import Self

    from kathikon_actors.actors.monitor import Monitor
    from kathikon_actors.actors.stages.messages import Subscription

__all__ = ["Stage"]


class Stage(Actor):
    """An actor that takes part in the protocol of stages. Derive from `Producer`, `Consumer` or both of them in one."""

    hooks_: ClassVar[frozenset[str]] = Actor.hooks_ | {"handle_demand", "handle_events", "handle_cancel"}

    _takes: dict[type, Callable[[Any], Awaitable[None]]]
    _watched: dict[Monitor, tuple[Subscription, Callable[[Subscription, Down], Awaitable[None]]]]

    def __new__(cls, *_args: object, **_kwargs: object) -> Self:
        """Make ready what the stage itself needs, so that a subclass' `__init__` need not call this one's."""
        self = super().__new__(cls)
        self._takes = {Down: self._take_down}
        self._watched = {}
        return self

    async def _take_info(self, message: object) -> None:
        take = self._takes.get(type(message))
        return await (self.handle_info(message) if take is None else take(message))

    async def _take_down(self, down: Down) -> None:
        watched = self._watched.pop(down.monitor, None)
        if watched is None:
            await self.handle_info(down)
        else:
            subscription, lost = watched
            await lost(subscription, down)
