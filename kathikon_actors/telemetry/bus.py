"""The one bus of a node: who emits pays nothing while nobody listens, and never waits for who does.

To emit, anywhere in the node's own thread:

    if bus.active:
        bus.emit(QueueChanged(queue="mail", action="paused"))

`active` is a plain attribute, false while nobody subscribed. On a hot path ask `bus.wants(StoreFlushed)` instead, and
emit once for a batch of jobs, not for each. The bus fills in `at` and `node`. Transitions of jobs come by themselves:
the state machine tells the bus of each one, whoever made it.

Each subscription has a buffer of its own. A full one drops what is new and counts it; a handler runs in a thread and
may block or raise, which concerns its own subscription alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import msgspec
import trio

from kathikon_actors.telemetry.events import Event
from kathikon_actors.telemetry.subscription import BUFFER, EventStream, Handler, Subscription

__all__ = ["Bus"]

logger = logging.getLogger(__name__)


class Bus:
    """Takes the events of one node and hands them to its subscribers.

    Args:
        node: the node's name.
        clock: gives seconds since 1970.

    Attributes:
        active: whether anybody subscribed to anything.
    """

    def __init__(self, node: str = "", clock: Callable[[], float] = time.time) -> None:
        self.active = False
        self._node = node
        self._clock = clock
        self._subscriptions: list[Subscription] = []
        self._changed = trio.Event()
        self._wanted: dict[type[Event], bool] = {}
        self._watchers: list[Callable[[], None]] = []

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether somebody subscribed to this kind of event."""
        wanted = self._wanted.get(kind)
        if wanted is None:
            wanted = self._wanted[kind] = any(sub.wants(kind) for sub in self._subscriptions)
        return wanted

    def emit(self, event: Event) -> None:
        """Hand an event to whoever wants it; never waits, never raises."""
        if not self.wants(type(event)):
            return
        told = msgspec.structs.replace(event, at=event.at or self._clock(), node=self._node)
        for subscription in self._subscriptions:
            if subscription.wants(type(event)):
                subscription.put(told)

    def subscribe(self, handler: Handler, *kinds: type[Event], buffer: int = BUFFER) -> Subscription:
        """Call `handler(event)` in a thread, in the order in which things happened; see `Node.subscribe`."""
        return self._add(Subscription(kinds, buffer, self._remove, handler))

    def stream(self, *kinds: type[Event], buffer: int = BUFFER) -> EventStream:
        """Give events to an `async for`; see `Node.events`."""
        return EventStream(self._add(Subscription(kinds, buffer, self._remove)))

    def collect(self, *kinds: type[Event], buffer: int = BUFFER) -> Subscription:
        """Keep events for somebody who takes many at once, by `Subscription.batch`."""
        return self._add(Subscription(kinds, buffer, self._remove))

    def change(self, subscription: Subscription, *kinds: type[Event]) -> None:
        """Give a subscription other kinds from now on; what is buffered stays."""
        if subscription.kinds != kinds:
            subscription.kinds = kinds
            self._refresh()

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Those that are open."""
        return tuple(self._subscriptions)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever a subscription comes or goes: what is wanted may be different now."""
        self._watchers.append(changed)

    async def serve(self, *, task_status: trio.TaskStatus[Bus] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the handlers until cancelled. What is buffered then is kept for the next `serve`, or for `flush`."""
        served: set[Subscription] = set()
        async with trio.open_nursery() as nursery:
            task_status.started(self)
            while True:
                changed = self._changed
                for subscription in self._subscriptions:
                    if subscription.has_handler and subscription not in served:
                        served.add(subscription)
                        nursery.start_soon(subscription.serve)
                served.intersection_update(self._subscriptions)
                await changed.wait()

    async def flush(self, timeout: float) -> None:
        """Hand out what is buffered for handlers, for up to `timeout` seconds: the last thing a stopping node does."""
        with trio.move_on_after(timeout):
            async with trio.open_nursery() as nursery:
                for subscription in self._subscriptions:
                    if subscription.has_handler:
                        nursery.start_soon(subscription.flush)

    def close(self) -> None:
        """End every subscription."""
        for subscription in self.subscriptions:
            subscription.close()

    def _add(self, subscription: Subscription) -> Subscription:
        self._subscriptions.append(subscription)
        self._refresh()
        return subscription

    def _remove(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
            self._refresh()

    def _refresh(self) -> None:
        self.active = bool(self._subscriptions)
        self._wanted = {}
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        for watcher in self._watchers:
            watcher()
