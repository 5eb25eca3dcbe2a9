"""What comes from outside a node, on each kind of store: inserts that nobody owns, an operator's actions on rows."""

from __future__ import annotations

from uuid import UUID

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import InvalidState, JobNotFound, LeaseLost, OwnedElsewhere
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.states import Action, actions_for
from kathikon_actors.store.protocol import Membership, Store
from tests.store.conftest import Backend
from tests.support.records import MINUTE, as_stored, completed, new_record, now_us
from tests.support.rounds import rounds
from tests.support.waiting import eventually

ROUNDS = rounds(200)


def last_event(record: Record) -> str:
    return Job(record).history[-1]["event"]


async def row(store: Store, job_id: bytes) -> Record:
    found = await store.get(job_id)
    assert found is not None
    return found


async def in_state(store: Store, member: Membership, state: str, batch: int) -> Record:
    """A row of that state, owned by `member` if it lives."""
    record = new_record(state="scheduled" if state == "scheduled" else "available")
    await store.commit_inserts(member, batch, [record], may_conflict=False)
    record.fence = 0
    now = now_us()
    if state == "executing":
        machine.begin(record, now)
    elif state == "retryable":
        machine.begin(record, now)
        machine.fail(record, now, machine.quote_error(now, 1, "exception", "no"), 60)
    elif state == "completed":
        record = completed(record)
    elif state == "cancelled":
        machine.cancel(record, now)
    elif state == "discarded":
        machine.discard(record, now)
    if state not in ("available", "scheduled"):
        assert await store.commit_outcomes(member, batch, [record]) == set()
    return record


STATES = ["scheduled", "available", "executing", "retryable", "completed", "cancelled", "discarded"]
ACTIONS: list[Action] = ["cancel", "discard", "retry", "rerun"]


# --- inserts that nobody owns


@pytest.mark.parametrize("size", [1, 300])
async def test_rows_from_outside_are_claimed_by_any_node(store: Store, size: int) -> None:
    """They come back as they were stored; nobody owns them before."""
    records = [new_record() for _ in range(size)]
    assert await store.insert_unowned(records) == set()
    assert await store.get(records[0].id) == as_stored(records[0], None)
    member = await store.join("a", 30)
    assert await store.load_owned(member, None, 10) == []
    claimed = await store.claim(member, ["default"], 1000)
    assert sorted(r.id for r in claimed) == sorted(r.id for r in records)


async def test_ids_that_exist_are_told_and_their_rows_unchanged_whether_live_or_finished(store: Store) -> None:
    """The others of the same call are stored."""
    member = await store.join("a", 30)
    live, done, new = new_record(), new_record(), new_record()
    await store.commit_inserts(member, 1, [live, done], may_conflict=False)
    await store.commit_outcomes(member, 1, [completed(done, b"7")])
    again = [new_record(id=live.id, priority=9), new_record(id=done.id, priority=9), new]
    assert await store.insert_unowned(again) == {live.id, done.id}
    assert ((await row(store, live.id)).priority, (await row(store, live.id)).node) == (0, "a")
    assert (await row(store, done.id)).result == b"7"
    assert [r.id for r in await store.claim(member, ["default"], 10)] == [new.id]


async def test_who_listens_is_told_of_rows_from_outside(backend: Backend) -> None:
    """Only of queues that got one: a second insert of the same id tells nobody."""
    node, client = await backend.connect(), await backend.connect()
    heard: list[frozenset[str]] = []
    await node.listen(heard.append)
    record = new_record(queue="mail")
    await client.insert_unowned([record])
    await eventually(lambda: any("mail" in queues for queues in heard), "the node is told")
    heard.clear()
    assert await client.insert_unowned([new_record(id=record.id, queue="mail")]) == {record.id}
    await client.insert_unowned([new_record(queue="other")])
    await eventually(lambda: any("other" in queues for queues in heard), "the node is told of the next one")
    assert not any("mail" in queues for queues in heard)


