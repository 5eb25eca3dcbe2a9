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

    What is to be sent collects in `deliveries`, in order, until `take_deliveries`. The buffer is empty, or nobody has
    room: what came first goes out first. The producer is asked for what there is room for, less what it owes already,
    also to those who have left meanwhile.

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
        self._owed = 0
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
        self._dispatcher.cancel(key)
        return self._settle()

    def ask(self, key: Hashable, count: int) -> int:
        """A subscription asks for `count` events; give what the producer is asked for once the buffer is empty."""
        if key not in self._keys:
            return 0
        self._deliver(self._dispatcher.ask(key, count))
        return self._settle()

    def emit(self, events: Sequence[Any]) -> int:
        """Hand out events; give what the producer is asked for in place of those that nobody wanted."""
        self._owed = max(0, self._owed - len(events))
        room = self._dispatcher.room
        self._dispatch(list(events[:room]))
        self.dropped += self._buffer.put(events[room:])
        return self._settle()

    def _settle(self) -> int:
        """Meet what is wanted from the buffer; give what the producer is asked for besides."""
        dispatcher, buffer = self._dispatcher, self._buffer
        while True:
            while len(buffer) and (room := dispatcher.room):
                self._dispatch(buffer.take(room))
            if not self._unwanted:
                break
            key, count = self._unwanted.popleft()
            if key in self._keys:
                self._deliver(dispatcher.ask(key, count))
        more = max(0, dispatcher.room - self._owed)
        self._owed += more
        return more

    def _dispatch(self, events: list[Any]) -> None:
        if events:
            done = self._dispatcher.dispatch(events)
            self._deliver(done.deliveries)
            self._unwanted.extend(done.unwanted.items())

    def _deliver(self, deliveries: Deliveries) -> None:
        self._deliveries += deliveries
        self.sent += sum(len(events) for _, events in deliveries)
