"""Leadership on a Postgres connection: one row, one lease, by the database's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = ["LeaderStore", "lead", "resign"]


class LeaderStore(Protocol):
    """The part of a store that says which node leads."""

    async def lead(self, membership: Membership, lease: float) -> int | None:
        """Become or stay the leader for `lease` seconds; give the term, or `None` while another node leads.

        The term is the same for as long as one node leads, and grows when another one does. A membership whose
        epoch was replaced does not lead.
        """
        ...

    async def resign(self, membership: Membership) -> None:
        """Let another node lead at once; without effect when this node does not."""


async def lead(raw: Raw, membership: Membership, lease: float) -> int | None:
    """See `LeaderStore.lead`."""
    term: int | None = await raw.fetchval(statement("lead"), membership.node_id, membership.epoch, lease)
    return term


async def resign(raw: Raw, membership: Membership) -> None:
    """See `LeaderStore.resign`."""
    await raw.execute(statement("resign"), membership.node_id)
