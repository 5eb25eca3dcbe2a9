"""One subscriber of the bus: its buffer, its handler in a thread, or the `async for` that reads it."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

import trio

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.telemetry.events import Event
from kathikon_actors.telemetry.handler import check_handler

__all__ = ["BUFFER", "EventStream", "Handler", "Subscription", "check_subscription"]

logger = logging.getLogger(__name__)

Handler = Callable[[Event], object]
"""Called with each event, in a thread, one event at a time."""

BUFFER: Final = 10_000
"""Events that wait for one subscriber; what comes on top is dropped and counted."""

_BATCH: Final = 500
"""Events handed to the thread at once: a thread costs 50 us, an event a few."""

_LOGGED: Final = 10.0
"""Seconds between two lines of log about a handler that raises, or a buffer that is full."""


def check_subscription(kinds: tuple[type[Event], ...], buffer: int) -> None:
    """Refuse what is no kind of event, or no size of a buffer.

    Raises:
        BadConfiguration: naming it.
    """
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, Event)):
            raise BadConfiguration(f"subscribe: {kind!r} is no kind of event; give classes such as JobTransition")
    if isinstance(buffer, bool) or not isinstance(buffer, int) or buffer < 1:
        raise BadConfiguration(f"subscribe: buffer is {buffer!r}; give a whole number from 1")


class Subscription:
    """A subscriber's place on the bus. Made by `Node.subscribe`.

    Attributes:
        lost: events that found the buffer full, by kind.
        errors: events whose handler raised.
        delivered: events that were handed over.
    """

    def __init__(
        self,
        kinds: tuple[type[Event], ...],
        buffer: int,
        on_close: Callable[[Subscription], None],
        handler: Handler | None = None,
    ) -> None:
        check_subscription(kinds, buffer)
        if handler is not None:
            check_handler("subscribe", handler)
        self.lost: Counter[str] = Counter()
        self.errors = 0
        self.delivered = 0
        self.kinds = kinds or (Event,)
        self._buffer: deque[Event] = deque()
        self._size = buffer
        self._on_close = on_close
        self._handler = handler
        self._filled = trio.Event()
        self._closed = False
        self._busy = False
        self._thread = trio.CapacityLimiter(1)
        self._quiet_until = -float("inf")

    @property
    def dropped(self) -> int:
        """Events that found the buffer full."""
        return self.lost.total()

    @property
    def has_handler(self) -> bool:
        """Whether it calls a function, instead of being read."""
        return self._handler is not None

    def wants(self, kind: type[Event]) -> bool:
        """Tell whether it subscribed to this kind, or to a base of it."""
        return issubclass(kind, self.kinds)

    def put(self, event: Event) -> None:
        """Buffer an event, or drop and count it."""
        if len(self._buffer) >= self._size:
            self.lost[event.name] += 1
            self._complain(f"is too slow; {self.dropped} events were dropped so far")
            return
        self._buffer.append(event)
        self._filled.set()

    def close(self) -> None:
        """Hear nothing more; what is buffered is thrown away. Idempotent."""
        self._closed = True
        self._buffer.clear()
        self._filled.set()
        self._on_close(self)

    async def serve(self) -> None:
        """Hand events to the handler until closed."""
        while not self._closed:
            await self._filled.wait()
            self._filled = trio.Event()
            await self.flush()

    async def flush(self) -> None:
        """Hand over what is buffered."""
        while self._buffer and not self._busy:
            batch = [self._buffer.popleft() for _ in range(min(_BATCH, len(self._buffer)))]
            # Whoever takes it out has it: the thread, or we, when we are cancelled before there is one.
            ticket = [batch]
            self._busy = True
            try:
                # A handler that hangs must not keep the node from stopping: its thread is left behind.
                failure = await trio.to_thread.run_sync(
                    self._hand_over, ticket, abandon_on_cancel=True, limiter=self._thread
                )
            except trio.Cancelled:
                with suppress(IndexError):  # the thread has it
                    self._buffer.extendleft(reversed(ticket.pop()))
                raise
            finally:
                self._busy = False
            if failure is not None:
                self._complain(f"raised {failure!r}; {self.errors} events failed so far")

    async def next(self) -> Event | None:
        """Wait for the next event; `None` when closed."""
        return next(iter(await self.batch(1)), None)

    async def batch(self, most: int) -> list[Event]:
        """Wait for events and give up to `most` of them; none when closed."""
        while not self._buffer:
            if self._closed:
                return []
            self._filled = trio.Event()
            await self._filled.wait()
        return self.take(most)

    def take(self, most: int) -> list[Event]:
        """Give up to `most` of the events that wait."""
        taken = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        self.delivered += len(taken)
        return taken

    def _hand_over(self, ticket: list[list[Event]]) -> BaseException | None:
        """In the thread: call the handler for each; give the last thing it raised."""
        handler = self._handler
        assert handler is not None
        failure: BaseException | None = None
        try:
            batch = ticket.pop()
        except IndexError:  # given back meanwhile
            return None
        for event in batch:
            try:
                handler(event)
            except (Exception, SystemExit) as error:  # the user's code
                failure = error
                self.errors += 1
            self.delivered += 1
        return failure

    def _complain(self, problem: str) -> None:
        now = trio.current_time()
        if now >= self._quiet_until:
            self._quiet_until = now + _LOGGED
            logger.warning("a subscriber of telemetry (%r) %s", self._handler or "a stream", problem)

    def __repr__(self) -> str:
        kinds = ", ".join(kind.__name__ for kind in self.kinds)
        return f"<Subscription to {kinds}: {len(self._buffer)} wait, {self.dropped} dropped>"


class EventStream:
    """Events for an `async for`, from the moment it was made until its block ends. Made by `Node.events`.

    Example:
        ```python
        async with node.events(JobTransition) as events:
            async for event in events:
                print(event.worker, event.event)
        ```
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    @property
    def dropped(self) -> int:
        """Events that were lost because this was read too slowly."""
        return self._subscription.dropped

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        self._subscription.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._subscription.next()
        if event is None:
            raise StopAsyncIteration
        return event
