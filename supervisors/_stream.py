"""A stream of tasks over items: at most so many at a time, results in order or as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import Generic, Literal, TypeVar

import trio

from supervisors._exits import Crash, ExitReason
from supervisors._task import Exited, Ok, Task, TaskTimeout

__all__ = ["OnTimeout", "TaskStream"]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
OnTimeout = Literal["exit", "kill"]


# Seconds that `aclose` waits for killed tasks; their supervisor reports one that cannot be killed.
_PATIENCE = 1.0


class _Bell:
    """Rung by every task that ends; one consumer listens."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()
        self._event = trio.Event()


class TaskStream(Generic[I, T]):
    """The async iterator that `TaskSupervisor.async_stream` returns; see there. Not to be shared between tasks."""

    def __init__(
        self,
        spawn: Callable[[I], Awaitable[Task[T]]],
        items: Iterator[I],
        *,
        width: int,
        ordered: bool,
        on_timeout: OnTimeout,
    ) -> None:
        self._spawn = spawn
        self._items: Iterator[I] | None = items
        self._width = width
        self._ordered = ordered
        self._on_timeout = on_timeout
        self._running: set[Task[T]] = set()
        self._queue: deque[Task[T]] = deque()
        self._bell = _Bell()
        self._closed = False

    def __aiter__(self) -> TaskStream[I, T]:
        return self

    async def __anext__(self) -> Ok[T] | Exited:
        if self._closed:
            raise StopAsyncIteration
        try:
            # As Elixir does it: a result that is there is handed over before more work is begun, one new task for each
            # taken, so that a consumer that stops early has begun little in vain.
            if self._is_ready():
                await self._fill(1)
            while not self._is_ready():
                await self._fill(self._width)
                if not self._queue and not self._running:
                    raise StopAsyncIteration
                if not self._is_ready():
                    await self._bell.wait()
        except BaseException:
            self._kill()
            raise
        outcome = self._queue.popleft().outcome()
        assert outcome is not None
        if self._on_timeout == "exit" and isinstance(outcome, Exited) and isinstance(outcome.reason, Crash):
            error = outcome.reason.exception
            if isinstance(error, TaskTimeout):
                await self.aclose()
                raise TaskTimeout(error.seconds) from error
        return outcome

    def _is_ready(self) -> bool:
        return bool(self._queue) and self._queue[0].done.is_set()

    async def _fill(self, most: int) -> None:
        for _ in range(most):
            if self._items is None or len(self._running) >= self._width:
                return
            try:
                item = next(self._items)
            except StopIteration:
                self._items = None
                return
            except BaseException:
                await self.aclose()
                raise
            task = await self._spawn(item)
            self._running.add(task)
            if self._ordered:
                self._queue.append(task)
            task.pid.when_dead(self._ender(task))

    def _ender(self, task: Task[T]) -> Callable[[ExitReason], None]:
        # Not a bound method: the tasks must not keep an abandoned stream alive.
        running, queue, ordered, bell = self._running, self._queue, self._ordered, self._bell

        def ended(_: ExitReason) -> None:
            running.discard(task)
            if not ordered:
                queue.append(task)
            bell.ring()

        return ended

    def _kill(self) -> None:
        self._closed = True
        self._items = None
        for task in tuple(self._running):
            task.pid.kill()

    async def aclose(self) -> None:
        """Kill the tasks that run and return when they are dead; nothing more will come."""
        doomed = tuple(self._running)
        self._kill()
        with trio.move_on_after(_PATIENCE, shield=True):
            for task in doomed:
                await task.done.wait()
        self._queue.clear()

    async def __aenter__(self) -> TaskStream[I, T]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._kill()
