"""The stage that takes."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from kathikon_actors.actors.stages.demand import DEFAULT_MAX_DEMAND, Batch, Demand
from kathikon_actors.actors.stages.messages import (
    Ask,
    Cancel,
    Cancelled,
    CancelMode,
    Events,
    Subscribe,
    Subscription,
)
from kathikon_actors.actors.stages.stage import Stage
from supervisors import is_abnormal

if TYPE_CHECKING:
    from typing import Self

    from kathikon_actors.actors.messages import Down
    from kathikon_actors.actors.monitor import Monitor
    from kathikon_actors.actors.ref import ActorRef
    from supervisors import ExitReason

__all__ = ["Consumer", "Inlet"]

logger = logging.getLogger("kathikon_actors")

E = TypeVar("E")


@dataclass
class Inlet:
    """A subscription as its consumer sees it.

    Attributes:
        demand: what is on its way; of an automatic subscription.
        cancel: what its end means.
        monitor: of the producer.
        manual: the consumer asks by itself.
    """

    demand: Demand[Any]
    cancel: CancelMode
    monitor: Monitor
    manual: bool


class Consumer(Stage, Generic[E]):
    """A stage that asks for events and handles them.

    It has at most `max_demand` events on their way, handles them in batches of at most `max_demand - min_demand`, and
    asks for more when after a batch no more than `min_demand` are on their way.

    Attributes:
        subscription: whose events `handle_events` is handling.

    Example:
        ```python
        class Printer(Consumer[int]):
            def __init__(self, source: ActorRef[Numbers]) -> None:
                self.source = source

            async def started(self) -> None:  # at each restart anew
                await self.subscribe(self.source, max_demand=10)

            async def handle_events(self, events: list[int]) -> None:
                print(events)
        ```
    """

    subscription: Subscription | None = None

    _inlets: dict[Subscription, Inlet]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """See `Stage`."""
        self = super().__new__(cls, *args, **kwargs)
        self._inlets = {}
        self._takes |= {Events: self._take_events, Cancelled: self._take_cancelled}
        return self

    # What a subclass writes.

    async def handle_events(self, events: list[E]) -> Any:
        """Handle a batch of events, in the order in which the producer gave them."""
        raise NotImplementedError(f"{type(self).__name__} has no handle_events(self, events)")

    async def handle_cancel(
        self, subscription: Subscription, how: Literal["cancelled", "down"], reason: ExitReason
    ) -> None:
        """Hear that a subscription has ended by its producer, before this consumer ends if it is to end.

        Args:
            subscription: which.
            how: `down`: the producer is dead; `cancelled`: it refused the subscription or does not know it.
            reason: of the producer's end, or of the refusal.
        """

    # Its messages.

    async def subscribe(
        self,
        producer: ActorRef[Any],
        *,
        max_demand: int = DEFAULT_MAX_DEMAND,
        min_demand: int | None = None,
        cancel: CancelMode = "permanent",
        manual: bool = False,
        **options: Any,
    ) -> Subscription:
        """Subscribe to a producer, and ask for the first `max_demand` events.

        By another: `await consumer.call(Consumer.subscribe, producer, max_demand=10)`; by itself, in `started`:
        `await self.subscribe(producer)`. A restarted consumer has no subscriptions, a restarted producer no consumers.

        Args:
            producer: a `Producer` or `ProducerConsumer`; one that is dead ends the subscription at once.
            max_demand: events on their way at most.
            min_demand: ask for more when no more than this many are on their way; by default half of `max_demand`.
            cancel: what the end of the subscription means for this consumer: it ends with the producer's reason, even
                a normal one ("permanent"), ends if that is abnormal ("transient"), or stays ("temporary").
            manual: ask for nothing; the consumer does that by `ask`.
            **options: for the producer's dispatcher: `partition=`, `selector=`.

        Raises:
            ValueError: a demand or mode that cannot be.
        """
        if cancel not in {"permanent", "transient", "temporary"}:
            raise ValueError(f"cancel is {cancel!r}; it is 'permanent', 'transient' or 'temporary'")
        demand: Demand[Any] = Demand(max_demand, min_demand)
        subscription = Subscription(secrets.token_hex(8), producer, self.ref)
        monitor = producer.monitor()
        self._watched[monitor] = (subscription, self._lose_producer)
        self._inlets[subscription] = Inlet(demand, cancel, monitor, manual)
        producer.send(Subscribe(subscription, options))
        if not manual:
            self._ask(subscription, demand.begin())
        return subscription

    async def cancel(self, subscription: Subscription) -> None:
        """End a subscription from this side; the consumer goes on. What is in its mailbox already is dropped."""
        inlet = self._inlets.pop(subscription, None)
        if inlet is not None:
            inlet.monitor.demonitor()
            self._watched.pop(inlet.monitor, None)
            subscription.producer.send(Cancel(subscription))

    async def ask(self, subscription: Subscription, count: int) -> None:
        """Ask for `count` events more, of a subscription that was made with `manual=True`.

        Raises:
            ValueError: it asks by itself, has ended, or `count` is below 1.
        """
        inlet = self._inlets.get(subscription)
        if inlet is None or not inlet.manual:
            why = "has ended" if inlet is None else "asks by itself; subscribe with manual=True"
            raise ValueError(f"the subscription to {subscription.producer!r} {why}")
        if count < 1:
            raise ValueError(f"{count} events were asked for; 1 at least")
        self._ask(subscription, count)

    # Its part of the protocol.

    def _ask(self, subscription: Subscription, count: int) -> None:
        subscription.producer.send(Ask(subscription, count))

    async def _take_events(self, message: Events) -> None:
        for batch in self._batches(message.subscription, message.events):
            await self._handle(message.subscription, batch)

    def _batches(self, subscription: Subscription, events: Sequence[Any]) -> list[Batch[Any]]:
        """Cut what came as its subscription wants it."""
        inlet = self._inlets.get(subscription)
        if inlet is None:
            return []
        if inlet.manual:
            return [Batch(list(events), 0)]
        batches, excess = inlet.demand.receive(events)
        if excess:
            logger.error("%s got %d events more than it asked for from %r", self._cell.label, excess, subscription)
        return batches

    async def _handle(self, subscription: Subscription, batch: Batch[Any]) -> Any:
        self.subscription = subscription
        try:
            made = await self.handle_events(batch.events)
        finally:
            self.subscription = None
        if batch.ask and subscription in self._inlets:
            self._ask(subscription, batch.ask)
        return made

    async def _take_cancelled(self, message: Cancelled) -> None:
        inlet = self._inlets.get(message.subscription)
        if inlet is not None:
            inlet.monitor.demonitor()
            self._watched.pop(inlet.monitor, None)
            await self._end(message.subscription, "cancelled", message.reason)

    async def _lose_producer(self, subscription: Subscription, down: Down) -> None:
        await self._end(subscription, "down", down.reason)

    async def _end(self, subscription: Subscription, how: Literal["cancelled", "down"], reason: ExitReason) -> None:
        """A subscription is over by its producer; end with it if that is its mode."""
        inlet = self._inlets.pop(subscription, None)
        if inlet is None:
            return
        await self.handle_cancel(subscription, how, reason)
        if inlet.cancel == "permanent" or (inlet.cancel == "transient" and is_abnormal(reason)):
            self.stop(reason)
