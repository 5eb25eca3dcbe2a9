"""Watching for the end of an actor, one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from kathikon_actors.actors.messages import Down

if TYPE_CHECKING:
    from collections.abc import Callable

    from kathikon_actors.actors.ref import ActorRef
    from kathikon_actors.actors.task_cell import TaskCell
    from supervisors import ExitReason

__all__ = ["Monitor"]


class Monitor:
    """What `ref.monitor()` gives; fires exactly once, with `Down`.

    In an actor `Down` arrives at its `handle_info`; any task can `wait` for it.

    Attributes:
        ref: whom it watches.
        down: what it fired; None while it has not.
    """

    __slots__ = ("_event", "_watcher", "_withdraw", "down", "ref")

    def __init__(self, ref: ActorRef[Any], watcher: TaskCell | None) -> None:
        self.ref = ref
        self.down: Down | None = None
        self._watcher = watcher
        self._withdraw: Callable[[], object] | None = None
        self._event: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<Monitor of {self.ref!r}{'' if self.down is None else f': {self.down.reason}'}>"

    async def wait(self) -> Down:
        """Return once the actor is dead; at once if it is. Not after `demonitor`."""
        while self.down is None:
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()
        await trio.lowlevel.checkpoint()
        return self.down

    def demonitor(self, *, flush: bool = True) -> None:
        """Stop watching: no `Down` comes any more.

        Args:
            flush: take a `Down` that waits in the mailbox already out of it.
        """
        if self._withdraw is not None:
            self._withdraw()
            self._withdraw = None
        if flush and self.down is not None and self._watcher is not None:
            self._watcher.forget_message(self.down)
        self._watcher = None

    def watch(self, when_dead: Callable[[Callable[[ExitReason], object]], Callable[[], object]]) -> None:
        """Begin: `when_dead` calls back once and gives the way out."""
        withdraw = when_dead(self._fire)
        if self.down is None:
            self._withdraw = withdraw

    def _fire(self, reason: ExitReason) -> None:
        self._withdraw = None
        self.down = Down(self, self.ref, reason)
        if self._watcher is not None:
            self._watcher.deliver(self.down)
        if self._event is not None:
            self._event.set()