async def test_of_many_that_insert_the_same_id_at_once_exactly_one_does(backend: Backend) -> None:
    """200 times, two connections."""
    one, two = await backend.connect(), await backend.connect()
    for _ in range(ROUNDS):
        job_id = new_record().id
        existed: list[set[bytes]] = []

        async def insert(store: Store, priority: int, job_id: bytes, existed: list[set[bytes]]) -> None:
            existed.append(await store.insert_unowned([new_record(id=job_id, priority=priority)]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert, one, 1, job_id, existed)
            nursery.start_soon(insert, two, 2, job_id, existed)
        assert sorted(map(len, existed)) == [0, 1]


# --- an operator's actions


@pytest.mark.parametrize("state", STATES)
async def test_an_action_is_done_exactly_where_its_state_offers_it(store: Store, state: str) -> None:
    """The node that had the row has left; what is not offered is refused with both states, and nothing is changed."""
    for number, action in enumerate(ACTIONS):
        member = await store.join(f"n{number}", 30)
        record = await in_state(store, member, state, 1)
        await store.leave(member)
        before = await row(store, record.id)
        change = Change(action, now_us(), new_id=new_record().id)
        if action in actions_for(before.state):
            changed = await store.change(record.id, change)
            assert changed.record == await row(store, record.id)
            assert changed.record.state == (before.state if action == "rerun" else change.target)
            assert (changed.made is not None) == (action == "rerun")
            assert len(changed.record.history) > len(before.history)
        else:
            with pytest.raises(InvalidState) as refused:
                await store.change(record.id, change)
            assert (refused.value.old, refused.value.new) == (before.state, change.target)
            assert await row(store, record.id) == before


async def test_what_a_live_node_has_is_for_that_node_to_change(store: Store) -> None:
    """The error names it; also when it is the caller's own."""
    member = await store.join("owner", 30)
    record = await in_state(store, member, "available", 1)
    for membership in (None, member):
        with pytest.raises(OwnedElsewhere, match="owner"):
            await store.change(record.id, Change("cancel", now_us()), membership=membership)
    assert (await row(store, record.id)).state == "available"


async def test_a_row_that_a_node_left_behind_is_changed_and_its_next_life_does_not_bring_it_back(store: Store) -> None:
    """The old life commits nothing more."""
    member = await store.join("a", 30)
    record = await in_state(store, member, "available", 1)
    await store.leave(member)
    await store.change(record.id, Change("cancel", now_us()))
    again = await store.join("a", 30)
    assert await store.load_owned(again, None, 10) == []
    with pytest.raises(LeaseLost):
        await store.commit_outcomes(member, 2, [completed(record)])
    assert (await row(store, record.id)).state == "cancelled"


async def test_a_retried_job_belongs_to_the_node_that_runs_its_queue_else_to_nobody(store: Store) -> None:
    """Nobody's is claimed like any other; its attempts are kept, one more is allowed."""
    member = await store.join("a", 30)
    for queues, owner in ((["default"], "a"), (["other"], None)):
        record = await in_state(store, member, "discarded", 1 if owner else 2)
        changed = await store.change(record.id, Change("retry", now_us()), membership=member, queues=queues)
        assert (changed.record.state, changed.record.node) == ("available", owner)
        assert await row(store, record.id) == changed.record
    assert len(await store.load_owned(member, None, 10)) == 1
    assert len(await store.claim(member, ["default"], 10)) == 1


async def test_a_retry_with_a_delay_waits(store: Store) -> None:
    """Not claimed before its time."""
    member = await store.join("a", 30)
    record = await in_state(store, member, "cancelled", 1)
    now = now_us()
    changed = await store.change(record.id, Change("retry", now, delay=60.0))
    assert (changed.record.state, changed.record.scheduled_at) == ("scheduled", now + MINUTE)
    assert await store.claim(member, ["default"], 10) == []


async def test_a_rerun_makes_a_new_job_and_the_old_one_gains_a_line_of_history(store: Store) -> None:
    """It refers to the old one; the old one stays where it is."""
    member = await store.join("a", 30)
    old = await in_state(store, member, "completed", 1)
    new_id = new_record().id
    changed = await store.change(old.id, Change("rerun", now_us(), new_id=new_id))
    made = changed.made
    assert made is not None and made == await row(store, new_id)
    assert (made.id, made.state, made.rerun_of, made.attempt) == (new_id, "available", old.id, 0)
    stored = await row(store, old.id)
    assert (stored.state, last_event(stored)) == ("completed", "rerun")


async def test_a_rerun_stays_in_its_partition(store: Store) -> None:
    """Of what hangs together it keeps that, and takes the unique key."""
    old = new_record(extra=Extra(partition_key="tenant 7", parent_id=new_record().id))
    await store.insert_composed([old])
    await store.change(old.id, Change("cancel", now_us()))
    changed = await store.change(old.id, Change("rerun", now_us(), new_id=new_record().id))
    assert changed.made is not None and changed.made.extra == Extra(partition_key="tenant 7")


async def test_an_action_tried_again_is_done_once(store: Store) -> None:
    """Its answer was lost: the same change, of the same time, finds itself done."""
    member = await store.join("a", 30)
    record = await in_state(store, member, "discarded", 1)
    retry = Change("retry", now_us())
    first = await store.change(record.id, retry)
    second = await store.change(record.id, retry)
    assert first.record.history == second.record.history


async def test_an_unknown_id_is_told_as_such(store: Store) -> None:
    """With the id."""
    unknown = new_record().id
    with pytest.raises(JobNotFound, match=str(UUID(bytes=unknown))):
        await store.change(unknown, Change("cancel", now_us()))


async def test_a_node_whose_epoch_was_replaced_changes_nothing(store: Store) -> None:
    """It would take a row under a name that is another life's."""
    member = await store.join("a", 30)
    record = await in_state(store, member, "discarded", 1)
    await store.leave(member)
    await store.join("a", 30)
    with pytest.raises(LeaseLost):
        await store.change(record.id, Change("retry", now_us()), membership=member, queues=["default"])
    assert (await row(store, record.id)).state == "discarded"


async def test_of_a_claim_and_a_cancel_that_race_the_row_knows_one(backend: Backend) -> None:
    """200 times: cancelled and claimed by nobody, or claimed and the cancel is refused."""
    one, two = await backend.connect(), await backend.connect()
    member = await one.join("a", 3600)  # it must live through all of them
    for _ in range(ROUNDS):
        record = new_record()
        await two.insert_unowned([record])
        claimed: list[Record] = []
        refused: list[OwnedElsewhere] = []

        async def claim(claimed: list[Record]) -> None:
            claimed += await one.claim(member, ["default"], 1)

        async def cancel(record: Record, refused: list[OwnedElsewhere]) -> None:
            try:
                await two.change(record.id, Change("cancel", now_us()))
            except OwnedElsewhere as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, claimed)
            nursery.start_soon(cancel, record, refused)
        assert len(claimed) == len(refused)
        assert (await row(two, record.id)).state == ("available" if claimed else "cancelled")
