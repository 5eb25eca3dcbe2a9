"""Claims of a fair queue: a row of each partition that a node has nothing of: nobody waits behind the crowd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.store.rows import decode_rows
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.lanes import Fence
    from kathikon_actors.store.protocol import Membership

__all__ = ["FairStore", "claim_each"]


class FairStore(Protocol):
    """The part of a store that is about fair queues."""

    async def claim_each(self, membership: Membership, queue: str, present: Sequence[str], limit: int) -> list[Record]:
        """Take the best due row that no node owns of each partition, for up to `limit` partitions.

        Rows without a partition key are left to `Store.claim`, and so is what waited for its time. Otherwise as that.

        Args:
            membership: fences the claim.
            queue: a fair one.
            present: partitions that are passed over.
            limit: of partitions.

        Raises:
            LeaseLost: the epoch was replaced; nothing was claimed.
        """
        ...


async def claim_each(
    raw: Raw, fence: Fence, membership: Membership, queue: str, present: list[str], limit: int
) -> list[Record]:
    """See `FairStore.claim_each`."""
    *_, session = await fence.key(raw, membership)
    rows = await raw.fetch(
        statement("claim_fair"), membership.node_id, membership.epoch, queue, present, limit, session
    )
    if not rows[0]["member"]:
        raise LeaseLost(membership.node, membership.epoch)
    return [] if rows[0]["id"] is None else decode_rows(rows, membership.node)
