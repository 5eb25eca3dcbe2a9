"""What several memory stores share, as several connections share one database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import JobNotFound, OwnedElsewhere
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.memory_crons import CronData
from kathikon_actors.store.memory_declarations import DeclarationData
from kathikon_actors.store.memory_graph import MemoryGraph
from kathikon_actors.store.memorybroadcasts import BroadcastData
from kathikon_actors.store.memorylimits import LimitData
from kathikon_actors.store.protocol import Changed
from kathikon_actors.telemetry.telling import counts_of, note_batch, note_inserted

if TYPE_CHECKING:
    from kathikon_actors.actors.snapshots.sink import StoredSnapshot
    from kathikon_actors.store.figures import Cell, LastError
    from kathikon_actors.store.memory import MemoryStore
    from kathikon_actors.store.memory_commands import MemoryCommand, MemoryQuestion
    from kathikon_actors.store.protocol import Lane, Membership
    from kathikon_actors.store.queue_store import QueueSettings, RunningQueue

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
    session: object = None
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
        broadcasts: what was announced to all nodes.
        limits: what nodes hold of limits that they share.
        listeners: told of queues in which rows were left unowned, by the store that listens.
        commands: what operators want of jobs that a node owns, by number; `questions` to nodes likewise.
        last_command: the number of the newest of these.
        control: who is told of commands and the like, by topic and store.
        archived: what ended long ago.
        figures: by time and node_id.
        last_errors: by worker.
        queues: what operators have set.
        node_queues: the queues that each node runs.
        graph: unique keys, dependencies and batches.
        told: queues in which rows became ready for anybody, and whose listeners are not told yet.
        snapshots: of actors, the newest first, by node_id and name.
        crons: the cron entries.
        declared: what workers declare.
        leader: node_id, term, and when its lease ends, as microseconds since 1970.
    """

    clock: Callable[[], int] = wall_clock
    nodes: dict[str, MemoryNode] = field(default_factory=dict)
    live: dict[bytes, Record] = field(default_factory=dict)
    finished: dict[bytes, Record] = field(default_factory=dict)
    owned: dict[int | None, dict[bytes, Record]] = field(default_factory=lambda: {None: {}})
    broadcasts: BroadcastData = field(default_factory=BroadcastData)
    limits: LimitData = field(default_factory=LimitData)
    listeners: dict[MemoryStore, Callable[[frozenset[str]], None]] = field(default_factory=dict)
    commands: dict[int, MemoryCommand] = field(default_factory=dict)
    questions: dict[int, MemoryQuestion] = field(default_factory=dict)
    last_command: int = 0
    control: dict[str, dict[int, Callable[[], None]]] = field(default_factory=dict)
    archived: dict[bytes, Record] = field(default_factory=dict)
    figures: dict[tuple[int, int], dict[tuple[str, str], Cell]] = field(default_factory=dict)
    last_errors: dict[str, LastError] = field(default_factory=dict)
    queues: dict[str, QueueSettings] = field(default_factory=dict)
    node_queues: dict[str, list[RunningQueue]] = field(default_factory=dict)
    graph: MemoryGraph = field(default_factory=MemoryGraph)
    told: set[str] = field(default_factory=set)
    snapshots: dict[tuple[int, str], list[StoredSnapshot]] = field(default_factory=dict)
    leader: tuple[int, int, int] = (0, 0, 0)
    crons: CronData = field(default_factory=CronData)
    declared: DeclarationData = field(default_factory=DeclarationData)

    def known(self, job_id: bytes) -> Record | None:
        """Give the row of a job, wherever it is: its id is not given again."""
        return self.live.get(job_id) or self.finished.get(job_id) or self.archived.get(job_id)

    def row(self, job_id: bytes) -> Record:
        """Give the row of a job that is there."""
        return self.live.get(job_id) or self.finished[job_id]

    def is_held(self, record: Record) -> bool:
        """Whether a live node owns this live row."""
        return record.node is not None and self.is_alive(record.node)

    def is_alive(self, name: str) -> bool:
        """Whether a node of this name lives."""
        node = self.nodes.get(name)
        return node is not None and node.session is not None and node.lease_until > self.clock()

    def next_command(self) -> int:
        """Give a number for a command or a question."""
        self.last_command += 1
        return self.last_command

    def tell_control(self, topic: str) -> None:
        """Wake those who listen to a topic."""
        for wake in list(self.control.get(topic, {}).values()):
            wake()

    def apply(
        self, job_id: bytes, change: Change, *, membership: Membership | None = None, queues: Collection[str] = ()
    ) -> Changed:
        """Apply an operator's action to one row; see `Store.change`."""
        before = self.live.get(job_id) or self.finished.get(job_id)
        if before is None:
            raise JobNotFound(as_uuid(job_id), archived=job_id in self.archived)
        finished = job_id in self.finished
        if not finished and change.action == "rerun":
            change.check(before)
        if not finished and self.is_held(before):
            raise OwnedElsewhere(as_uuid(job_id), before.node or "")
        if change.is_done(before):
            return Changed(copy(before))
        record = copy(before)
        record.node = None
        if finished:
            change.check(before)
            self.graph.retake(self, before, change)
        made = change.apply(record)
        if finished:
            if record.state not in TERMINAL_STATES:
                self.graph.gather(self, record)
            del self.finished[job_id]
        else:
            holder = self.nodes.get(before.node) if before.node is not None else None
            del self.live[job_id], self.owned[holder.node_id if holder is not None else None][job_id]
        if record.state in TERMINAL_STATES:
            self.finished[job_id] = stored(record, before.node if finished else None)
        for changed in (record, made):
            if changed is not None and changed.state not in TERMINAL_STATES:
                mine = membership is not None and changed.queue in queues
                owner = membership if mine else None
                row = stored(changed, None if owner is None else owner.node)
                self.live[row.id] = self.owned[None if owner is None else owner.node_id][row.id] = row
        if not finished and record.state in TERMINAL_STATES:
            self.graph.end(self, [self.finished[job_id]], lambda _queue: None)
        elif finished and record.state not in TERMINAL_STATES:
            for batch in self.graph.put_back(record, before.state):
                note_batch(batch.id, "retried", *counts_of(batch))
        if made is not None:
            note_inserted([made])
        return Changed(copy(self.row(job_id)), None if made is None else copy(self.row(made.id)))

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
    row.durability = "commit"
    row.node = node
    if row.extra is not None and (row.extra.begun or row.extra.opened):
        row.extra = msgspec.structs.replace(row.extra, begun=0, opened=False)
    return row
