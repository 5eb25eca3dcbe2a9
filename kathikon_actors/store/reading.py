"""What a node reads and takes besides its commits: its own rows, rows that nobody owns, and giving them back.

Each function is one asyncio piece of work for `Connection.run`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.protocol import Membership, Unowned
from kathikon_actors.store.rows import decode_rows, pg_id, us_of
from kathikon_actors.store.statements import statement
from kathikon_actors.store.usual import decode_owned

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.lanes import Fence

__all__ = ["claim_rows", "load_rows", "look_at_rows", "release_rows"]


async def load_rows(raw: Raw, fence: Fence, membership: Membership, after: bytes | None, limit: int) -> list[Record]:
    """Give a page of the node's own live rows; see `Store.load_owned`."""
    # What an earlier connection had under way has ended before we look, and will claim nothing more.
    await fence.key(raw, membership)
    position = None if after is None else pg_id(after)
    while True:
        rows = await raw.fetch(statement("load_owned"), membership.node_id, position, membership.epoch, limit)
        if not rows:
            if not await raw.fetchval(statement("is_member"), membership.node_id, membership.epoch):
                raise LeaseLost(membership.node, membership.epoch)
            return []
        records = decode_owned(rows, membership.node)
        if records:
            return records
        # A page of nothing but rows that cannot be read must not look like the end.
        position = rows[-1]["id"]


async def claim_rows(
    raw: Raw, fence: Fence, membership: Membership, queues: list[str], limit: int, passing: list[str]
) -> list[Record]:
    """Take due rows that no node owns; see `Store.claim`."""
    *_, session = await fence.key(raw, membership)
    rows = await raw.fetch(statement("claim"), membership.node_id, membership.epoch, queues, limit, session, passing)
    if not rows[0]["member"]:
        raise LeaseLost(membership.node, membership.epoch)
    if rows[0]["id"] is None:
        return []
    records = decode_rows(rows, membership.node)
    records.sort(key=lambda record: (-record.priority, record.scheduled_at, record.id))
    return records


async def release_rows(raw: Raw, fence: Fence, membership: Membership, ids: list[Any]) -> None:
    """Let any node claim these rows; see `Store.release`."""
    *_, session = await fence.key(raw, membership)
    if not await raw.fetchval(statement("release"), membership.node_id, membership.epoch, ids, session):
        raise LeaseLost(membership.node, membership.epoch)


async def look_at_rows(raw: Raw, queues: list[str], passing: Mapping[str, Collection[str]]) -> dict[str, Unowned]:
    """Tell what of these queues nobody owns; see `Store.look`."""
    found = {}
    pairs = [(queue, worker) for queue, workers in passing.items() for worker in workers]
    passed = [queue for queue, _ in pairs], [worker for _, worker in pairs]
    for queue, priority, scheduled_at, job_id, due_in in await raw.fetch(statement("look"), queues, *passed):
        best = None if job_id is None else (-priority, us_of(scheduled_at), job_id.bytes)
        found[queue] = Unowned(best, due_in)
    return found
