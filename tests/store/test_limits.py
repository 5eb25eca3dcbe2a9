"""Tokens and slots, as every store hands them out."""

from __future__ import annotations

import random

import pytest
import trio

from kathikon_actors import LeaseLost
from kathikon_actors.jobs.gcra import NS
from kathikon_actors.jobs.limits import Rate
from kathikon_actors.store.limits import SlotBid, TokenBid, tag_of
from kathikon_actors.store.protocol import Membership, Store
from tests.store.conftest import Backend
from tests.store.test_races import take_over
from tests.store.test_unowned import retried
from tests.support.waiting import eventually

KNOWN: dict[tuple[int, int, str], int] = {}
"""What each life of a node knows to hold, as `TokenGate` remembers it."""


async def tokens(
    store: Store, membership: Membership, kept: int, wanted: int, *, key: str = "", capacity: int = 5
) -> tuple[int, int]:
    place = (id(store), membership.epoch, key)
    bid = TokenBid("worker w", key, capacity, KNOWN.get(place, 0), kept, wanted)
    granted = await store.limits.bid(membership, [bid], [])
    KNOWN[place] = granted.tokens[0][0]
    return granted.tokens[0]


@pytest.fixture(autouse=True)
def forget() -> None:
    """Each test begins with nodes that know nothing."""
    KNOWN.clear()


async def test_a_node_alone_gets_what_it_wants_up_to_the_limit(store: Store) -> None:
    """And gives back what it does not keep."""
    n1 = await store.join("n1", 30)
    assert await tokens(store, n1, 0, 3) == (3, 3)
    assert await tokens(store, n1, 3, 9) == (5, 5)
    assert await tokens(store, n1, 2, 2) == (2, 2)
    assert await tokens(store, n1, 0, 0) == (0, 0)


async def test_keys_are_limits_of_their_own(store: Store) -> None:
    """Also in one bid."""
    n1 = await store.join("n1", 30)
    bids = [TokenBid("worker w", str(key), 2, 0, 0, 5) for key in range(50)]
    granted = await store.limits.bid(n1, bids, [])
    assert granted.tokens == [(2, 2)] * 50


async def test_who_waits_is_told_and_served_when_others_give_back(backend: Backend) -> None:
    """A limit of one between two nodes: the one that holds it learns that it is to give way."""
    first, second = await backend.connect(), await backend.connect()
    n1, n2 = await first.join("n1", 30), await second.join("n2", 30)
    heard: list[frozenset[str]] = []
    first.limits.hear(heard.append)
    await first.listen(lambda _queues: None)
    assert await tokens(first, n1, 0, 1, capacity=1) == (1, 1)
    assert await tokens(second, n2, 0, 1, capacity=1) == (0, 1)
    await eventually(lambda: heard, "the holder is told")
    assert heard[0] == {tag_of("worker w", "")}
    assert await tokens(first, n1, 1, 1, capacity=1) == (1, 0)
    assert (await tokens(first, n1, 0, 1, capacity=1))[0] == 0
    assert (await tokens(second, n2, 0, 1, capacity=1))[0] == 1


async def test_the_tokens_of_a_node_that_left_are_free(backend: Backend) -> None:
    """As soon as it has left in order."""
    first, second = await backend.connect(), await backend.connect()
    n1, n2 = await first.join("n1", 30), await second.join("n2", 30)
    assert await tokens(first, n1, 0, 5) == (5, 5)
    assert (await tokens(second, n2, 0, 5))[0] == 0
    await first.leave(n1)
    assert await tokens(second, n2, 0, 5) == (5, 5)


async def test_the_tokens_of_a_dead_node_are_free_once_it_is_fenced_and_not_before(backend: Backend) -> None:
    """Its lease is over by then, and what it had under way is refused."""
    first, second = await backend.connect(), await backend.connect()
    n1, n2 = await first.join("n1", 0.01), await second.join("n2", 30)
    assert await tokens(first, n1, 0, 5) == (5, 5)
    await trio.sleep(0.02)
    assert (await tokens(second, n2, 0, 5))[0] == 0
    await second.fence_dead(n2)
    assert await tokens(second, n2, 0, 5) == (5, 5)
    with pytest.raises(LeaseLost):
        await retried(lambda: tokens(first, n1, 5, 5))  # its sessions were ended, which it may still have to learn


