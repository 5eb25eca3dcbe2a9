"""The part of `Node` that tells what happens in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.telemetry.events import Event, NodeChanged, SupervisorReport
from kathikon_actors.telemetry.subscription import BUFFER, EventStream, Handler, Subscription
from supervisors import Event as SupervisorEvent

if TYPE_CHECKING:
    from collections.abc import Callable

    from kathikon_actors.node.state import NodeState
    from kathikon_actors.telemetry.bus import Bus
    from supervisors import Supervisor

__all__ = ["Telemetry", "report_supervisors", "telemetry_of"]

FLUSH_TIMEOUT: Final = 1.0
"""Seconds that handlers have for what is buffered when the node has stopped."""


class Telemetry:
    """Events of a node: see `kathikon_actors.telemetry` for their types."""

    _state: NodeState

    def subscribe(self, handler: Handler, *kinds: type[Event], buffer: int = BUFFER) -> Subscription:
        """Call `handler` with every event of these kinds, in order, until the subscription is closed.

        It is called in a thread of its own, so it may block and it may raise: the node does not wait for it. What
        finds its buffer full is dropped and counted in `Subscription.dropped`.

        Args:
            handler: takes one event.
            *kinds: classes of events; none means all.
            buffer: events that may wait.

        Raises:
            BadConfiguration: one of these is of no use.

        Example:
            ```python
            subscription = node.subscribe(lambda event: print(event.to_dict()), JobTransition)
            subscription.close()
            ```
        """
        return self._state.bus.subscribe(handler, *kinds, buffer=buffer)

    def events(self, *kinds: type[Event], buffer: int = BUFFER) -> EventStream:
        """Give events of these kinds (none means all) to an `async for`, from now on.

        Raises:
            BadConfiguration: one of these is of no use.

        Example:
            ```python
            async with node.events(JobTransition) as events:
                async for event in events:
                    print(event.worker, event.old, "->", event.new)
            ```
        """
        return self._state.bus.stream(*kinds, buffer=buffer)


def report_supervisors(bus: Bus, tree: Supervisor) -> None:
    """Tell the bus what the supervisors of the tree tell, while somebody wants to know."""
    heard: list[Callable[[], None]] = []

    def look() -> None:
        if bus.wants(SupervisorReport):
            if not heard:
                heard.append(tree.subscribe(lambda event: bus.emit(_report(event))))
        elif heard:
            heard.pop()()

    bus.watch(look)
    look()


def _report(event: SupervisorEvent) -> SupervisorReport:
    return SupervisorReport(
        supervisor=event.supervisor,
        child=str(event.child.id),
        context=event.context,
        reason=None if event.reason is None else str(event.reason),
        restarts=event.restarts,
    )


@asynccontextmanager
async def telemetry_of(state: NodeState) -> AsyncIterator[None]:
    """Hand out what is still buffered when the node has stopped, then end every subscription."""
    try:
        yield
    finally:
        state.bus.emit(NodeChanged(action="stopped"))
        with trio.CancelScope(shield=True):
            await state.bus.flush(FLUSH_TIMEOUT)
        state.bus.close()
        state.watch.close()
