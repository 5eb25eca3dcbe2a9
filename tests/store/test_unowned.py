"""Rows that nobody owns, and nodes that are dead: what every store promises about them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.errors import LeaseLost, StoreUnavailable
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.protocol import DeadNode, Membership, Store, Unowned, key_of
from tests.store.conftest import Backend
from tests.support.records import MINUTE, as_stored, completed, new_record, now_us
from tests.support.rounds import rounds
from tests.support.waiting import eventually

T = TypeVar("T")

ROUNDS = rounds(200)


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """Call again while the store is cut off, as its users do."""
    with trio.fail_after(20):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await trio.sleep(0.005)


async def dead_node(store: Store, membership: Membership, name: str) -> DeadNode:
    """Wait until a node is dead; it is fenced then."""
    with trio.fail_after(20):
        while True:
            for dead in await store.fence_dead(membership):
                if dead.node == name:
                    return dead
            await trio.sleep(0.002)


async def take_all(store: Store, membership: Membership, dead: DeadNode, limit: int) -> list[Record]:
    taken: list[Record] = []
    while page := await store.take_over(membership, dead, taken[-1].id if taken else None, limit):
        taken += page
    return taken


# --- stored unowned


@pytest.mark.parametrize("size", [1, 120])
@pytest.mark.parametrize("may_conflict", [False, True])
async def test_rows_may_be_stored_for_whoever_claims_them(store: Store, size: int, may_conflict: bool) -> None:
    """The same commit holds rows that are ours and rows that are nobody's."""
    one, two = await store.join("a", 30), await store.join("b", 30)
    mine, free = [new_record() for _ in range(size)], [new_record() for _ in range(size)]
    await store.commit_inserts(
        one, 1, [*mine, *free], may_conflict=may_conflict, unowned={record.id for record in free}
    )
    assert await store.load_owned(one, None, 1000) == [as_stored(record, "a") for record in mine]
    assert await store.claim(two, ["default"], 1000) == [as_stored(record, "b") for record in free]
    assert await store.last_batch(one, "inserts") == 1


async def test_an_unowned_row_that_is_tried_again_is_this_very_row_whoever_has_it(store: Store) -> None:
    """It may have been claimed, or even finished, by another node in between; another job of that id conflicts."""
    one, two = await store.join("a", 30), await store.join("b", 30)
    records = [new_record() for _ in range(3)]
    ids = {record.id for record in records}
    await store.commit_inserts(one, 1, records, may_conflict=False, unowned=ids)
    claimed = await store.claim(two, ["default"], 2)
    await store.commit_outcomes(two, 1, [completed(claimed[0])])
    assert await store.commit_inserts(one, 2, records, may_conflict=True, unowned=ids) == set()
    assert await store.load_owned(one, None, 10) == []
    other = [new_record(id=record.id, inserted_at=record.inserted_at + 1) for record in records]
    assert await store.commit_inserts(one, 3, other, may_conflict=True, unowned=ids) == ids
    assert len(await store.claim(two, ["default"], 10)) == 1


# --- hearing and looking


async def test_who_listens_is_told_which_queues_have_rows_that_nobody_owns(backend: Backend) -> None:
    """Rows stored so and rows released; not of the store's own doing."""
    here, there = await backend.connect(), await backend.connect()
    one, two = await here.join("a", 30), await there.join("b", 30)
    heard: list[frozenset[str]] = []
    own: list[frozenset[str]] = []
    await here.listen(heard.append)
    await here.listen(heard.append)
    await there.listen(own.append)
    mail = new_record(queue="mail")
    await there.commit_inserts(two, 1, [mail, new_record()], may_conflict=False, unowned={mail.id})
    await eventually(lambda: heard == [frozenset({"mail"})], "told of the insert")
    mine = [new_record(queue=name) for name in ("pdf", "mail")]
    await there.commit_inserts(two, 2, mine, may_conflict=True)
    await there.release(two, [record.id for record in mine])
    await eventually(lambda: heard[1:] == [frozenset({"mail", "pdf"})], "told of the release")
    again = new_record(queue="again")
    await there.commit_inserts(two, 3, [again], may_conflict=True, unowned={again.id})
    await eventually(lambda: heard[2:] == [frozenset({"again"})], "told of the careful insert")
    await here.release(one, [new_record().id])
    assert own == []