async def test_a_new_life_of_a_node_holds_nothing(backend: Backend) -> None:
    """Nor is it given what the old one waited for."""
    first, second = await backend.connect(), await backend.connect()
    n1, n2 = await first.join("n1", 30), await second.join("n2", 30)
    assert await tokens(second, n2, 0, 5) == (5, 5)
    assert (await tokens(first, n1, 0, 3))[0] == 0
    await first.close()
    again = await backend.connect()
    n1 = await take_over(again, "n1", 30)
    assert (await tokens(second, n2, 0, 0))[0] == 0
    assert await tokens(again, n1, 0, 5) == (5, 5)


async def test_racing_nodes_never_hold_more_than_the_limit(backend: Backend) -> None:
    """Four nodes, four limits, bids of any kind at the same time: the sums hold after every answer."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    held: dict[tuple[int, str], int] = {}

    async def play(number: int, store: Store, membership: Membership, plan: list[tuple[str, int, int]]) -> None:
        for key, keeps, wants in plan:
            kept = min(keeps, held.get((number, key), 0))
            held[number, key] = kept  # given up before it is told, as a node does it
            answer = await tokens(store, membership, kept, kept + wants, key=key, capacity=3)
            held[number, key] = answer[0]
            assert sum(tokens for (_, k), tokens in held.items() if k == key) <= 3

    async with trio.open_nursery() as nursery:
        for number in range(4):
            store = await backend.connect()
            membership = await store.join(f"n{number}", 30)
            plan = [(rng.choice("abcd"), rng.randrange(4), rng.randrange(4)) for _ in range(60)]
            nursery.start_soon(play, number, store, membership, plan)


async def test_slots_are_spaced_over_all_nodes(backend: Backend) -> None:
    """Reserved in batches by two nodes in turn, no two begin closer than the rate allows."""
    # So slow a rate that the turns themselves take no slot's time, however busy the machine is.
    pacing = Rate(1, per=60, burst=1).pacing
    stores = [await backend.connect() for _ in range(2)]
    nodes = [await store.join(f"n{number}", 30) for number, store in enumerate(stores)]
    begins: list[int] = []
    total = 0
    for turn in range(8):
        bid = SlotBid("worker w rate", "", pacing, 3, 3600 * NS)
        granted = await stores[turn % 2].limits.bid(nodes[turn % 2], [], [bid])
        slots = granted.slots[0]
        assert slots.count == 3
        assert slots.first >= 0 if turn == 0 else slots.first > 0
        total += slots.count
        assert (slots.tat - slots.first) == 3 * pacing.interval
        begins.append(slots.first)
    # The last one begins at least 23 intervals after the first, less the time that passed meanwhile.
    assert begins[-1] + 2 * pacing.interval <= 23 * pacing.interval
    assert total == 24


async def test_a_rate_beyond_its_horizon_gives_nothing_and_says_when(store: Store) -> None:
    """One an hour: the second one must ask again."""
    n1 = await store.join("n1", 30)
    bid = SlotBid("queue q rate", "k", Rate(1, per=3600).pacing, 5, NS // 4)
    first = (await store.limits.bid(n1, [], [bid])).slots[0]
    assert first.count == 1
    second = (await store.limits.bid(n1, [], [bid])).slots[0]
    assert second.count == 0
    assert 3540 * NS < second.tat <= 3600 * NS


async def test_limits_at_rest_are_forgotten(store: Store) -> None:
    """A rate whose time is over is as one that never was; what is held stays."""
    n1 = await store.join("n1", 30)
    bids = [SlotBid("rate", str(key), Rate(10**6).pacing, 1, NS) for key in range(20)]
    await store.limits.bid(n1, [TokenBid("worker w", "", 5, 0, 0, 2)], bids)
    await trio.sleep(0.001)
    assert await store.limits.sweep() == 20
    KNOWN[id(store), n1.epoch, ""] = 2
    assert await tokens(store, n1, 2, 5) == (5, 5)
