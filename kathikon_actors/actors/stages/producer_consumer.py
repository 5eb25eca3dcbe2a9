"""The stage between: it takes events, and gives others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from kathikon_actors.actors.stages.consumer import Consumer
from kathikon_actors.actors.stages.producer import Producer

if TYPE_CHECKING:
    from typing import Self

    from kathikon_actors.actors.stages.demand import Batch
    from kathikon_actors.actors.stages.messages import Events, Subscription
    from supervisors import ExitReason

__all__ = ["ProducerConsumer"]

E = TypeVar("E")
F = TypeVar("F")


class ProducerConsumer(Consumer[E], Producer[F], Generic[E, F]):
    """A stage that makes events of type `F` out of those of type `E`.

    It handles what came in only while somebody asks for what goes out, so that demand travels up the whole line. One
    batch may become any number of events; those that nobody asked for yet wait in a buffer without a bound (demand
    bounds it: at most what becomes of one batch).

    Example:
        ```python
        class Squares(ProducerConsumer[int, int]):
            async def handle_events(self, events: list[int]) -> list[int]:
                return [number * number for number in events]
        ```
    """

    buffer_size: int | None = None

    _demand: int
    _inbox: deque[tuple[Subscription, Batch[Any] | tuple[Literal["cancelled", "down"], ExitReason]]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """See `Stage`."""
        self = super().__new__(cls, *args, **kwargs)
        self._demand = 0
        self._inbox = deque()
        return self

    async def handle_events(self, events: list[E]) -> Iterable[F]:
        """Give what becomes of a batch of events; nothing for an empty result."""
        raise NotImplementedError(f"{type(self).__name__} has no handle_events(self, events)")

    async def handle_demand(self, demand: int) -> Iterable[F]:
        """Note that `demand` more are wanted; what came in is handled for as long as some are."""
        self._demand += demand
        await self._work()
        return ()

    def emit(self, events: Iterable[F]) -> None:
        """See `Producer.emit`."""
        made = list(events)
        self._demand = max(0, self._demand - len(made))
        super().emit(made)

    async def _take_events(self, message: Events) -> None:
        self._inbox += [(message.subscription, batch) for batch in self._batches(message.subscription, message.events)]
        await self._work()

    async def _work(self) -> None:
        while self._inbox and (self._demand > 0 or isinstance(self._inbox[0][1], tuple)):
            subscription, what = self._inbox.popleft()
            if isinstance(what, tuple):
                await super()._end(subscription, *what)
            else:
                self.emit(await self._handle(subscription, what) or ())

    async def _end(self, subscription: Subscription, how: Literal["cancelled", "down"], reason: ExitReason) -> None:
        """What came before the end is handled before it."""
        self._inbox.append((subscription, (how, reason)))
        await self._work()
