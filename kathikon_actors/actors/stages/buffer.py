"""Events that nobody has asked for yet. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Generic, Literal, TypeVar

__all__ = ["DEFAULT_BUFFER_SIZE", "Buffer", "Keep"]

DEFAULT_BUFFER_SIZE: Final = 10_000
"""Events that a producer keeps at most; a `ProducerConsumer` keeps all, as its demand bounds them."""

Keep = Literal["first", "last"]
"""Which events stay when there are too many: the oldest (`first`) or the newest (`last`)."""

E = TypeVar("E")


class Buffer(Generic[E]):
    """A queue of events with a bound.

    Args:
        size: events at most; `None` for no bound.
        keep: which stay when there are more.
    """

    __slots__ = ("_events", "_keep", "_size")

    def __init__(self, size: int | None = DEFAULT_BUFFER_SIZE, keep: Keep = "last") -> None:
        if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
            raise ValueError(
                f"buffer_size is {size!r}; it is a whole number of events, 1 or more, or None for no bound"
            )
        if keep not in {"first", "last"}:
            raise ValueError(f"buffer_keep is {keep!r}; it is 'first' or 'last'")
        self._events: deque[E] = deque()
        self._size = size
        self._keep = keep

    def __len__(self) -> int:
        return len(self._events)

    def put(self, events: Iterable[E]) -> int:
        """Add events behind those that are there; give how many were dropped."""
        held = self._events
        held.extend(events)
        dropped = 0 if self._size is None else max(0, len(held) - self._size)
        drop = held.popleft if self._keep == "last" else held.pop
        for _ in range(dropped):
            drop()
        return dropped

    def take(self, count: int) -> list[E]:
        """Take up to `count` events, the oldest first."""
        held = self._events
        return [held.popleft() for _ in range(min(count, len(held)))]
