"""Events of all nodes, for programs without one: what the nodes send, as the same types, on trio and on asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeVar

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.store.event_listening import EventEar
from kathikon_actors.telemetry.events import Event, EventsMissed
from kathikon_actors.telemetry.forwarding import decode_event, kinds_by_name, names_of, unpack
from kathikon_actors.telemetry.subscription import BUFFER, check_subscription

if TYPE_CHECKING:
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["RemoteEventStream", "RemoteEvents", "SyncEventStream"]

T = TypeVar("T")

CLOSE_TIMEOUT: Final = 5.0
"""Seconds to end what runs for a stream."""


class _Flag(Protocol):
    def set(self) -> object: ...

    async def wait(self) -> object: ...


class RemoteEventStream:
    """Events of every node on a store, for an `async for` within its block. Made by `Client.events`.

    They are not kept for anybody: what happens while nobody listens, or while the connection is cut, is not heard, and
    what nodes or this program cannot keep up with is dropped and counted. Each is heard once at the most; those of one
    node in their order.

    Attributes:
        dropped: events that were lost because a node or this program was too slow for them.
        cuts: how often the connection was lost, and events with it; also told as `EventsMissed`, to who wants that.

    Example:
        ```python
        async with client.events(JobTransition) as events:
            async for event in events:
                print(event.node, event.worker, event.event)
        ```
    """

    def __init__(self, owner: RemoteEvents, kinds: tuple[type[Event], ...], buffer: int) -> None:
        check_subscription(kinds, buffer)
        self.dropped = 0
        self.cuts = 0
        self._owner = owner
        self._wanted = kinds or (Event,)
        self._known = kinds_by_name(self._wanted)
        self._names = names_of(kinds)
        self._buffer: deque[Event] = deque()
        self._size = buffer
        self._filled: _Flag | None = None
        self._closed = False
        self._ear: EventEar | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_exc_info: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not await self._wait():
            raise StopAsyncIteration
        return self._buffer.popleft()

    async def batch(self) -> list[Event]:
        """Wait for events and give all there are; none when the stream is closed."""
        await self._wait()
        found = list(self._buffer)
        self._buffer.clear()
        return found

    async def open(self) -> None:
        """Begin to listen; the nodes that live send from here on. For who has no block to open it by.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        if self._ear is not None or self._closed:
            raise RuntimeError("this stream of events was opened before; ask for another one: client.events(...)")
        self._owner._check_open()  # noqa: SLF001 its own half
        url = await self._owner._database()  # noqa: SLF001
        self._ear = ear = EventEar(url, self._owner._timeout, self._names, self._heard, self._missed)  # noqa: SLF001
        self._owner._streams.add(self)  # noqa: SLF001
        try:
            await self._owner._in_loop(ear.open)  # noqa: SLF001
        except BaseException:
            await self.aclose()
            raise
        self._task = self._owner._start(ear.run())  # noqa: SLF001
        self._task.add_done_callback(lambda _task: self._wake())

    async def aclose(self) -> None:
        """Hear nothing more; what is buffered is thrown away. Idempotent."""
        self._closed = True
        self._buffer.clear()
        self._wake()
        ear, self._ear = self._ear, None
        self._owner._streams.discard(self)  # noqa: SLF001
        if ear is not None:
            await self._owner._to_the_end(_end, self._task, ear)  # noqa: SLF001

    async def _wait(self) -> bool:
        """Wait until there is an event; tell whether there is one, else the stream is closed."""
        while not self._buffer:
            if self._closed:
                return False
            if self._ear is None:
                raise RuntimeError("this stream of events is not open: async with client.events(...) as events")
            if self._task is not None and self._task.done() and not self._task.cancelled():
                self._task.result()
            self._filled = self._owner._new_flag()  # noqa: SLF001
            await self._filled.wait()
        return True

    def _heard(self, payload: str) -> None:
        notice = unpack(payload)
        if notice is None or self._ear is None:
            return
        if str(self._ear.id) in notice.taken:
            self._ear.greeted_by(notice.node)
        self.dropped += sum(number for name, number in notice.dropped.items() if name in self._known)
        for name, raw in notice.events:
            kind = self._known.get(name)
            event = None if kind is None else decode_event(kind, raw)
            if event is not None:
                self._put(event)

    def _missed(self, seconds: float) -> None:
        self.cuts += 1
        if issubclass(EventsMissed, self._wanted):
            self._put(EventsMissed(seconds=seconds))

    def _put(self, event: Event) -> None:
        if len(self._buffer) >= self._size:
            self.dropped += 1
            return
        self._buffer.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._filled is not None:
            self._filled.set()

    def __repr__(self) -> str:
        kinds = ", ".join(kind.__name__ for kind in self._wanted)
        return f"<RemoteEventStream of {kinds}: {len(self._buffer)} wait, {self.dropped} dropped, {self.cuts} cuts>"