async def test_a_look_tells_the_best_ready_row_and_when_the_next_is_due(store: Store) -> None:
    """By queue; rows that somebody owns do not count."""
    membership = await store.join("a", 30)
    now = now_us()
    best = new_record(priority=3, scheduled_at=now - 5)
    ready = [new_record(priority=3, scheduled_at=now), best, new_record(priority=1, scheduled_at=now - 9)]
    later = [new_record(state="retryable", scheduled_at=now + n * MINUTE, queue="mail") for n in (3, 2)]
    over = new_record(state="scheduled", scheduled_at=now - MINUTE, queue="over")
    free = [*ready, *later, over]
    owned = new_record(priority=9, queue="mail")
    await store.commit_inserts(membership, 1, [*free, owned], may_conflict=False, unowned={r.id for r in free})
    found = await store.look(["default", "mail", "over", "none"])
    assert found["default"] == Unowned(key_of(best), None)
    assert found["mail"].best is None and 110 < (found["mail"].due_in or 0) <= 120
    assert (found["over"].due_in or 0) < -50
    assert found["none"] == Unowned()


async def test_a_look_and_a_claim_pass_over_the_workers_that_they_are_told_of(store: Store) -> None:
    """In the queues that they are told for; due rows too."""
    membership = await store.join("a", 30)
    now = now_us()
    held = [new_record(worker="held", priority=3, queue=queue) for queue in ("one", "two")]
    due = new_record(worker="held", state="retryable", scheduled_at=now - MINUTE, queue="one")
    free = [new_record(worker=worker, queue="one") for worker in ("free", "other")]
    rows = [*held, due, *free]
    await store.commit_inserts(membership, 1, rows, may_conflict=False, unowned={r.id for r in rows})
    found = await store.look(["one", "two"], {"one": {"held", "other"}})
    assert found == {"one": Unowned(key_of(free[0]), None), "two": Unowned(key_of(held[1]), None)}
    assert await store.claim(membership, ["one"], 10, {"held", "other"}) == [as_stored(free[0], "a")]
    assert await store.claim(membership, ["one"], 10, {"held"}) == [as_stored(free[1], "a")]
    assert {record.id for record in await store.claim(membership, ["one"], 10)} == {held[0].id, due.id}


# --- the dead


async def test_a_node_whose_lease_ran_out_is_fenced_and_its_rows_are_taken_over(backend: Backend) -> None:
    """`orphaned` grows, an executing row comes as it is; the dead node commits and renews nothing more."""
    first, second = await backend.connect(), await backend.connect()
    old, new = await first.join("old", 0.05), await second.join("new", 30)
    records = [new_record() for _ in range(7)]
    await retried(lambda: first.commit_inserts(old, 1, records, may_conflict=True))
    machine.begin(records[2], now_us())
    records[2].fence = 0
    await retried(lambda: first.commit_outcomes(old, 1, [records[2]]))
    dead = await dead_node(second, new, "old")
    assert (dead.node_id, dead.crashed) == (old.node_id, True)
    for call in (
        lambda: first.renew(old, 30),
        lambda: first.commit_inserts(old, 2, [new_record()], may_conflict=False),
        lambda: first.commit_outcomes(old, 2, [completed(records[0])]),
        lambda: first.claim(old, ["default"], 1),
        lambda: first.release(old, [records[0].id]),
    ):
        with pytest.raises(LeaseLost):
            await retried(call)
    taken = await take_all(second, new, dead, 3)
    for record in records:
        record.orphaned = 1
    assert taken == [as_stored(record, "new") for record in records]
    assert await second.load_owned(new, None, 100) == taken
    assert await second.fence_dead(new) == []
    again = await retried(lambda: first.join("old", 30))
    assert again.epoch > old.epoch
    assert await first.load_owned(again, None, 10) == []
    await first.commit_inserts(again, 1, [new_record()], may_conflict=False)


