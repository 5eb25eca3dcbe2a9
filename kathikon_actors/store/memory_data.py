"""What several memory stores share, as several connections share one database."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from kathikon_actors.jobs.record import Record
from kathikon_actors.store.memory_graph import MemoryGraph

if TYPE_CHECKING:
    from kathikon_actors.store.memory import MemoryStore
    from kathikon_actors.store.protocol import Lane
    from kathikon_actors.store.snapshots import StoredSnapshot

__all__ = ["MemoryData", "MemoryNode", "stored", "wall_clock"]


def wall_clock() -> int:
    """Give the time in microseconds since 1970."""
    return time.time_ns() // 1000


@dataclass
class MemoryNode:
    """What is kept of one node's name.

    Attributes:
        session: the store through which its present life joined, `None` once that is gone.
        batches: the number of the last commit of each lane.
        left: its last life left in order.
        closed: nothing of its last life commits any more.
        swept: it owns nothing, and will not before its next life.
    """

    node_id: int
    epoch: int = 0
    lease_until: int = 0
    session: MemoryStore | None = None
    batches: dict[Lane, int] = field(default_factory=dict)
    left: bool = False
    closed: bool = False
    swept: bool = False


@dataclass
class MemoryData:
    """What several `MemoryStore`s share, as several connections share one database.

    Attributes:
        clock: gives microseconds since 1970; leases and due times follow it.
        nodes: by name.
        live: every row that is not finished, by id.
        finished: by id.
        owned: the live rows by their owner's node_id, with `None` for those that anybody may claim.
        listeners: told of queues in which rows were left unowned, by the store that listens.
        graph: unique keys, dependencies and batches.
        told: queues in which rows became ready for anybody, and whose listeners are not told yet.
        snapshots: of actors, the newest first, by node_id and name.
        leader: node_id, term, and when its lease ends, as microseconds since 1970.
    """

    clock: Callable[[], int] = wall_clock
    nodes: dict[str, MemoryNode] = field(default_factory=dict)
    live: dict[bytes, Record] = field(default_factory=dict)
    finished: dict[bytes, Record] = field(default_factory=dict)
    owned: dict[int | None, dict[bytes, Record]] = field(default_factory=lambda: {None: {}})
    listeners: dict[MemoryStore, Callable[[frozenset[str]], None]] = field(default_factory=dict)
    graph: MemoryGraph = field(default_factory=MemoryGraph)
    told: set[str] = field(default_factory=set)
    snapshots: dict[tuple[int, str], list[StoredSnapshot]] = field(default_factory=dict)
    leader: tuple[int, int, int] = (0, 0, 0)

    def give(self, record: Record, node: str | None) -> None:
        """A live row has another owner."""
        self.owned[self._owner(record.node)].pop(record.id, None)
        record.node = node
        self.owned[self._owner(node)][record.id] = record

    def add(self, record: Record, node: str | None) -> Record:
        """Keep a copy of a new live job; give it."""
        row = stored(record, node)
        self.live[row.id] = self.owned[self._owner(node)][row.id] = row
        return row

    def finish(self, record: Record, node: str | None) -> None:
        """A live row has ended."""
        del self.live[record.id]
        self.owned[self._owner(record.node)].pop(record.id, None)
        record.node = node
        self.finished[record.id] = record

    def _owner(self, node: str | None) -> int | None:
        return None if node is None else self.nodes[node].node_id


def stored(record: Record, node: str | None) -> Record:
    """Give the record as it will be read back."""
    row = copy(record)
    row.fence = row.attempt
    row.dirty = False
    row.node = node
    if row.extra is not None and row.extra.begun:
        row.extra = msgspec.structs.replace(row.extra, begun=0)
    return row