async def _end(task: asyncio.Task[None] | None, ear: EventEar) -> None:
    """End what runs for a stream; on its asyncio loop."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task], timeout=CLOSE_TIMEOUT / 2)
    await ear.close()


class RemoteEvents(ABC):
    """The part of a `Client` that hears events."""

    _on_trio: bool
    _timeout: float
    _streams: set[RemoteEventStream]

    @abstractmethod
    def _check_open(self) -> None: ...

    @abstractmethod
    async def _database(self) -> StoreUrl: ...

    def events(self, *kinds: type[Event], buffer: int = BUFFER) -> RemoteEventStream:
        """Give events of these kinds (none means all) of all nodes to an `async for`, while its block lasts.

        Nodes send only while somebody listens, and then only what is wanted: entering the block tells them, and waits
        until those that live send (2 s at most). Nodes that start later send, too. Not durable, at most once, and what
        somebody is too slow for is dropped and counted: for what must not be lost look at the jobs themselves.

        Args:
            *kinds: classes of events, as `Node.events` takes them.
            buffer: events that may wait for this program.

        Raises:
            BadConfiguration: one of these is of no use.
            StoreUnavailable: on entering the block: the store did not answer.

        Example:
            ```python
            async with client.events(JobTransition) as events:
                async for event in events:
                    print(event.node, event.worker, event.old, "->", event.new)
            ```
        """
        return RemoteEventStream(self, kinds, buffer)

    async def _close_streams(self) -> None:
        for stream in list(self._streams):
            await stream.aclose()

    async def _in_loop(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run asyncio work on the client's loop."""
        if not self._on_trio:
            return await work(*args)
        import trio_asyncio  # type: ignore[import-untyped]

        result: T = await trio_asyncio.aio_as_trio(work)(*args)
        return result

    async def _to_the_end(self, work: Callable[..., Awaitable[None]], *args: Any) -> None:
        """As `_in_loop`, also while this is being cancelled; within `CLOSE_TIMEOUT`."""
        if self._on_trio:
            import trio

            with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                await self._in_loop(work, *args)
        else:
            await asyncio.wait([asyncio.ensure_future(work(*args))], timeout=CLOSE_TIMEOUT)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        if not self._on_trio:
            return asyncio.get_running_loop().create_task(work)
        import trio_asyncio

        loop: Any = trio_asyncio.current_loop.get()
        task: asyncio.Task[None] = loop.create_task(work)
        return task

    def _new_flag(self) -> _Flag:
        if not self._on_trio:
            return asyncio.Event()
        import trio

        return trio.Event()


class SyncEventStream:
    """Events of every node on a store, for a plain `for`. Made by `SyncClient.events`; `RemoteEventStream` says more.

    Threads may share it; each event goes to one of them.

    Example:
        ```python
        with client.events(JobTransition, timeout=5) as events:
            for event in events:
                print(event.node, event.worker, event.event)
            print("nothing happened for 5 s;", events.dropped, "were dropped")
        ```
    """

    def __init__(
        self, stream: RemoteEventStream, call: Callable[[Coroutine[Any, Any, Any]], Any], timeout: float
    ) -> None:
        self._stream = stream
        self._call = call
        self._timeout = timeout
        self._ready: deque[Event] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._pid = os.getpid()
        call(stream.open())

    @property
    def dropped(self) -> int:
        """See `RemoteEventStream`."""
        return self._stream.dropped

    @property
    def cuts(self) -> int:
        """See `RemoteEventStream`."""
        return self._stream.cuts

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Hear nothing more; idempotent. Whoever waits for an event then gets none."""
        self._closed = True
        if self._pid == os.getpid():
            with suppress(StoreUnavailable):  # its client was closed, and the stream with it
                self._call(self._stream.aclose())

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        event = self.next(self._timeout)
        if event is None:
            raise StopIteration
        return event

    def next(self, timeout: float = float("inf")) -> Event | None:
        """Wait for the next event, for so many seconds; `None` when none came, or the stream is closed.

        Raises:
            StoreUnavailable: the stream belongs to the process from which this one was forked.
        """
        if self._pid != os.getpid():
            raise StoreUnavailable("this stream of events was opened before the fork; ask for another one here")
        with self._lock:
            if self._closed:
                return None
            if not self._ready:
                self._ready.extend(self._call(self._batch(timeout)))
            return self._ready.popleft() if self._ready else None

    async def _batch(self, timeout: float) -> Sequence[Event]:
        try:
            async with asyncio.timeout(None if timeout == float("inf") else timeout):
                return await self._stream.batch()
        except TimeoutError:
            return ()
