"""The ready jobs of a fair queue: the partitions take turns, one job each; within a partition the best comes first.

A partition that gets its first job joins at the end of the round, so that it waits one round at the most, however
many jobs the others have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Final, cast

from kathikon_actors.jobs.keypath import partition_of
from kathikon_actors.jobs.record import Record
from kathikon_actors.queue.heap import PriorityHeap
from kathikon_actors.store.protocol import Key, key_of

__all__ = ["FairHeap"]

FEW: Final = 32
"""Up to so many jobs of a partition are a small heap, a sixth of what it costs to make and to fill a `PriorityHeap`."""

_Entry = tuple[int, int, bytes, int, Record]
"""Priority (the best is the least), due time, id, and a number that keeps two entries of one job apart."""


class FairHeap:
    """Ready jobs, one of each partition in turn. `len` counts entries, stale ones included.

    Jobs without a partition key share one partition.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        # A partition with one job is that job: with many small tenants most are like this.
        self._partitions: dict[str | None, Record | list[_Entry] | PriorityHeap] = {}
        self._pushed = 0
        self._turns: deque[str | None] = deque()
        self._size = 0
        for record in records:
            self.push(record)

    def push(self, record: Record) -> None:
        """Add an available job."""
        name = partition_of(record)
        partition = self._partitions.get(name)
        self._size += 1
        if partition is None:
            self._partitions[name] = record
            self._turns.append(name)
        elif type(partition) is list:
            heappush(partition, self._entry(record))
            if len(partition) > FEW:
                self._partitions[name] = PriorityHeap(entry[-1] for entry in partition)
        elif type(partition) is PriorityHeap:
            partition.push(record)
        else:
            few = self._partitions[name] = [self._entry(cast("Record", partition))]
            heappush(few, self._entry(record))

    def _entry(self, record: Record) -> _Entry:
        self._pushed += 1
        return (-record.priority, record.scheduled_at, record.id, self._pushed, record)

    def pop(self) -> Record | None:
        """Take the best job of the partition whose turn it is, or give `None`."""
        partitions, turns = self._partitions, self._turns
        while turns:
            name = turns.popleft()
            partition = partitions[name]
            if type(partition) is list:
                few: Record = heappop(partition)[-1]
                self._size -= 1
                while few.state != "available" and partition:
                    few = heappop(partition)[-1]
                    self._size -= 1
                if partition:
                    turns.append(name)
                else:
                    del partitions[name]
                if few.state == "available":
                    return few
            elif type(partition) is PriorityHeap:
                before = len(partition)
                record = partition.pop()
                left = len(partition)
                self._size -= before - left
                if left:
                    turns.append(name)
                else:
                    del partitions[name]
                if record is not None:
                    return record
            else:
                del partitions[name]
                self._size -= 1
                single = cast("Record", partition)
                if single.state == "available":
                    return single
        return None

    def first(self) -> Record | None:
        """Give the job that `pop` would take, or `None`; what is not available any more is thrown away."""
        while self._turns:
            partition = self._partitions[self._turns[0]]
            if type(partition) is list:
                while partition:
                    few: Record = partition[0][-1]
                    if few.state == "available":
                        return few
                    heappop(partition)
                    self._size -= 1
            elif type(partition) is PriorityHeap:
                before = len(partition)
                record = partition.first()
                self._size -= before - len(partition)
                if record is not None:
                    return record
            else:
                single = cast("Record", partition)
                if single.state == "available":
                    return single
                self._size -= 1
            del self._partitions[self._turns.popleft()]
        return None

    def best(self) -> Key | None:
        """Give the place of the job that `pop` would take, or `None`."""
        record = self.first()
        return None if record is None else key_of(record)

    def __len__(self) -> int:
        return self._size
