"""What a node reads and takes besides its commits: its own rows, rows that nobody owns, and giving them back.

Each function is one asyncio piece of work for `Connection.run`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.protocol import Membership
from kathikon_actors.store.rows import decode_rows, pg_id
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["claim_rows", "load_rows", "release_rows"]


async def load_rows(raw: Raw, membership: Membership, after: bytes | None, limit: int) -> list[Record]:
    """Give a page of the node's own live rows; see `Store.load_owned`."""
    position = None if after is None else pg_id(after)
    while True:
        rows = await raw.fetch(statement("load_owned"), membership.node_id, position, membership.epoch, limit)
        if not rows:
            if not await raw.fetchval(statement("is_member"), membership.node_id, membership.epoch):
                raise LeaseLost(membership.node, membership.epoch)
            return []
        records = decode_rows(rows, membership.node)
        if records:
            return records
        # A page of nothing but rows that cannot be read must not look like the end.
        position = rows[-1]["id"]


async def claim_rows(raw: Raw, membership: Membership, queues: list[str], limit: int) -> list[Record]:
    """Take due rows that no node owns; see `Store.claim`."""
    rows = await raw.fetch(statement("claim"), membership.node_id, membership.epoch, queues, limit)
    if not rows[0]["member"]:
        raise LeaseLost(membership.node, membership.epoch)
    if rows[0]["id"] is None:
        return []
    records = decode_rows(rows, membership.node)
    records.sort(key=lambda record: (-record.priority, record.scheduled_at, record.id))
    return records


async def release_rows(raw: Raw, membership: Membership, ids: list[Any]) -> None:
    """Let any node claim these rows; see `Store.release`."""
    if not await raw.fetchval(statement("release"), membership.node_id, membership.epoch, ids):
        raise LeaseLost(membership.node, membership.epoch)