async def test_the_rows_of_a_node_that_left_in_order_are_not_orphans(store: Store) -> None:
    """Nobody died."""
    left, new = await store.join("left", 30), await store.join("new", 30)
    record = new_record()
    await store.commit_inserts(left, 1, [record], may_conflict=False)
    assert await store.fence_dead(new) == []
    await store.leave(left)
    (dead,) = await store.fence_dead(new)
    assert (dead.node, dead.crashed) == ("left", False)
    assert await take_all(store, new, dead, 10) == [as_stored(record, "new")]


async def test_a_node_that_lives_again_keeps_its_rows(backend: Backend) -> None:
    """Who came back before the rescuer took a page goes on with everything."""
    first, second = await backend.connect(), await backend.connect()
    old, new = await first.join("old", 30), await second.join("new", 30)
    records = [new_record() for _ in range(4)]
    await first.commit_inserts(old, 1, records, may_conflict=False)
    await first.leave(old)
    (dead,) = await second.fence_dead(new)
    assert len(await second.take_over(new, dead, None, 1)) == 1
    again = await first.join("old", 30)
    assert await second.take_over(new, dead, None, 10) == []
    assert len(await first.load_owned(again, None, 10)) == 3
    await first.commit_inserts(again, 1, [new_record()], may_conflict=False)


async def test_who_lost_its_own_lease_takes_nothing_over(store: Store) -> None:
    """A rescuer is fenced as everybody is."""
    left, me = await store.join("left", 30), await store.join("me", 30)
    await store.commit_inserts(left, 1, [new_record()], may_conflict=False)
    await store.leave(left)
    (dead,) = await store.fence_dead(me)
    await store.join("me", 30)
    with pytest.raises(LeaseLost):
        await store.fence_dead(me)
    with pytest.raises(LeaseLost):
        await store.take_over(me, dead, None, 10)


async def test_two_rescuers_share_the_rows_of_a_dead_node_while_it_still_tries_to_commit(backend: Backend) -> None:
    """200 rounds: every row goes to one of the two, none stays behind, no commit of the dead gets through after."""
    stores = [await backend.connect() for _ in range(3)]
    rescuers = [await stores[number].join(f"r{number}", 600) for number in range(2)]
    for number in range(ROUNDS):
        victim = await stores[2].join("victim", 0.004)
        records = [new_record() for _ in range(7)]
        acknowledged: set[bytes] = set()
        got: list[list[Record]] = [[], []]
        swept = trio.Event()

        async def commit(
            victim: Membership = victim, records: list[Record] = records, acknowledged: set[bytes] = acknowledged
        ) -> None:
            for batch, record in enumerate(records, 1):
                try:
                    await stores[2].commit_inserts(victim, batch, [record], may_conflict=False)
                except (LeaseLost, StoreUnavailable):
                    return
                acknowledged.add(record.id)

        async def rescue(which: int, got: list[list[Record]] = got, swept: trio.Event = swept) -> None:
            while not swept.is_set():
                for dead in await stores[which].fence_dead(rescuers[which]):
                    got[which] += await take_all(stores[which], rescuers[which], dead, 2)
                    swept.set()

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(commit)
                nursery.start_soon(rescue, 0)
                nursery.start_soon(rescue, 1)
        ids = [record.id for record in got[0] + got[1]]
        assert len(ids) == len(set(ids))
        assert acknowledged <= set(ids) <= {record.id for record in records}, number
        assert {record.orphaned for record in got[0] + got[1]} <= {1}
        again = await retried(lambda: stores[2].join("victim", 600))
        # The sessions of the dead life were ended; whoever used one may still have to learn of it.
        assert await retried(lambda: stores[2].load_owned(again, None, 10)) == []  # noqa: B023
