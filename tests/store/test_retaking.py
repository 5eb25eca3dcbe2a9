"""A unique key has one holder, also when jobs that have ended are to run again."""

from __future__ import annotations

import pytest
import trio

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import InvalidState, UniqueConflict
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.unique import UNIQUE_STATES, Unique
from kathikon_actors.store.protocol import Changed, Store
from tests.store.conftest import Backend
from tests.store.test_graph import KEY, Desk, a_desk, ended, ids, new_batch, unique
from tests.support.records import now_us

ROUNDS = 200


def retry(delay: float = 0.0) -> Change:
    return Change("retry", now_us(), delay)


def rerun() -> Change:
    now = now_us()
    return Change("rerun", now, new_id=ids.next(now))


async def an_ended(desk: Desk, record: Record, state: str = "discarded") -> Record:
    """A job that had the key and has ended."""
    (answer,) = await desk.insert(record)
    assert not answer.conflict
    await desk.write(ended(record, state))
    return record


async def holders(desk: Desk, *states: str) -> list[Record]:
    wanted = states or UNIQUE_STATES
    return [r for r in await desk.all() if r.state in wanted and r.extra is not None and r.extra.unique_key == KEY]


@pytest.mark.parametrize("change", [retry, rerun])
async def test_a_job_whose_key_another_has_is_not_run_again(store: Store, change: type) -> None:
    """The error names that one; nothing has changed. Once that has ended it is possible, and takes the key."""
    desk = await a_desk(store)
    old = await an_ended(desk, unique())
    (met,) = await desk.insert(new := unique())
    assert not met.conflict
    before = await desk.row(old)

    with pytest.raises(UniqueConflict, match="unique key") as refused:
        await store.change(old.id, change())
    assert (refused.value.job_id.bytes, refused.value.holder.bytes) == (old.id, new.id)  # type: ignore[attr-defined]
    after = await desk.row(old)
    assert (after.state, after.history) == (before.state, before.history)
    assert [r.id for r in await holders(desk)] == [new.id]

    await desk.write(ended(new))
    changed = await store.change(old.id, change())
    lives = changed.made or changed.record
    assert lives.extra is not None and lives.extra.unique_key == KEY
    (met,) = await desk.insert(unique())
    assert met.conflict and met.record is not None and met.record.id == lives.id
    # and lets go of it at its end
    (claimed,) = await store.claim(desk.membership, ["default"], 10)
    await desk.write(ended(claimed))
    (met,) = await desk.insert(unique())
    assert not met.conflict


async def test_what_is_not_possible_anyhow_says_so_first(store: Store) -> None:
    """And takes no key."""
    desk = await a_desk(store)
    old = await an_ended(desk, unique(), "completed")
    with pytest.raises(InvalidState):
        await store.change(old.id, retry())
    (met,) = await desk.insert(unique())
    assert not met.conflict


async def test_of_many_each_has_its_own_error(store: Store) -> None:
    """Of two of the same key the first one runs; one whose key is held elsewhere stays; the others run."""
    desk = await a_desk(store)
    first, second = await an_ended(desk, unique()), await an_ended(desk, unique())
    other = await an_ended(desk, unique(key=bytes(16)))
    await desk.insert(holder := unique(key=bytes(16)))
    free = await an_ended(desk, unique(key=bytes([9] * 16)))

    found = await store.request(Filter(state="discarded"), retry())
    assert sorted(found.done) == sorted([first.id, free.id])
    assert {job_id: error.holder.bytes for job_id, error in found.errors.items()} == {  # type: ignore[attr-defined]
        second.id: first.id,
        other.id: holder.id,
    }
    assert await desk.state(second) == "discarded"


async def test_failed_children_are_put_back_but_for_those_whose_key_is_taken(store: Store) -> None:
    """They stay counted as failed."""
    desk = await a_desk(store)
    batch = new_batch()
    await store.batches.open(batch)

    def member(key: bytes) -> Record:
        record = unique(key=key)
        record.extra = Extra(unique_key=key, unique=Unique(), batch_id=batch.id)
        return record

    taken, free = await an_ended(desk, member(KEY)), await an_ended(desk, member(bytes(16)))
    await store.batches.seal(batch.id)
    await desk.insert(holder := unique())
    found = await store.batches.retry_failed(batch.id, now_us())
    assert found.done == [free.id]
    assert [error.holder.bytes for error in found.errors.values()] == [holder.id]  # type: ignore[attr-defined]
    stored = await store.batches.get(batch.id)
    assert stored is not None and (stored.state, stored.discarded) == ("running", 1)
    assert await desk.state(taken) == "discarded"


