"""Taking the rows of nodes that left or died: first their fences fall, then their rows change hands page by page.

Each function is one asyncio piece of work for `Connection.run`. The row of the dead node is locked in each
transaction, so that a new life of its name comes before or after it, never in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.names import end_sessions
from kathikon_actors.store.protocol import DeadNode, Membership
from kathikon_actors.store.rows import decode_rows, pg_id
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.lanes import Fence

__all__ = ["fence_dead", "take_over_rows"]


async def fence_dead(raw: Raw, membership: Membership) -> list[DeadNode]:
    """Close the lanes of nodes whose lease ran out; see `Store.fence_dead`."""
    if not await raw.fetchval(statement("is_member"), membership.node_id, membership.epoch):
        raise LeaseLost(membership.node, membership.epoch)
    dead = []
    for (node_id,) in await raw.fetch(statement("dead_nodes"), membership.node_id):
        found = await _fence(raw, node_id)
        if found is not None:
            dead.append(found)
    return dead


async def _fence(raw: Raw, node_id: int) -> DeadNode | None:
    async with raw.transaction():
        row = await raw.fetchrow(statement("lock_dead"), node_id)
        if row is None:
            return None
        epoch = row["epoch"]
        if row["open"]:
            # Its sessions first: a stopped process may hold the lanes in the middle of a commit.
            await end_sessions(raw, node_id)
            await raw.execute(statement("close_lanes"), node_id)
            epoch = await raw.fetchval(statement("fence_node"), node_id)
        return DeadNode(row["name"], node_id, epoch, row["crashed"])


async def take_over_rows(
    raw: Raw, fence: Fence, membership: Membership, dead: DeadNode, after: bytes | None, limit: int
) -> list[Record]:
    """Make a page of a dead node's rows our own; see `Store.take_over`."""
    *_, session = await fence.key(raw, membership)
    position = None if after is None else pg_id(after)
    while True:
        async with raw.transaction():
            if not await raw.fetchval(statement("member_for_share"), membership.node_id, membership.epoch, session):
                raise LeaseLost(membership.node, membership.epoch)
            if not await raw.fetchval(statement("same_life"), dead.node_id, dead.epoch):
                return []
            rows = await raw.fetch(
                statement("take_over"), membership.node_id, dead.node_id, position, limit, int(dead.crashed)
            )
            if not rows:
                await raw.execute(statement("forget_lanes"), dead.node_id)
                return []
        records = decode_rows(rows, membership.node)
        if records:
            records.sort(key=lambda record: record.id)
            return records
        # A page of nothing but rows that cannot be read must not look like the end.
        position = max(row["id"] for row in rows)
