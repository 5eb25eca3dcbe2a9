"""Cron entries in every store: kept, changed, and each tick settled once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from kathikon_actors.jobs.cron import StoredCron, job_of, template_of
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.cron_store import CronChange, Firing
from kathikon_actors.store.protocol import Store
from tests.store.conftest import Backend
from tests.support.records import new_record, now_us

START = 1_700_000_000_000_000
SECOND = 1_000_000


def entry(name: str = "nightly", expression: str = "0 3 * * *", **more: object) -> StoredCron:
    template = template_of(new_record(args=b'{"n":1}', tags=("a", 'b"'), **more))
    return StoredCron(name, expression, "UTC", "last", template)


def job(name: str = "nightly") -> Record:
    return job_of(entry().template, name, START, new_record().id, now_us())


def firing(name: str, after: int, until: int, revision: int = 1, count: int = 1) -> Firing:
    return Firing(name, revision, after, until, tuple(job(name) for _ in range(count)))


async def test_an_entry_is_kept_as_it_was_added(store: Store) -> None:
    """Its ticks count from the time that was given; a name is taken once."""
    crons = store.crons
    before = await crons.cron_version()
    assert await crons.add_cron(entry(), START)
    assert not await crons.add_cron(entry(expression="@daily"), START)
    assert await crons.load_crons() == [replace(entry(), revision=1, last_tick=START)]
    assert await crons.cron_version() != before


async def test_an_entry_is_changed_in_part(store: Store) -> None:
    """What is not given stays; the revision and the version grow; what lies behind is settled."""
    crons = store.crons
    await crons.add_cron(entry(), START)
    version = await crons.cron_version()
    assert await crons.change_cron("nightly", CronChange(START + SECOND, expression="@hourly", paused=True))
    [row] = await crons.load_crons()
    expected = replace(entry(expression="@hourly"), paused=True, revision=2, last_tick=START + SECOND)
    assert row == expected
    assert await crons.cron_version() > version
    assert await crons.change_cron("nightly", CronChange(START, paused=False))
    [row] = await crons.load_crons()
    assert (row.paused, row.last_tick, row.revision) == (False, START + SECOND, 3)
    assert not await crons.change_cron("nobody", CronChange(START, paused=False))


async def test_an_entry_is_removed_and_may_come_back(store: Store) -> None:
    """With a clean sheet."""
    crons = store.crons
    await crons.add_cron(entry(), START)
    await crons.change_cron("nightly", CronChange(START, paused=True))
    assert await crons.remove_cron("nightly")
    assert not await crons.remove_cron("nightly")
    assert await crons.load_crons() == []
    assert await crons.add_cron(entry(), START + SECOND)
    [row] = await crons.load_crons()
    assert (row.paused, row.last_tick) == (False, START + SECOND)


async def test_a_declaration_is_stored_once_and_what_was_changed_by_hand_stays(store: Store) -> None:
    """Until the declaration itself is another one."""
    crons = store.crons
    declared = replace(entry(), declared=True)
    await crons.declare_crons([declared, replace(declared, name="other")], START)
    version = await crons.cron_version()
    await crons.declare_crons([declared], START + SECOND)
    assert await crons.cron_version() == version
    assert [row.last_tick for row in await crons.load_crons()] == [START, START]
    await crons.change_cron("nightly", CronChange(START + SECOND, expression="@hourly"))
    await crons.declare_crons([declared], START + 2 * SECOND)
    assert (await crons.load_crons())[0].expression == "@hourly"
    changed = replace(declared, catch_up="all")
    await crons.declare_crons([changed], START + 3 * SECOND)
    row = (await crons.load_crons())[0]
    assert (row.expression, row.catch_up, row.last_tick) == ("0 3 * * *", "all", START + 3 * SECOND)
    same_times = replace(changed, catch_up="none")
    await crons.declare_crons([same_times], START + 9 * SECOND)
    assert (await crons.load_crons())[0].last_tick == START + 3 * SECOND


async def test_a_declaration_that_is_marked_with_a_newer_key_is_the_same(store: Store) -> None:
    """What was changed by hand stays, also when the old key is taken away."""
    crons = store.crons
    declared = replace(entry(), declared=True, marks=("old",))
    await crons.declare_crons([declared, replace(entry("plain"), declared=True)], START)
    await crons.change_cron("nightly", CronChange(START, expression="@hourly"))
    for marks in (("new", "old"), ("newest", "new", "old"), ("newest",)):
        again = replace(declared, template=template_of(new_record()), marks=marks)
        await crons.declare_crons([again, replace(entry("plain"), declared=True)], START + SECOND)
        assert [row.expression for row in await crons.load_crons()] == ["@hourly", "0 3 * * *"]
    await crons.declare_crons([replace(declared, marks=("another",))], START + SECOND)
    assert (await crons.load_crons())[0].expression == "0 3 * * *"


async def test_a_declared_entry_that_was_removed_stays_away(store: Store) -> None:
    """Until its declaration changes."""
    crons = store.crons
    await crons.declare_crons([replace(entry(), declared=True)], START)
    assert await crons.remove_cron("nightly")
    await crons.declare_crons([replace(entry(), declared=True)], START)
    assert await crons.load_crons() == []
    await crons.declare_crons([replace(entry(expression="@daily"), declared=True)], START)
    assert [row.expression for row in await crons.load_crons()] == ["@daily"]


async def test_a_tick_is_settled_with_its_jobs(store: Store) -> None:
    """They are stored, owned by nobody; the tick cannot be settled again."""
    crons = store.crons
    await crons.add_cron(entry(), START)
    due = firing("nightly", START, START + SECOND, count=2)
    assert await crons.fire_crons([due]) == {"nightly": tuple(made.id for made in due.jobs)}
    for made in due.jobs:
        stored = await store.get(made.id)
        assert stored is not None
        assert (stored.node, stored.state, stored.tags, stored.args) == (None, "available", ("a", 'b"'), b'{"n":1}')
        assert b'"cron":"nightly"' in stored.meta.replace(b" ", b"")
    again = firing("nightly", START, START + SECOND)
    assert await crons.fire_crons([again]) == {}
    assert await store.get(again.jobs[0].id) is None
    assert await crons.fire_crons([firing("nightly", START + SECOND, START + 2 * SECOND, count=0)]) == {"nightly": ()}


@pytest.mark.parametrize("change", [CronChange(START, paused=True), CronChange(START, catch_up="all"), None])
async def test_nothing_fires_under_what_was_changed(store: Store, change: CronChange | None) -> None:
    """Paused, changed or removed meanwhile: the revision that the tick was reckoned from is gone."""
    crons = store.crons
    await crons.add_cron(entry(), START)
    if change is None:
        await crons.remove_cron("nightly")
    else:
        await crons.change_cron("nightly", change)
    assert await crons.fire_crons([firing("nightly", START, START + SECOND)]) == {}


async def test_two_leaders_that_fire_at_once_make_one_job_a_tick(backend: Backend) -> None:
    """200 rounds, several entries in different orders, other ideas of the time; also when each takes many at once."""
    one, two = await backend.connect(), await backend.connect()
    names = [f"entry {number}" for number in range(5)]
    for name in names:
        await one.crons.add_cron(entry(name), START)
    last = dict.fromkeys(names, START)
    for number in range(200):
        settled: list[dict[str, int]] = []
        made: list[Record] = []

        async def fire(
            store: Store,
            until: int,
            order: list[str],
            settled: list[dict[str, int]] = settled,
            made: list[Record] = made,
        ) -> None:
            firings = [firing(name, last[name], until) for name in order]
            made += [job for firing in firings for job in firing.jobs]
            settled.append(dict.fromkeys(await store.crons.fire_crons(firings), until))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fire, one, START + (number + 1) * SECOND, names)
            nursery.start_soon(fire, two, START + (number + 1) * SECOND + 7, names[::-1])
        assert sorted([*settled[0], *settled[1]]) == names, number
        last.update(settled[0] | settled[1])
        stored = [record.id for record in made if await one.get(record.id) is not None]
        assert len(stored) == len(names), number
