"""The producer's side of all its subscriptions: dispatcher, buffer and the demand that reaches the producer. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from kathikon_actors.actors.stages.buffer import Buffer
from kathikon_actors.actors.stages.dispatcher import Deliveries, Dispatcher

__all__ = ["Outlet"]


class Outlet:
    """Where a producer's events leave it.

    What is to be sent collects in `deliveries`, in order, until `take_deliveries`.

    Args:
        dispatcher: who gets what.
        buffer: for what nobody asked for.

    Attributes:
        dropped: events that the buffer had no room for, in all.
        sent: events handed to subscriptions, in all; with a broadcast each event counts once a subscription.
    """

    def __init__(self, dispatcher: Dispatcher, buffer: Buffer[Any]) -> None:
        self._dispatcher = dispatcher
        self._buffer = buffer
        self._keys: set[Hashable] = set()
        self._deliveries: Deliveries = []
        self._unwanted: deque[tuple[Hashable, int]] = deque()
        self.dropped = 0
        self.sent = 0

    @property
    def buffered(self) -> int:
        """Events that wait in the buffer."""
        return len(self._buffer)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    def take_deliveries(self) -> Deliveries:
        """Give what is to be sent now."""
        taken, self._deliveries = self._deliveries, []
        return taken

    def subscribe(self, key: Hashable, consumer: Hashable, options: Mapping[str, Any]) -> None:
        """Take a subscription in.

        Raises:
            SubscriptionRefused: the dispatcher does not take it.
        """
        self._dispatcher.subscribe(key, consumer, options)
        self._keys.add(key)

    def cancel(self, key: Hashable) -> int:
        """Forget a subscription; give what the producer is asked for now."""
        if key not in self._keys:
            return 0
        self._keys.discard(key)
        return self._from_buffer(self._dispatcher.cancel(key)) + self._make_good()

    def ask(self, key: Hashable, count: int) -> int:
        """A subscription asks for `count` events; give what the producer is asked for once the buffer is empty."""
        if key not in self._keys:
            return 0
        return self._ask(key, count) + self._make_good()

    def emit(self, events: Sequence[Any]) -> int:
        """Hand out events; give what the producer is asked for in their place (events that a selector left out)."""
        self._emit(list(events))
        return self._make_good()

    def _ask(self, key: Hashable, count: int) -> int:
        demand, deliveries = self._dispatcher.ask(key, count)
        self._deliver(deliveries)
        return self._from_buffer(demand)

    def _emit(self, events: list[Any]) -> None:
        if not events:
            return
        done = self._dispatcher.dispatch(events)
        self._deliver(done.deliveries)
        self._unwanted.extend(done.unwanted.items())
        self.dropped += self._buffer.put(done.left)

    def _from_buffer(self, demand: int) -> int:
        """Meet demand from the buffer; give what is left of it."""
        while demand > 0 and len(self._buffer):
            taken = self._buffer.take(demand)
            demand -= len(taken)
            self._emit(taken)
        return demand

    def _make_good(self) -> int:
        """Subscriptions whose selector left events out are owed others: it is as if they asked."""
        demand = 0
        while self._unwanted:
            key, count = self._unwanted.popleft()
            if key in self._keys:
                demand += self._ask(key, count)
        return demand

    def _deliver(self, deliveries: Deliveries) -> None:
        self._deliveries += deliveries
        self.sent += sum(len(events) for _, events in deliveries)
