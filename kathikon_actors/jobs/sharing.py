"""How the nodes of a cluster share the tokens of one limit: who holds how many, who waits, who is to give way.

A token is the right to run one job. A node asks for as many as it can use and keeps them while it has work; when
others wait it gives back what is above its fair share as its jobs end. Free tokens go to whoever holds the fewest;
of equals to the one who was served longest ago, so that a limit of one goes round.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heapify, heapreplace

__all__ = ["Holder", "Settled", "fair_shares", "hand_out", "settle"]


@dataclass
class Holder:
    """What one node has of one limit.

    Attributes:
        node: its number.
        held: tokens that it may use.
        wanted: tokens that it could use, those it holds included.
        served: grows with every hand-out of the limit; the one of this node's last.
    """

    node: int
    held: int = 0
    wanted: int = 0
    served: int = 0


def hand_out(capacity: int, holders: Sequence[Holder]) -> list[Holder]:
    """Give the free tokens to those who wait; tell who got some.

    Args:
        capacity: of the limit. What is held above it (it was lowered) is left to come back by itself.
        holders: of all nodes that live; `held` and `served` are changed.
    """
    free = capacity - sum(holder.held for holder in holders)
    if free <= 0:
        return []
    got = _fill(free, [(holder.held, holder.served, holder) for holder in holders if holder.wanted > holder.held])
    served = max((holder.served for holder in holders), default=0)
    lucky = []
    for holder, number in got:
        served += 1
        holder.held += number
        holder.served = served
        lucky.append(holder)
    return lucky


def fair_shares(capacity: int, holders: Iterable[Holder]) -> dict[int, int]:
    """Give what each node may keep when all that is wanted were handed out anew."""
    waiting = [(0, holder.served, holder) for holder in holders if holder.wanted > 0]
    return {holder.node: number for holder, number in _fill(capacity, waiting)}


def _fill(free: int, waiting: list[tuple[int, int, Holder]]) -> list[tuple[Holder, int]]:
    """Raise the lowest first, each up to what it wants, in order of service among equals."""
    got: dict[int, int] = {}
    holders = {holder.node: holder for _, _, holder in waiting}
    levels = [(level, served, holder.node, holder.wanted - level) for level, served, holder in waiting]
    heapify(levels)
    while free > 0 and levels:
        level, served, node, needs = levels[0]
        if needs <= 0:
            levels[0] = levels[-1]
            levels.pop()
            heapify(levels)
            continue
        if len(levels) == 1:
            step = min(needs, free)
        else:
            # Up to the next level at once, or a part of what all may have: large numbers take few steps.
            gap = min(other[0] for other in levels[1:3]) - level
            step = max(1, min(needs, gap or free // (2 * len(levels)), free))
        got[node] = got.get(node, 0) + step
        free -= step
        heapreplace(levels, (level + step, served, node, needs - step))
    return [(holders[node], number) for node, number in got.items()]


@dataclass(frozen=True)
class Settled:
    """What a request for tokens came to.

    Attributes:
        held: tokens that the node has now.
        share: what it may keep when its jobs end: less than it holds when others wait.
        nudge: others have got tokens, or are to give some back: they should ask again.
    """

    held: int
    share: int
    nudge: bool


def settle(capacity: int, holders: list[Holder], node: int, known: int, kept: int, wanted: int) -> Settled:
    """A node says what it keeps and what it wants; free tokens are handed out.

    Args:
        capacity: of the limit.
        holders: of all nodes that live; changed, and the node's own is added when it is missing.
        node: who asks.
        known: tokens that it had by the last answer; what is there above that was given to it since.
        kept: those of them that it goes on holding; the rest comes back.
        wanted: tokens that it could use, from `kept` up.
    """
    mine = next((holder for holder in holders if holder.node == node), None)
    if mine is None:
        mine = Holder(node)
        holders.append(mine)
    waited = mine.wanted > mine.held
    mine.held = min(mine.held, kept + max(0, mine.held - known))
    mine.wanted = max(wanted, mine.held)
    lucky = hand_out(capacity, holders)
    waits = mine.wanted > mine.held
    others = len(holders) > 1
    nudge = any(holder is not mine for holder in lucky) or (others and waits and not waited)
    share = fair_shares(capacity, holders).get(node, 0) if others else mine.held
    return Settled(mine.held, share, nudge)
