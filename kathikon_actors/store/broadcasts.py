"""What a store does for broadcast queues: it knows what was announced, and which node has its job of it already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.protocol import Membership

__all__ = ["BROADCASTS", "BroadcastStore"]

BROADCASTS: Final = "broadcasts"
"""The topic of `Store.listen_control` under which announcements are told."""


class BroadcastStore(Protocol):
    """The part of a store that is about broadcast queues."""

    async def announce(self, jobs: Sequence[tuple[bytes, str, float]]) -> None:
        """Announce jobs, each once however often this is called; every node that listens is told.

        Args:
            jobs: id, queue, and the seconds from now within which nodes that come are given it.
        """

    async def deliver(self, membership: Membership, queues: Sequence[str], limit: int) -> list[Record]:
        """Make this node's own jobs of what was announced in these queues and it has none of yet, in one transaction.

        They are owned by the node, and by nobody else ever: not rescued, not given back. After `StoreUnavailable`
        some may have been made that the caller was not told of, as with `Store.claim`.

        Raises:
            LeaseLost: the epoch was replaced; nothing was made.
        """
        ...

    async def sweep(self) -> int:
        """Forget announcements whose time ended a day ago and of which no job is left; give how many."""
        ...
