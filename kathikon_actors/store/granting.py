"""Limits of the Postgres store: one transaction that locks the limits it is about, settles, and writes back.

Each function is one asyncio piece of work for `Connection.run`. Whoever locks several limits does so in the order of
their names, so that nobody waits in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.jobs.gcra import Slots, reserve
from kathikon_actors.jobs.sharing import Holder, settle
from kathikon_actors.store.lanes import Fence, limits_fence
from kathikon_actors.store.limits import Granted, SlotBid, TokenBid, tag_of
from kathikon_actors.store.listening import LIMITS, Ear
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Connection, Raw
    from kathikon_actors.store.protocol import Membership

__all__ = ["PostgresLimits"]

_SWEPT: Final = 10_000

_LONGEST_NOTICE: Final = 7_900

Place = tuple[str, str]


class PostgresLimits:
    """Limits in Postgres, on a connection of their own.

    Args:
        connection: used for nothing else; it opens with the first bid.
        ear: hears of other nodes' bids.
        check_open: raises when the store is closed.
    """

    def __init__(self, connection: Connection, ear: Ear, check_open: Callable[[], None]) -> None:
        self.connection = connection
        self._ear = ear
        self._check_open = check_open
        self._fence = limits_fence()

    async def bid(self, membership: Membership, tokens: Sequence[TokenBid], slots: Sequence[SlotBid]) -> Granted:
        """See `LimitStore.bid`."""
        self._check_open()
        return await self.connection.run(_grant, self._fence, membership, tokens, slots)

    def hear(self, wake: Callable[[frozenset[str]], None]) -> None:
        """See `LimitStore.hear`."""
        self._ear.limits_changed = wake

    async def waiting(self, queue: str, most: int) -> int:
        """See `LimitStore.waiting`."""
        self._check_open()
        return await self.connection.run(_waiting, queue, most)

    async def sweep(self) -> int:
        """See `LimitStore.sweep`."""
        self._check_open()
        return await self.connection.run(_sweep)


async def _grant(
    raw: Raw, fence: Fence, membership: Membership, tokens: Sequence[TokenBid], slots: Sequence[SlotBid]
) -> Granted:
    """Settle bids; see `LimitStore.bid`."""
    *_, session = await fence.key(raw, membership)
    places = sorted({*((bid.name, bid.key) for bid in tokens), *((wish.name, wish.key) for wish in slots)})
    async with raw.transaction():
        if not await raw.fetchval(statement("limits_fence"), membership.node_id, membership.epoch, session):
            raise LeaseLost(membership.node, membership.epoch)
        tats, now = await _lock(raw, places)
        held, told = await _settle(raw, membership, tokens)
        reserved, moved = [], {}
        for wish in slots:
            found = reserve(wish.pacing, tats[wish.name, wish.key], now, wish.wanted, wish.horizon)
            if found.count:
                moved[wish.name, wish.key] = found.tat
            reserved.append(Slots(found.count, found.first - now, found.tat - now))
        if moved:
            await raw.execute(statement("limits_advance"), *_columns(moved), list(moved.values()))
        if told:
            text = ",".join(sorted(told))
            await raw.execute("SELECT pg_notify($1, $2)", LIMITS, text if len(text) < _LONGEST_NOTICE else "")
        return Granted(held, reserved)


async def _lock(raw: Raw, places: list[Place]) -> tuple[dict[Place, int], int]:
    """Lock the rows of these limits, making those that are missing; give their states and the time, nanoseconds."""
    names, keys = _columns(places)
    tats: dict[Place, int] = {}
    while len(tats) < len(places):  # one that is swept away while we wait for it is made again
        rows = await raw.fetch(statement("limits_lock"), names, keys)
        tats = {(row["name"], row["key"]): row["tat"] for row in rows}
        if len(tats) < len(places):
            await raw.execute(statement("limits_add"), names, keys)
    now: int = await raw.fetchval(statement("limits_now"))
    return tats, now * 1000


async def _settle(
    raw: Raw, membership: Membership, tokens: Sequence[TokenBid]
) -> tuple[list[tuple[int, int]], set[str]]:
    if not tokens:
        return [], set()
    names, keys = _columns([(bid.name, bid.key) for bid in tokens])
    holders: dict[Place, list[Holder]] = defaultdict(list)
    before: dict[tuple[str, str, int], tuple[int, int, int]] = {}
    gone: list[tuple[str, str, int]] = []
    # Tokens are given to the life that asked: should it end meanwhile, they are nobody's.
    epochs: dict[int, int] = {membership.node_id: membership.epoch}
    for name, key, node_id, held, wanted, served, epoch, alive in await raw.fetch(
        statement("limits_holders"), names, keys
    ):
        if alive:
            holders[name, key].append(Holder(node_id, held, wanted, served))
            before[name, key, node_id] = (held, wanted, served)
            epochs[node_id] = epoch
        else:
            gone.append((name, key, node_id))
    answers, told = [], set()
    put: list[tuple[str, str, int, int, int, int, int]] = []
    for bid in tokens:
        of_bid = holders[bid.name, bid.key]
        settled = settle(bid.capacity, of_bid, membership.node_id, bid.known, bid.kept, bid.wanted)
        answers.append((settled.held, settled.share))
        if settled.nudge:
            told.add(tag_of(bid.name, bid.key))
        for holder in of_bid:
            row = (bid.name, bid.key, holder.node)
            after = (holder.held, holder.wanted, holder.served)
            if not holder.held and not holder.wanted:
                if row in before:
                    gone.append(row)
            elif before.get(row) != after:
                put.append((*row, *after, epochs[holder.node]))
    if gone:
        await raw.execute(statement("limits_drop"), *map(list, zip(*gone, strict=True)))
    if put:
        await raw.execute(statement("limits_put"), *map(list, zip(*put, strict=True)))
    return answers, told


async def _waiting(raw: Raw, queue: str, most: int) -> int:
    """Count what nobody owns."""
    counted: int = await raw.fetchval(statement("limits_waiting"), queue, most)
    return counted


async def _sweep(raw: Raw) -> int:
    """Delete limits that nobody holds anything of."""
    swept: int = await raw.fetchval(statement("limits_sweep"), _SWEPT)
    return swept


def _columns(places: Any) -> tuple[list[str], list[str]]:
    return [name for name, _ in places], [key for _, key in places]
