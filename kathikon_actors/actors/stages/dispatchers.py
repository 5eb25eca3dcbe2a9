"""The three rules for sharing events: by demand, to all, by partition."""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kathikon_actors.actors.stages.dispatcher import Deliveries, Dispatched, Dispatcher, SubscriptionRefused
from supervisors import partition_of

__all__ = ["BroadcastDispatcher", "DemandDispatcher", "PartitionDispatcher"]


def _only(options: Mapping[str, Any], known: str | None, rule: str) -> None:
    for name in options:
        if name != known:
            legal = f"it takes {known!r} only" if known else "it takes none"
            raise SubscriptionRefused(f"{rule} has no subscription option {name!r}; {legal}")


class DemandDispatcher(Dispatcher):
    """Each event goes to one consumer: the one that waits for most. This is the default."""

    def __init__(self) -> None:
        # Sorted by demand, largest first; among equals the one that came to this demand first.
        self._demands: list[tuple[int, Hashable]] = []
        self._room = 0

    def subscribe(self, key: Hashable, consumer: Hashable, options: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Take a subscription in; the rule has no options."""
        _only(options, None, "DemandDispatcher")
        self._demands.append((0, key))

    def cancel(self, key: Hashable) -> None:
        """Forget its demand."""
        self._room -= self._pop(key)

    def ask(self, key: Hashable, count: int) -> Deliveries:
        """Add to its demand."""
        self._push(self._pop(key) + count, key)
        self._room += count
        return []

    @property
    def room(self) -> int:
        """What all of them want."""
        return self._room

    def dispatch(self, events: list[Any]) -> Dispatched:
        """Give to the largest demand as much as it wants, then to what is then the largest."""
        done = Dispatched()
        at = 0
        while at < len(events):
            demand, key = self._demands.pop(0)
            now = events[at : at + demand]
            at += len(now)
            done.deliveries.append((key, now))
            self._push(demand - len(now), key)
        self._room -= len(events)
        return done

    def _pop(self, key: Hashable) -> int:
        for at, (demand, other) in enumerate(self._demands):
            if other == key:
                del self._demands[at]
                return demand
        raise KeyError(key)

    def _push(self, demand: int, key: Hashable) -> None:
        insort(self._demands, (demand, key), key=lambda entry: -entry[0])


@dataclass
class _Listener:
    consumer: Hashable
    selector: Callable[[Any], object] | None
    demand: int = 0


class BroadcastDispatcher(Dispatcher):
    """Each event goes to every consumer, so the slowest one sets the pace. A consumer subscribes once.

    Subscription option: `selector`, a function of the event; events for which it is false are left out for this
    consumer. For a producer in another process it must be picklable.

    A consumer that joins later holds back what others wait for until it has asked as well (in GenStage it may be sent
    more than it asked for instead).
    """

    def __init__(self) -> None:
        self._listeners: dict[Hashable, _Listener] = {}

    def subscribe(self, key: Hashable, consumer: Hashable, options: Mapping[str, Any]) -> None:
        """Take a subscription in."""
        _only(options, "selector", "BroadcastDispatcher")
        if any(listener.consumer == consumer for listener in self._listeners.values()):
            raise SubscriptionRefused("this consumer is subscribed already; a broadcast takes each consumer once")
        selector = options.get("selector")
        if selector is not None and not callable(selector):
            raise SubscriptionRefused(f"selector is {selector!r}; it is a function of the event that gives a bool")
        self._listeners[key] = _Listener(consumer, selector)

    def cancel(self, key: Hashable) -> None:
        """Who leaves may have been the slowest: then there is more room."""
        del self._listeners[key]

    def ask(self, key: Hashable, count: int) -> Deliveries:
        """Add to its demand."""
        self._listeners[key].demand += count
        return []

    @property
    def room(self) -> int:
        """What everybody wants."""
        return min((listener.demand for listener in self._listeners.values()), default=0)

    def dispatch(self, events: list[Any]) -> Dispatched:
        """Give everybody everything, but what its selector leaves out."""
        done = Dispatched()
        for key, listener in self._listeners.items():
            wanted = events if listener.selector is None else [event for event in events if listener.selector(event)]
            listener.demand -= len(events)
            if len(wanted) < len(events):
                done.unwanted[key] = len(events) - len(wanted)
            if wanted:
                done.deliveries.append((key, list(wanted)))
        return done


@dataclass
class _Partition:
    """One partition. Either `demand` is 0 or `queue` is empty."""

    key: Hashable = None
    demand: int = 0
    queue: deque[Any] = field(default_factory=deque)


class PartitionDispatcher(Dispatcher):
    """Each event goes to the consumer of its partition; one that lags holds back the others.

    Subscription option: `partition`, required: which one this consumer serves.

    Args:
        partitions: how many (named 0 to n - 1), or their names.
        hash: gives the partition of an event, or `None` to drop the event; by default `supervisors.partition_of`, for
            events that are numbers, strings, bytes or tuples of those: the same in every process and every run.

    Example:
        ```python
        class Orders(Producer[Order]):
            dispatcher = staticmethod(lambda: PartitionDispatcher(["eu", "us"], hash=lambda order: order.region))
        ```
    """

    def __init__(
        self,
        partitions: int | Iterable[Hashable],
        hash: Callable[[Any], Hashable] | None = None,  # noqa: A002 GenStage's name for it
    ) -> None:
        names = list(range(partitions)) if isinstance(partitions, int) else list(partitions)
        if not names:
            raise ValueError("partitions is empty; a PartitionDispatcher needs one partition at least")
        self._partitions = {name: _Partition() for name in names}
        self._hash = hash or (lambda event: names[partition_of(event, len(names))])
        self._name_of: dict[Hashable, Hashable] = {}
        self._room = 0

    def subscribe(self, key: Hashable, consumer: Hashable, options: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Take the consumer of one partition in."""
        _only(options, "partition", "PartitionDispatcher")
        legal = ", ".join(map(repr, self._partitions))
        if "partition" not in options:
            raise SubscriptionRefused(f"a subscription to a PartitionDispatcher names its partition=, one of {legal}")
        name = options["partition"]
        partition = self._partitions.get(name)
        if partition is None:
            raise SubscriptionRefused(f"there is no partition {name!r}; one of {legal}")
        if partition.key is not None:
            raise SubscriptionRefused(f"partition {name!r} has a consumer already")
        partition.key = key
        self._name_of[key] = name

    def cancel(self, key: Hashable) -> None:
        """What waited for this consumer is dropped, and makes room for as many others."""
        name = self._name_of.pop(key)
        old, self._partitions[name] = self._partitions[name], _Partition()
        self._room += len(old.queue) - old.demand

    def ask(self, key: Hashable, count: int) -> Deliveries:
        """Give what waits for this partition; there is room for as many others."""
        partition = self._partitions[self._name_of[key]]
        queue = partition.queue
        now = [queue.popleft() for _ in range(min(count, len(queue)))]
        partition.demand += count - len(now)
        self._room += count
        return [(key, now)] if now else []

    @property
    def room(self) -> int:
        """What all of them want, less what waits for partitions that have not asked."""
        return max(0, self._room)

    def dispatch(self, events: list[Any]) -> Dispatched:
        """Sort events into partitions; those whose partition has not asked wait there."""
        sorted_events: dict[Hashable, list[Any]] = {}
        for event in events:
            name = self._hash(event)
            if name is None:
                continue  # it used nobody's demand
            if name not in self._partitions:
                legal = ", ".join(map(repr, self._partitions))
                raise ValueError(f"hash gave partition {name!r} for {event!r}; it gives one of {legal}, or None")
            sorted_events.setdefault(name, []).append(event)
        done = Dispatched()
        for name, ours in sorted_events.items():
            partition = self._partitions[name]
            given = ours[: partition.demand]
            partition.demand -= len(given)
            partition.queue.extend(ours[len(given) :])
            self._room -= len(ours)
            if given:
                done.deliveries.append((partition.key, given))
        return done
