"""The ready jobs of a fair queue: the partitions take turns, one job each; within a partition the best comes first.

A partition that gets its first job joins at the end of the round, so that it waits one round at the most, however
many jobs the others have.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from kathikon_actors.jobs.keypath import partition_of
from kathikon_actors.jobs.record import Record
from kathikon_actors.queue.heap import PriorityHeap
from kathikon_actors.store.protocol import Key, key_of

__all__ = ["FairHeap"]


class FairHeap:
    """Ready jobs, one of each partition in turn. `len` counts entries, stale ones included.

    Jobs without a partition key share one partition.
    """

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self._partitions: dict[str | None, PriorityHeap] = {}
        self._turns: deque[str | None] = deque()
        self._size = 0
        for record in records:
            self.push(record)

    def push(self, record: Record) -> None:
        """Add an available job."""
        name = partition_of(record)
        partition = self._partitions.get(name)
        if partition is None:
            partition = self._partitions[name] = PriorityHeap()
            self._turns.append(name)
        partition.push(record)
        self._size += 1

    def pop(self) -> Record | None:
        """Take the best job of the partition whose turn it is, or give `None`."""
        record = self.first()
        if record is None:
            return None
        name = self._turns.popleft()
        partition = self._partitions[name]
        partition.pop()
        self._size -= 1
        if len(partition):
            self._turns.append(name)
        else:
            del self._partitions[name]
        return record

    def first(self) -> Record | None:
        """Give the job that `pop` would take, or `None`; what is not available any more is thrown away."""
        while self._turns:
            partition = self._partitions[self._turns[0]]
            before = len(partition)
            record = partition.first()
            self._size -= before - len(partition)
            if record is not None:
                return record
            del self._partitions[self._turns.popleft()]
        return None

    def best(self) -> Key | None:
        """Give the place of the job that `pop` would take, or `None`."""
        record = self.first()
        return None if record is None else key_of(record)

    def holds(self, partition: str | None) -> bool:
        """Tell whether a partition has jobs here."""
        return partition in self._partitions

    def __len__(self) -> int:
        return self._size
