"""The stage that gives."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from kathikon_actors.actors.stages.buffer import DEFAULT_BUFFER_SIZE, Buffer, Keep
from kathikon_actors.actors.stages.dispatcher import Dispatcher, SubscriptionRefused
from kathikon_actors.actors.stages.dispatchers import DemandDispatcher
from kathikon_actors.actors.stages.messages import Ask, Cancel, Cancelled, Events, Subscribe, Subscription
from kathikon_actors.actors.stages.outlet import Outlet
from kathikon_actors.actors.stages.stage import Stage
from supervisors import Crash, Normal

if TYPE_CHECKING:
    from typing import Self

    from kathikon_actors.actors.messages import Down
    from kathikon_actors.actors.monitor import Monitor

__all__ = ["DemandMode", "Producer"]

logger = logging.getLogger("kathikon_actors")

E = TypeVar("E")

DemandMode = Literal["forward", "accumulate"]
"""Whether demand reaches `handle_demand` at once, or is held until the mode is `forward`."""


class _Owed:
    """To itself: events that selectors left out are to be made good."""


class Producer(Stage, Generic[E]):
    """A stage that gives events to those who ask.

    `handle_demand` is called with the number of events that are wanted and not in the buffer. It gives up to that many
    at once, or fewer and the rest later by `emit`: demand that was told is not told again. Events that nobody asked
    for wait in the buffer.

    Attributes:
        buffer_size: events that the buffer holds; None for no bound. Set it in the class or in `__init__`.
        buffer_keep: which stay when there are more: the newest ("last") or the oldest ("first"). The others are
            dropped, with a warning.
        demand_mode: how it begins; `accumulate` holds demand until `set_demand("forward")`, so that all consumers can
            subscribe before the first event goes out.

    Example:
        ```python
        class Numbers(Producer[int]):
            def __init__(self, first: int = 0) -> None:
                self.next = first

            async def handle_demand(self, demand: int) -> list[int]:
                numbers = list(range(self.next, self.next + demand))
                self.next += demand
                return numbers
        ```
    """

    buffer_size: int | None = DEFAULT_BUFFER_SIZE
    buffer_keep: Keep = "last"
    demand_mode: DemandMode = "forward"

    _made_outlet: Outlet | None
    _held: list[Ask]
    _owed: int
    _consumers: dict[Subscription, Monitor]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """See `Stage`."""
        self = super().__new__(cls, *args, **kwargs)
        self._made_outlet = None
        self._held = []
        self._owed = 0
        self._consumers = {}
        self._takes |= {
            Subscribe: self._take_subscribe,
            Ask: self._take_ask,
            Cancel: self._take_cancel,
            _Owed: self._take_owed,
        }
        return self

    # What a subclass writes.

    async def handle_demand(self, demand: int) -> Iterable[E]:
        """Give up to `demand` events, or none and `emit` them later.

        Args:
            demand: events that are wanted in addition to what was wanted before.
        """
        raise NotImplementedError(f"{type(self).__name__} has no handle_demand(self, demand)")

    def dispatcher(self) -> Dispatcher:
        """Give the rule by which consumers share events; `DemandDispatcher()` unless overridden. Called once."""
        return DemandDispatcher()

    # What it uses.

    def emit(self, events: Iterable[E]) -> None:
        """Give events out now; what nobody asked for is buffered."""
        outlet = self._outlet
        dropped = outlet.dropped
        owed = outlet.emit(list(events))
        if outlet.dropped > dropped:
            logger.warning(
                "%s dropped %d events: its buffer holds %s",
                self._cell.label,
                outlet.dropped - dropped,
                self.buffer_size,
            )
        self._send_out()
        if owed:
            self._owed += owed
            self.ref.send(_Owed())

    @property
    def buffered(self) -> int:
        """Events that wait for somebody to ask."""
        return self._outlet.buffered

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """Who is subscribed now, in order of coming."""
        return tuple(self._consumers)

    # Its messages.

    async def set_demand(self, mode: DemandMode) -> None:
        """Let demand through (`forward`), with all that was held, or hold it from now on (`accumulate`)."""
        if mode not in {"forward", "accumulate"}:
            raise ValueError(f"the mode of demand is {mode!r}; it is 'forward' or 'accumulate'")
        self.demand_mode = mode
        if mode == "forward":
            held, self._held = self._held, []
            for ask in held:
                await self._take_ask(ask)

    # Its part of the protocol.

    @property
    def _outlet(self) -> Outlet:
        if self._made_outlet is None:
            self._made_outlet = Outlet(self.dispatcher(), Buffer[Any](self.buffer_size, self.buffer_keep))
        return self._made_outlet

    async def _take_subscribe(self, message: Subscribe) -> None:
        subscription = message.subscription
        try:
            self._outlet.subscribe(subscription, subscription.consumer, message.options)
        except SubscriptionRefused as error:
            subscription.consumer.send(Cancelled(subscription, Crash(error)))
            return
        monitor = subscription.consumer.monitor()
        self._consumers[subscription] = monitor
        self._watched[monitor] = (subscription, self._lose_consumer)

    async def _take_ask(self, ask: Ask) -> None:
        if ask.subscription not in self._outlet:
            # It was refused, or belongs to an earlier life of this name.
            ask.subscription.consumer.send(Cancelled(ask.subscription, Normal()))
        elif self.demand_mode == "accumulate":
            self._held.append(ask)
        else:
            await self._meet(self._outlet.ask(ask.subscription, ask.count))

    async def _take_cancel(self, message: Cancel) -> None:
        subscription = message.subscription
        monitor = self._consumers.pop(subscription, None)
        if monitor is not None:
            monitor.demonitor()
            del self._watched[monitor]
            await self._meet(self._outlet.cancel(subscription))

    async def _lose_consumer(self, subscription: Subscription, _down: Down) -> None:
        del self._consumers[subscription]
        await self._meet(self._outlet.cancel(subscription))

    async def _take_owed(self, _message: _Owed) -> None:
        owed, self._owed = self._owed, 0
        await self._meet(owed)

    async def _meet(self, demand: int) -> None:
        """What the buffer could give is on its way; have the rest made."""
        self._send_out()
        if demand > 0:
            self.emit(await self.handle_demand(demand) or ())

    def _send_out(self) -> None:
        for key, events in self._outlet.take_deliveries():
            assert isinstance(key, Subscription)
            key.consumer.send(Events(key, events))
