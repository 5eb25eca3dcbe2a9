"""How rows come into a node's memory and leave it: what a lost answer left in doubt, and what makes room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import pytest

from kathikon_actors.jobs.errors import LeaseLost, StoreUnavailable
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record
from kathikon_actors.node.intake import SHED_AFTER, Intake
from kathikon_actors.store.border import Border
from kathikon_actors.store.memory import MemoryData, MemoryStore
from kathikon_actors.store.protocol import Membership, key_of
from kathikon_actors.store.table import Table
from tests.support.records import MINUTE, completed, new_record, now_us


class LossyStore(MemoryStore):
    """Does what it is asked for, and loses the answer when it is told to."""

    loses: str | None = None
    meanwhile: Callable[[], Awaitable[object]] | None = None
    """Is done while a claim is on its way back."""

    async def claim(
        self, membership: Membership, queues: Sequence[str], limit: int, passing: Collection[str] = ()
    ) -> list[Record]:
        records = await super().claim(membership, queues, limit, passing)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self._lose("claim", records)

    async def claim_each(self, membership: Membership, queue: str, present: Sequence[str], limit: int) -> list[Record]:
        records = await super().claim_each(membership, queue, present, limit)
        if self.meanwhile is not None:
            await self.meanwhile()
        return records

    async def release(self, membership: Membership, ids: Sequence[bytes]) -> None:
        return self._lose("release", await super().release(membership, ids))

    def _lose(self, what: str, answer: Any) -> Any:
        if self.loses == what:
            raise StoreUnavailable("the answer was lost")
        return answer


class World:
    """A table and its intake on a store of memory, and another node on the same data."""

    def __init__(self, limit: int) -> None:
        self.data = MemoryData()
        self.store = LossyStore(self.data)
        self.other = MemoryStore(self.data)
        self.border = Border(limit)
        self.table = Table({"default": self.border})
        self.ready: list[Record] = []
        self.batch = 0

    async def open(self) -> None:
        await self.store.open()
        await self.other.open()
        self.member = await self.store.join("a", 1e6)
        self.elsewhere = await self.other.join("b", 1e6)
        self.intake = Intake(self.table, self.store, self.member, ["default"], now_us)
        self.table.attach_producer("default", self.ready.extend)

    async def owned(self) -> set[bytes]:
        """What the store says is ours."""
        return {record.id for record in await self.store.load_owned(self.member, None, 10_000)}

    async def hold(self, records: list[Record]) -> None:
        """Rows that are ours in the store and in the table."""
        self.batch += 1
        await self.store.commit_inserts(self.member, self.batch, records, may_conflict=False)
        for record in records:
            record.fence, record.node = 0, "a"
        self.table.adopt(records)


async def world(limit: int = 1000) -> World:
    here = World(limit)
    await here.open()
    return here


def ids(records: Sequence[Record]) -> set[bytes]:
    return {record.id for record in records}


# --- what is ours without our knowing


@pytest.mark.parametrize("size", [1, 7, 200])
async def test_rows_of_a_claim_whose_answer_was_lost_are_found_and_run(size: int) -> None:
    """They were the store's word for ours and nobody would ever have run them."""
    here = await world()
    records = [new_record() for _ in range(size)]
    await here.other.insert_unowned(records)
    here.store.loses = "claim"
    with pytest.raises(StoreUnavailable):
        await here.intake.claim("default", size)
    assert here.table.in_doubt and not here.table.records
    here.store.loses = None
    assert await here.intake.reconcile() == size
    assert not here.table.in_doubt
    assert ids(here.ready) == set(here.table.records) == ids(records) == await here.owned()


async def test_a_second_look_finds_nothing_and_pushes_nobody_twice() -> None:
    """What is known is left alone, with whatever it is about to become."""
    here = await world()
    records = [new_record() for _ in range(5)]
    await here.hold(records)
    here.ready.clear()
    assert await here.intake.reconcile() == 0
    assert here.ready == [] and len(here.table.records) == 5


async def test_what_ended_here_but_is_not_committed_yet_is_not_taken_for_a_stray() -> None:
    """The store still has its old row; it is known, so it does not run again."""
    here = await world()
    [record] = [new_record()]
    await here.hold([record])
    done = completed(record)
    here.ready.clear()
    for field in ("state", "attempt", "history", "result", "finished_at"):
        setattr(record, field, getattr(done, field))
    here.table.changed([record])
    assert await here.intake.reconcile() == 0
    assert here.ready == []


async def test_what_memory_has_no_room_for_goes_back_to_whoever_has() -> None:
    """Found again by a claim, of any node."""
    here = await world(limit=10)
    records = [new_record() for _ in range(30)]
    await here.other.insert_unowned(records)
    here.store.loses = "claim"
    with pytest.raises(StoreUnavailable):
        await here.intake.claim("default", 30)
    here.store.loses = None
    await here.intake.reconcile()
    assert len(here.table.records) == 10 and await here.owned() == set(here.table.records)
    elsewhere = await here.other.claim(here.elsewhere, ["default"], 100)
    assert ids(elsewhere) == ids(records) - set(here.table.records)


