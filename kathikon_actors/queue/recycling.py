"""When a worker process has served long enough: the limits of its queue, and the watch on its memory. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

__all__ = ["Limits", "MemoryWatch"]

NEAR = 0.8
"""Share of the memory limit from which on a process is replaced between two jobs."""


@dataclass(frozen=True)
class Limits:
    """What one worker process may do.

    Attributes:
        jobs: that it runs before it is replaced.
        memory: resident bytes.
    """

    jobs: int | None = None
    memory: int | None = None


class MemoryWatch:
    """What is known of the memory of one process: how much it holds, and which of its runs began within bounds.

    A run may be blamed for what its process holds when the process was seen within its limit while the run was on, or
    when nothing ran there before it. Else an earlier job may have left the memory behind, and nobody is blamed yet.

    Args:
        limit: resident bytes.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held: int | None = None
        self.at_first: int | None = None
        self._seen_within: frozenset[int] = frozenset()

    def look(self, held: int, running: Collection[int]) -> None:
        """Take a sample: resident bytes, and the runs that were on."""
        self.held = held
        if self.at_first is None:
            self.at_first = held
        if held <= self.limit:
            self._seen_within = frozenset(running)

    @property
    def is_near(self) -> bool:
        """Whether the process should be replaced when it can be."""
        return self.held is not None and self.held > NEAR * self.limit

    @property
    def is_over(self) -> bool:
        """Whether it holds more than it may."""
        return self.held is not None and self.held > self.limit

    def was_within(self, seq: int) -> bool:
        """Whether the process was seen within its limit while that run was on."""
        return seq in self._seen_within

    def __str__(self) -> str:
        held, first = (f"{(size or 0) / 2**20:.0f} MB" for size in (self.held, self.at_first))
        return f"its process held {held} ({first} at first); max_memory is {self.limit / 2**20:.0f} MB"
