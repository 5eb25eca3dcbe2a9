"""The ready jobs of one queue in the order in which they start: priority descending, then due time, then id.

Most jobs arrive in the order in which they leave, so each priority keeps a plain deque for those and a small heap for
the ones that come late: half a microsecond a job where one big heap takes three. Jobs that were cancelled or taken
elsewhere are not searched for; they are passed over when their turn comes.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Protocol

from kathikon_actors.jobs.record import Record
from kathikon_actors.store.protocol import Key, key_of

__all__ = ["Heap", "PriorityHeap"]


class Heap(Protocol):
    """What a producer keeps its ready jobs in."""

    def push(self, record: Record) -> None:
        """Add an available job."""

    def pop(self) -> Record | None:
        """Take the job that is to start next, or give `None`."""
        ...

    def first(self) -> Record | None:
        """Give the job that `pop` would take."""
        ...

    def best(self) -> Key | None:
        """Give the place of the job that `pop` would take."""
        ...

    def __len__(self) -> int: ...


_Entry = tuple[int, bytes, int, Record]
"""Due time, id, and a number that keeps two entries of one job from being compared further."""


class _Bucket:
    """The jobs of one priority."""

    __slots__ = ("in_order", "late")

    def __init__(self) -> None:
        self.in_order: deque[_Entry] = deque()
        self.late: list[_Entry] = []

    def push(self, record: Record, number: int) -> None:
        entry = (record.scheduled_at, record.id, number, record)
        in_order = self.in_order
        if not in_order or in_order[-1] < entry:
            in_order.append(entry)
        else:
            heappush(self.late, entry)

    def pop(self) -> _Entry:
        in_order, late = self.in_order, self.late
        if late and (not in_order or late[0] < in_order[0]):
            return heappop(late)
        return in_order.popleft()

    def first(self) -> _Entry:
        in_order, late = self.in_order, self.late
        if late and (not in_order or late[0] < in_order[0]):
            return late[0]
        return in_order[0]

    def __bool__(self) -> bool:
        return bool(self.in_order or self.late)


class PriorityHeap:
    """Ready jobs, best first. `len` counts entries, stale ones included."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._buckets: dict[int, _Bucket] = {}
        self._priorities: list[int] = []  # ascending: the best is the last
        self._size = 0
        self._pushed = 0
        for record in sorted(records, key=lambda r: (r.scheduled_at, r.id)):
            self.push(record)

    def push(self, record: Record) -> None:
        """Add an available job."""
        bucket = self._buckets.get(record.priority)
        if bucket is None:
            bucket = self._buckets[record.priority] = _Bucket()
            insort(self._priorities, record.priority)
        self._pushed += 1
        bucket.push(record, self._pushed)
        self._size += 1

    def pop(self) -> Record | None:
        """Take the best job that is still available, or give `None`."""
        while self._priorities:
            best = self._priorities[-1]
            bucket = self._buckets[best]
            in_order, late = bucket.in_order, bucket.late
            while in_order or late:
                entry = in_order.popleft() if not late else bucket.pop()
                self._size -= 1
                if entry[3].state == "available":
                    return entry[3]
            self._priorities.pop()
            del self._buckets[best]
        return None

    def first(self) -> Record | None:
        """Give the job that `pop` would take, or `None`; what is not available any more is thrown away."""
        while self._priorities:
            priority = self._priorities[-1]
            bucket = self._buckets[priority]
            while bucket:
                record = bucket.first()[3]
                if record.state == "available":
                    return record
                bucket.pop()
                self._size -= 1
            self._priorities.pop()
            del self._buckets[priority]
        return None

    def best(self) -> Key | None:
        """Give the place of the job that `pop` would take, or `None`."""
        record = self.first()
        return None if record is None else key_of(record)

    def __len__(self) -> int:
        return self._size