async def test_a_look_under_an_epoch_that_was_replaced_ends_and_leaves_the_census_closed() -> None:
    """The next look begins anew."""
    here = await world()
    await here.store.leave(here.member)
    await here.store.join("a", 1e6)
    with pytest.raises(LeaseLost):
        await here.intake.reconcile()
    assert here.table.end_census() == set()


# --- places are kept for what is claimed


@pytest.mark.parametrize("each", [False, True], ids=["the best", "one of each partition"])
async def test_what_is_inserted_while_a_claim_is_on_its_way_does_not_take_its_places(each: bool) -> None:
    """Both together are never more than memory may hold; afterwards the places that the claim left empty are free."""
    here = await world(limit=10)
    here.border.fair = each
    await here.hold([new_record() for _ in range(4)])
    await here.other.insert_unowned(
        [new_record(extra=Extra(partition_key=f"outside {n}"), priority=5) for n in range(6)]
    )
    here.border.note(key_of(new_record()))

    async def insert() -> None:
        for n in range(20):
            record = new_record(extra=Extra(partition_key=f"inserted {n}"), priority=9)
            assert not here.border.admits(record)
            await here.table.submit([record], may_conflict=False)

    here.store.meanwhile = insert
    claim = here.intake.claim_each if each else here.intake.claim
    assert await claim("default", here.border.room) == 6
    assert here.border.held == len(here.table.records) == 10

    here.store.meanwhile = None
    here.table.let_go(list(here.table.records.values())[:5])
    assert await claim("default", here.border.room) == 0
    assert here.border.room == 5 and here.border.admits(new_record(extra=Extra(partition_key="more"), priority=9))


async def test_a_claim_that_fails_gives_its_places_back() -> None:
    """Nothing is kept for rows that never came."""
    here = await world(limit=10)
    here.store.loses = "claim"
    with pytest.raises(StoreUnavailable):
        await here.intake.claim("default", 10)
    assert here.border.room == 10


# --- making room


async def test_what_is_due_last_makes_room_and_nothing_that_is_due_soon() -> None:
    """As many as are asked for, at the most."""
    here = await world()
    now = now_us()
    ready = [new_record() for _ in range(3)]
    soon = [new_record(state="scheduled", scheduled_at=now + int(SHED_AFTER * 5e5)) for _ in range(3)]
    late = [new_record(state="scheduled", scheduled_at=now + MINUTE * (n + 1)) for n in range(10)]
    await here.hold([*ready, *soon, *late])
    await here.intake.shed("default", 4)
    assert ids(ready) | ids(soon) | ids(late[:6]) == set(here.table.records) == await here.owned()
    await here.intake.shed("default", 100)
    assert ids(ready) | ids(soon) == set(here.table.records) == await here.owned()


async def test_who_was_made_room_of_is_known_to_wait_outside() -> None:
    """The border knows when the first of them is due, so that it is claimed back in time."""
    here = await world()
    now = now_us()
    late = [new_record(state="scheduled", scheduled_at=now + MINUTE * (n + 1)) for n in range(5)]
    await here.hold(late)
    assert here.border.held == 5
    await here.intake.shed("default", 2)
    assert here.border.held == 3 and here.border.due == late[3].scheduled_at


async def test_rows_of_other_queues_and_rows_with_something_uncommitted_stay() -> None:
    """The store's row of one that changed here is old: giving it away would lose the change."""
    here = await world()
    other = new_record(queue="other", state="scheduled", scheduled_at=now_us() + MINUTE)
    dirty, clean = (new_record(state="scheduled", scheduled_at=now_us() + MINUTE) for _ in range(2))
    await here.hold([other, dirty, clean])
    dirty.progress = 10
    here.table.changed([dirty])
    await here.intake.shed("default", 100)
    assert set(here.table.records) == {other.id, dirty.id}


async def test_a_release_whose_answer_was_lost_is_put_right_by_the_next_look() -> None:
    """Given away or not: afterwards memory and store agree."""
    for really in (True, False):
        here = await world()
        late = [new_record(state="scheduled", scheduled_at=now_us() + MINUTE) for _ in range(6)]
        await here.hold(late)
        if really:
            here.store.loses = "release"
        else:
            await here.store.close()
        with pytest.raises(StoreUnavailable):
            await here.intake.shed("default", 6)
        assert here.table.in_doubt
        here.store.loses = None
        if not really:
            await here.store.open()
        await here.intake.reconcile()
        assert set(here.table.records) == await here.owned() == (set() if really else ids(late))
