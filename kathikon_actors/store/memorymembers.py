"""The part of the memory store that knows of nodes: who holds which name, who leads, and what the dead left."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from copy import copy

from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.memory_data import MemoryData, MemoryNode
from kathikon_actors.store.protocol import DeadNode, Membership

__all__ = ["MemoryMembers"]


class MemoryMembers(ABC):
    """Memberships, leadership and rescue on a `MemoryData`."""

    data: MemoryData

    @abstractmethod
    async def _begin(self) -> None: ...

    async def join(self, node: str, lease: float) -> Membership:
        """See `Store.join`."""
        await self._begin()
        nodes = self.data.nodes
        now = self.data.clock()
        row = nodes.get(node)
        if row is None:
            row = nodes[node] = MemoryNode(len(nodes) + 1)
            self.data.owned[row.node_id] = {}
        if row.session not in (None, self) and row.lease_until > now:
            raise NodeNameTaken(node, (row.lease_until - now) / 1e6)
        row.epoch += 1
        row.session = self
        row.lease_until = now + int(lease * 1e6)
        row.batches = {}
        row.left = row.closed = row.swept = False
        return Membership(node, row.node_id, row.epoch)

    async def renew(self, membership: Membership, lease: float) -> None:
        """See `Store.renew`."""
        await self._begin()
        self._member(membership).lease_until = self.data.clock() + int(lease * 1e6)

    async def leave(self, membership: Membership) -> None:
        """See `Store.leave`."""
        await self._begin()
        row = self.data.nodes.get(membership.node)
        if row is not None and row.epoch == membership.epoch:
            # The name's next life counts on from here; until then this number fences the life that left.
            row.epoch += 1
            row.session = None
            row.lease_until = self.data.clock()
            row.left = row.closed = True

    async def lead(self, membership: Membership, lease: float) -> int | None:
        """See `Store.lead`."""
        await self._begin()
        data = self.data
        node = data.nodes.get(membership.node)
        if node is None or node.epoch != membership.epoch:
            return None
        now = data.clock()
        leader, term, until = data.leader
        if leader != node.node_id and until > now:
            return None
        term += leader != node.node_id
        data.leader = (node.node_id, term, now + int(lease * 1e6))
        return term

    async def resign(self, membership: Membership) -> None:
        """See `Store.resign`."""
        await self._begin()
        leader, term, _ = self.data.leader
        if leader == membership.node_id:
            self.data.leader = (leader, term, 0)

    async def fence_dead(self, membership: Membership) -> list[DeadNode]:
        """See `Store.fence_dead`."""
        await self._begin()
        self._member(membership)
        now = self.data.clock()
        dead = []
        for name, row in self.data.nodes.items():
            if row.swept or name == membership.node or (not row.left and row.lease_until > now):
                continue
            if not row.closed:
                row.closed = True
                row.epoch += 1
                row.session = None
            dead.append(DeadNode(name, row.node_id, row.epoch, not row.left))
        return dead

    async def take_over(self, membership: Membership, dead: DeadNode, after: bytes | None, limit: int) -> list[Record]:
        """See `Store.take_over`."""
        await self._begin()
        node = self._member(membership)
        row = self.data.nodes[dead.node]
        if row.epoch != dead.epoch:
            return []
        rows, kept = self.data.owned[row.node_id], self.data.broadcasts.jobs
        page = heapq.nsmallest(
            limit, (job_id for job_id in rows if job_id not in kept and (after is None or job_id > after))
        )
        taken = []
        for job_id in page:
            record = rows.pop(job_id)
            record.node = membership.node
            record.orphaned += dead.crashed
            self.data.owned[node.node_id][job_id] = record
            taken.append(copy(record))
        row.swept = not page
        return taken

    def _member(self, membership: Membership) -> MemoryNode:
        node = self.data.nodes.get(membership.node)
        if node is None or node.epoch != membership.epoch:
            raise LeaseLost(membership.node, membership.epoch)
        return node
