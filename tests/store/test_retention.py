"""Putting away what has ended: each row once, in one of three places, and the counters tell how many there are."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.store.protocol import Page, Store
from kathikon_actors.store.retaining import Pruned
from tests.store.conftest import Backend
from tests.support.records import as_stored, completed, new_record, now_us

DAY = 86_400_000_000


async def store_ended(store: Store, ages: list[int], node: str = "a") -> list[Record]:
    """Store jobs that ended so many days ago; completed, cancelled and discarded in turn."""
    membership = await store.join(node, 60)
    records = [new_record(queue="q" if number % 2 else "p") for number in range(len(ages))]
    await store.commit_inserts(membership, 1, records, may_conflict=False)
    done = []
    for number, (record, age) in enumerate(zip(records, ages, strict=True)):
        ended = completed(record)
        if number % 3:
            ended = as_stored(record, node)
            (machine.cancel if number % 3 == 1 else machine.discard)(ended, now_us())
        ended.finished_at = now_us() - age * DAY
        done.append(ended)
    await store.commit_outcomes(membership, 1, done)
    return done


async def counted(store: Store) -> Counter[tuple[str, str]]:
    """Counts by queue and state."""
    return Counter({(c.queue, state): number for c in await store.counts() for state, number in c.by_state.items()})


async def listed(store: Store) -> Counter[tuple[str, str]]:
    """The same, by looking at every row."""
    return Counter((record.queue, record.state) for record in await store.find(Page(limit=10_000)))


async def test_old_jobs_are_archived_then_deleted(backend: Backend) -> None:
    """By the time in that state, whatever the state is; an archived one is found by its id only."""
    store = await backend.connect()
    jobs = await store_ended(store, [0, 1, 13, 15, 20, 89, 91, 200])
    # As a row goes through it: first archived, then deleted, here within one round.
    assert await store.prune(Retention()) == Pruned(archived=5, deleted=2)
    assert {record.id for record in await store.find(Page())} == {record.id for record in jobs[:3]}
    for number, record in enumerate(jobs):
        found = await store.get(record.id)
        assert (found is None) == (number >= 6)
        if found is not None:
            assert (found.state, found.finished_at) == (record.state, record.finished_at)
    assert await counted(store) == await listed(store)
    assert await store.prune(Retention()) == Pruned()


async def test_never_means_never(backend: Backend) -> None:
    """Each of the two by itself."""
    store = await backend.connect()
    await store_ended(store, [500, 500])
    assert await store.prune(Retention(None, None)) == Pruned()
    assert await store.prune(Retention(1.0, None)) == Pruned(archived=2)
    assert await store.prune(Retention(None, 600 * 86_400.0)) == Pruned()
    assert await store.prune(Retention(None, 1.0)) == Pruned(deleted=2)


@pytest.mark.parametrize("fields", [{"archive_after": -1}, {"delete_after": "x"}, {"delete_after": 3600}])
def test_a_retention_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    """Naming the field."""
    with pytest.raises(BadConfiguration, match=next(iter(fields))):
        Retention(**fields)  # type: ignore[arg-type]


async def test_two_that_prune_at_once_move_each_row_once(backend: Backend) -> None:
    """20 rounds of two connections; the sums are exact, and so are the counters while they are added up."""
    one, two = await backend.connect(), await backend.connect()
    for number in range(20):
        await store_ended(one, [30] * 60, node=f"n{number}")
        got: list[Pruned] = []

        async def prune(store: Store, got: list[Pruned] = got) -> None:
            await store.tidy()
            got.append(await store.prune(Retention()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(prune, one)
            nursery.start_soon(prune, two)
        assert sum(each.archived for each in got) == 60
        assert await counted(one) == Counter()


async def test_counters_hold_through_everything_that_moves_rows(backend: Backend) -> None:
    """Ends, retries, reruns, purges; added up in between."""
    store = await backend.connect()
    jobs = await store_ended(store, [0] * 9)
    ids = [record.id for record in jobs]
    now = now_us()
    await store.change(ids[1], Change("retry", now))
    await store.change(ids[0], Change("rerun", now, new_id=new_record().id))
    assert await counted(store) == await listed(store)
    await store.tidy()
    assert await counted(store) == await listed(store)
    await store.change(ids[1], Change("discard", now))
    assert await store.purge([ids[2], ids[3]]) == {ids[2], ids[3]}
    await store.tidy()
    await store.tidy()
    assert await counted(store) == await listed(store)


async def test_promoting_makes_unowned_due_rows_available(backend: Backend) -> None:
    """What is due later, and what a node owns, is left alone."""
    store = await backend.connect()
    membership = await store.join("a", 60)
    past, later = now_us() - 1_000_000, now_us() + 3_600_000_000
    due, not_due, owned = (new_record(state="scheduled", scheduled_at=at) for at in (past, later, past))
    await store.insert_unowned([due, not_due])
    await store.commit_inserts(membership, 1, [owned], may_conflict=False)
    assert await store.promote() == 1
    assert await store.promote() == 0
    states = {record.id: record.state for record in await store.find(Page())}
    assert states == {due.id: "available", not_due.id: "scheduled", owned.id: "scheduled"}
    stored = await store.get(due.id)
    assert stored is not None and b'"due","scheduled","available"]' in stored.history
