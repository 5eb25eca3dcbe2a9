"""Runs an asyncio coroutine in the trio task that waits for it, step by step, without an asyncio task of its own.

A task of asyncio costs a turn of both loops to start and another to end: on an idle node that is a tenth of the time
from an insert to the start of its job. The coroutine may await what asyncpg awaits, which is plain futures; what looks
for the current task of asyncio (`asyncio.timeout` does) has to go through `trio_asyncio.aio_as_trio`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn, TypeVar

import trio

__all__ = ["in_steps"]

T = TypeVar("T")


async def in_steps(work: Awaitable[T]) -> T:
    """Run `work` to its end. Cancelled, it is told once, by `asyncio.CancelledError`, and waited for.

    Raises:
        trio.Cancelled: it was cancelled and ended by that.
    """
    waits, steps = _Waits(), work.__await__()
    try:
        while True:
            try:
                future = next(steps)
            except StopIteration as end:
                value: T = end.value
                return value
            if future is None:  # it only lets others go first
                await trio.lowlevel.cancel_shielded_checkpoint()
            else:
                await waits.for_end(future)
    except asyncio.CancelledError:
        if waits.raise_cancel is not None:
            waits.raise_cancel()
        raise


class _Waits:
    """The trio task of one coroutine, while it waits for a future.

    Attributes:
        raise_cancel: raises trio's own exception, once the task was cancelled.
    """

    __slots__ = ("_future", "_task", "raise_cancel")

    def __init__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._future: asyncio.Future[Any] | None = None
        self.raise_cancel: Callable[[], NoReturn] | None = None

    async def for_end(self, future: asyncio.Future[Any]) -> None:
        """Wait until a future that the coroutine has yielded is done; the coroutine takes the result itself."""
        future._asyncio_future_blocking = False  # noqa: SLF001 as asyncio's own task says that it has seen it
        future.add_done_callback(self._wake)
        self._future = future
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _wake(self, _future: asyncio.Future[Any]) -> None:
        trio.lowlevel.reschedule(self._task)

    def _abort(self, raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        # What it awaits to clean up is not cancelled again: the node, or its timeout, would lose the connection.
        if self.raise_cancel is None and self._future is not None:
            self.raise_cancel = raise_cancel
            self._future.cancel()
        return trio.lowlevel.Abort.FAILED