async def test_a_job_that_kept_its_key_after_its_end_runs_again_under_it(store: Store) -> None:
    """And hands it to its rerun, which no other insert gets by."""
    desk = await a_desk(store)
    policy = Unique(states=(*UNIQUE_STATES, "completed", "discarded"), period=3600)
    old = await an_ended(desk, unique(policy))
    again = await store.change(old.id, retry())
    assert again.record.state == "available"
    (claimed,) = await store.claim(desk.membership, ["default"], 10)
    await desk.write(ended(claimed))
    changed = await store.change(old.id, rerun())
    assert changed.made is not None
    (met,) = await desk.insert(unique(policy))
    assert met.conflict and met.record is not None and met.record.id == changed.made.id


async def test_a_key_whose_time_is_up_or_whose_holder_is_gone_is_taken(store: Store) -> None:
    """As an insert takes it."""
    desk = await a_desk(store)
    old = await an_ended(desk, unique())
    kept = Unique(states=(*UNIQUE_STATES, "completed"))
    gone = await an_ended(desk, unique(kept), "completed")
    with pytest.raises(UniqueConflict, match="purge it"):
        await store.change(old.id, retry())
    await store.purge([gone.id])
    assert (await store.change(old.id, retry(delay=60))).record.state == "scheduled"
    await store.change(old.id, Change("discard", now_us()))

    brief = Unique(period=0.001)
    await desk.insert(unique(brief))
    await trio.sleep(0.01)  # its time, by the store's clock
    assert (await store.change(old.id, retry())).record.state == "available"


async def test_a_command_to_retry_answers_with_the_holder(store: Store) -> None:
    """For whoever asked the owner of a job that has ended meanwhile."""
    from kathikon_actors.store.commands import error_of

    desk = await a_desk(store)
    old = await an_ended(desk, unique())
    await desk.insert(holder := unique())
    number = await store.ask(old.id, change := retry())
    assert await store.carry_out(number)
    error = error_of(old.id, change, (await store.read_answers([number]))[number])
    assert isinstance(error, UniqueConflict)
    assert error.holder.bytes == holder.id  # type: ignore[attr-defined]


async def test_a_guarded_job_that_is_retried_may_be_replaced_and_starts(store: Store) -> None:
    """It holds the key as it did before."""
    desk = await a_desk(store)
    policy = Unique(replace=("args",))
    old = unique(policy)
    await desk.insert(old)
    await store.release(desk.membership, [old.id])
    await store.change(old.id, Change("cancel", now_us()))
    await store.change(old.id, retry())
    (met,) = await desk.insert(unique(policy, args=b'{"n":2}'))
    assert met.conflict
    (claimed,) = await store.claim(desk.membership, ["default"], 10)
    assert claimed.args == b'{"n":2}' and claimed.extra is not None
    claimed.extra = Extra(unique_key=KEY, guarded=claimed.extra.guarded, begun=1)
    assert not await desk.write(claimed)


# --- races


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
@pytest.mark.parametrize("how", ["retry", "retry_by", "rerun", "retry_failed"])
async def test_an_insert_and_a_retry_of_its_like_at_once_leave_one(backend: Backend, how: str) -> None:
    """Whoever comes first has the key; the other is told."""
    a, b = await a_desk(await backend.connect(), "a"), await a_desk(await backend.connect(), "b")
    winners = set()
    for number in range(ROUNDS):
        batch = new_batch()
        await a.store.batches.open(batch)
        old = unique()
        old.extra = Extra(unique_key=KEY, unique=Unique(), batch_id=batch.id)
        await an_ended(a, old)
        await a.store.batches.seal(batch.id)
        new = unique()
        stored: list[bool] = []
        again: list[bool] = []

        async def insert(new: Record = new, stored: list[bool] = stored, late: int = number % 12) -> None:
            for _ in range(late):  # a retry takes more steps until it comes to the key
                await a.store.get(new.id)
            stored.append(not (await a.insert(new))[0].conflict)

        async def run_again(old: Record = old, again: list[bool] = again, batch_id: bytes = batch.id) -> None:
            again.append(await _again(b.store, old, how, batch_id))

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(insert)
                nursery.start_soon(run_again)
        assert stored[0] != again[0]
        (live,) = await holders(a)
        assert (live.id == new.id) == stored[0]
        winners.add(stored[0])
        (met,) = await b.insert(unique())
        assert met.conflict and met.record is not None and met.record.id == live.id
        if stored[0]:
            await a.write(ended(new))
        else:
            (claimed,) = await a.store.claim(a.membership, ["default"], 10)
            await a.write(ended(claimed))
        await a.store.purge_meeting(Filter(state=("completed", "discarded")))
    assert winners == {True, False}


async def _again(store: Store, old: Record, how: str, batch_id: bytes) -> bool:
    """Tell whether it runs again."""
    if how == "retry_by":
        found = await store.request(Filter(state="discarded"), retry())
        return old.id in found.done
    if how == "retry_failed":
        return bool((await store.batches.retry_failed(batch_id, now_us())).done)
    try:
        changed: Changed = await store.change(old.id, rerun() if how == "rerun" else retry())
    except UniqueConflict:
        return False
    return changed.record is not None
