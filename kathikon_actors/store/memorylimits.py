"""Limits of the memory store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kathikon_actors.jobs.gcra import Slots, reserve
from kathikon_actors.jobs.sharing import Holder, settle
from kathikon_actors.store.limits import Granted, SlotBid, TokenBid, tag_of
from kathikon_actors.store.protocol import CLAIMABLE_STATES, Membership

if TYPE_CHECKING:
    from kathikon_actors.store.memory import MemoryData, MemoryNode

__all__ = ["LimitData", "MemoryLimits"]


@dataclass
class LimitData:
    """What stores share of their limits.

    Attributes:
        holders: by name and key, each with the epoch under which it holds.
        tats: the state of each rate.
        listeners: told of changes by the store that listens.
    """

    holders: dict[tuple[str, str], list[tuple[int, Holder]]] = field(default_factory=dict)
    tats: dict[tuple[str, str], int] = field(default_factory=dict)
    listeners: dict[object, Callable[[frozenset[str]], None]] = field(default_factory=dict)


class MemoryLimits:
    """Limits in this process' memory.

    Args:
        data: what all stores share.
        begin: a checkpoint that raises when the store is closed.
        member: gives the row of a membership, or raises.
    """

    def __init__(
        self, data: MemoryData, begin: Callable[[], Awaitable[None]], member: Callable[[Membership], MemoryNode]
    ) -> None:
        self._data = data
        self._begin = begin
        self._member = member

    async def bid(self, membership: Membership, tokens: Sequence[TokenBid], slots: Sequence[SlotBid]) -> Granted:
        """See `LimitStore.bid`."""
        await self._begin()
        self._member(membership)
        limits, now = self._data.limits, self._data.clock() * 1000
        told: set[str] = set()
        held = [self._settle(membership, bid, told) for bid in tokens]
        reserved = []
        for wish in slots:
            found = reserve(wish.pacing, limits.tats.get((wish.name, wish.key), 0), now, wish.wanted, wish.horizon)
            if found.count:
                limits.tats[wish.name, wish.key] = found.tat
            reserved.append(Slots(found.count, found.first - now, found.tat - now))
        if told:
            for listener, wake in list(limits.listeners.items()):
                if listener is not self:
                    wake(frozenset(told))
        return Granted(held, reserved)

    def _settle(self, membership: Membership, bid: TokenBid, told: set[str]) -> tuple[int, int]:
        place = (bid.name, bid.key)
        known = self._data.limits.holders.get(place, [])
        alive = [(epoch, holder) for epoch, holder in known if self._holds(epoch, holder)]
        holders = [holder for _, holder in alive]
        settled = settle(bid.capacity, holders, membership.node_id, bid.known, bid.kept, bid.wanted)
        epochs = {holder.node: epoch for epoch, holder in alive}
        left = [
            (epochs.get(holder.node, membership.epoch), holder) for holder in holders if holder.held or holder.wanted
        ]
        if left:
            self._data.limits.holders[place] = left
        else:
            self._data.limits.holders.pop(place, None)
        if settled.nudge:
            told.add(tag_of(bid.name, bid.key))
        return settled.held, settled.share

    def _holds(self, epoch: int, holder: Holder) -> bool:
        node = next(node for node in self._data.nodes.values() if node.node_id == holder.node)
        return node.epoch == epoch and not node.left

    def hear(self, wake: Callable[[frozenset[str]], None]) -> None:
        """See `LimitStore.hear`."""
        self._data.limits.listeners[self] = wake

    async def waiting(self, queue: str, most: int) -> int:
        """See `LimitStore.waiting`."""
        await self._begin()
        unowned = self._data.owned[None].values()
        return min(most, sum(r.queue == queue and r.state in CLAIMABLE_STATES for r in unowned))

    async def sweep(self) -> int:
        """See `LimitStore.sweep`."""
        await self._begin()
        tats, now = self._data.limits.tats, self._data.clock() * 1000
        rested = [place for place, tat in tats.items() if tat < now]
        for place in rested:
            del tats[place]
        return len(rested)
