"""One task that watches every deadline of an actor system: call timeouts in buckets, timers one by one.

A cancel scope for each call would cost more than the call. A call that is answered leaves its bucket, so that nothing
is kept of it; a bucket is looked at once, when its time has come.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Protocol

import trio

__all__ = ["Deadlines", "Expiring", "Scheduled"]

_PER_SECOND = 1024
_COARSE = 16
_KEEP_CANCELLED = 64


class Expiring(Protocol):
    """Something that wants to know when its time is over."""

    def expire(self) -> None:
        """Its time is over."""


class Scheduled:
    """A callback that is still to come.

    Attributes:
        when: `trio.current_time()` at which it comes.
        callback: None once it has come or was cancelled.
    """

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], object]) -> None:
        self.when = when
        self.callback: Callable[[], object] | None = callback


class Deadlines:
    """Exact timers, and call timeouts that are never early, but up to 1/64 s late (1/1024 s those below a second)."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Scheduled | int]] = []
        self._numbers = count()
        self._buckets: dict[int, set[Expiring]] = {}
        self._cancelled = 0
        self._sleep: trio.CancelScope | None = None

    def expect(self, seconds: float, item: Expiring) -> set[Expiring]:
        """Call `item.expire()` after `seconds`, unless it is taken out of the returned set before."""
        key = math.ceil((trio.current_time() + seconds) * _PER_SECOND)
        if seconds >= 1.0:
            key += -key % _COARSE
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = set()
            self._push(key / _PER_SECOND, key)
        bucket.add(item)
        return bucket

    def at(self, when: float, callback: Callable[[], object]) -> Scheduled:
        """Call `callback` at `when` (of `trio.current_time()`); it must not raise."""
        scheduled = Scheduled(when, callback)
        self._push(when, scheduled)
        return scheduled

    def cancel(self, scheduled: Scheduled) -> bool:
        """Take a callback back; False when it has come or was taken back already."""
        if scheduled.callback is None:
            return False
        scheduled.callback = None
        self._cancelled += 1
        if self._cancelled > _KEEP_CANCELLED and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if isinstance(entry[2], int) or entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
        return True

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._heap[0][0] if self._heap else math.inf) as self._sleep:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, _, item = heapq.heappop(self._heap)
                if isinstance(item, int):
                    for expired in tuple(self._buckets.pop(item)):
                        expired.expire()
                elif item.callback is None:
                    self._cancelled -= 1
                else:
                    callback, item.callback = item.callback, None
                    callback()

    def _push(self, when: float, item: Scheduled | int) -> None:
        heapq.heappush(self._heap, (when, next(self._numbers), item))
        if self._sleep is not None and when < self._sleep.deadline:
            self._sleep.deadline = when
