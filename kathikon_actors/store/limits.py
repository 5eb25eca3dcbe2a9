"""What a store does for limits that hold across the cluster: it hands out tokens and slots, fenced by epoch.

Tokens are what running jobs need (`jobs.sharing`), slots are starts of a rate (`jobs.gcra`). A node that left or was
fenced holds no tokens; slots that it had reserved are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from zlib import crc32

from kathikon_actors.jobs.gcra import Pacing, Slots

if TYPE_CHECKING:
    from kathikon_actors.store.protocol import Membership

__all__ = ["Granted", "LimitStore", "SlotBid", "TokenBid", "tag_of"]


@dataclass(frozen=True)
class TokenBid:
    """What a node holds and wants of one limit.

    Attributes:
        capacity: of the limit, on all nodes.
        known: tokens that the node had by the last answer; what it was given since comes on top.
        kept: those of them that it goes on holding; the rest comes back.
        wanted: tokens that it could use, from `kept` up.
    """

    name: str
    key: str
    capacity: int
    known: int
    kept: int
    wanted: int


@dataclass(frozen=True)
class SlotBid:
    """How many starts of a rate a node wants to reserve.

    Attributes:
        horizon: nanoseconds: those that begin later are not reserved.
    """

    name: str
    key: str
    pacing: Pacing
    wanted: int
    horizon: int


@dataclass(frozen=True)
class Granted:
    """The answer to bids, in their order.

    Attributes:
        tokens: those that the node holds now, and its share: less than that when others wait.
        slots: with times counted from the moment of the answer, by the store's clock.
    """

    tokens: list[tuple[int, int]]
    slots: list[Slots]


class LimitStore(Protocol):
    """The part of a store that is about limits."""

    async def bid(self, membership: Membership, tokens: Sequence[TokenBid], slots: Sequence[SlotBid]) -> Granted:
        """Hand out what is free, in one transaction; nodes that are concerned are told.

        Each name and key comes once among the tokens and once among the slots. After `StoreUnavailable` the node may
        hold more than it knows of: its next bid says what it knew of, and nothing that was under way before that
        is counted afterwards.

        Raises:
            LeaseLost: the epoch was replaced; nothing was handed out.
        """
        ...

    def hear(self, wake: Callable[[frozenset[str]], None]) -> None:
        """From now on call `wake` with the tags (`tag_of`) of limits that other nodes did something to.

        An empty set means any limit. It works while `Store.listen` does; a bid now and then makes up for the rest.
        """

    async def waiting(self, queue: str, most: int) -> int:
        """Count the rows of a queue that nobody owns and that have not ended, up to `most`."""
        ...

    async def sweep(self) -> int:
        """Forget up to 10,000 limits that nobody holds anything of; give how many."""
        ...


def tag_of(name: str, key: str) -> str:
    """Give a short name for notices; two limits may share it."""
    return f"{crc32(f'{name} {key}'.encode()):x}"
