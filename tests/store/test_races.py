"""Two connections to one store at the same time: fences and claims hold whoever comes first."""

from __future__ import annotations

import trio

from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken, StoreUnavailable
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.protocol import Membership, Page, Store
from tests.store.conftest import Backend
from tests.support.records import completed, new_record
from tests.support.rounds import rounds


async def take_over(store: Store, node: str, lease: float) -> Membership:
    """Join as soon as the lease of the present life has run out."""
    with trio.fail_after(20):
        while True:
            try:
                return await store.join(node, lease)
            except NodeNameTaken:
                await trio.sleep(0.001)


async def all_jobs(store: Store) -> dict[bytes, Record]:
    """Every job of the store."""
    found: dict[bytes, Record] = {}
    last = None
    while page := await store.find(Page(newest_first=False, after=last, limit=5000)):
        found.update((record.id, record) for record in page)
        last = page[-1].id
    return found


async def test_two_claimers_never_share_a_row(backend: Backend) -> None:
    """200 rounds of two nodes that claim at once: every row goes to exactly one of them."""
    stores = [await backend.connect(), await backend.connect()]
    giver = await stores[0].join("giver", 60)
    members = [await store.join(f"n{number}", 60) for number, store in enumerate(stores)]
    for number in range(rounds(200)):
        records = [new_record() for _ in range(6)]
        await stores[0].commit_inserts(giver, number + 1, records, may_conflict=False)
        await stores[0].release(giver, [record.id for record in records])
        got: list[list[bytes]] = [[], []]

        async def claim(which: int, got: list[list[bytes]] = got) -> None:
            got[which] = [record.id for record in await stores[which].claim(members[which], ["default"], 4)]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, 0)
            nursery.start_soon(claim, 1)
        while rest := await stores[number % 2].claim(members[number % 2], ["default"], 4):
            got[0] += [record.id for record in rest]
        assert sorted(got[0] + got[1]) == sorted(record.id for record in records)
    assert len(await stores[0].load_owned(members[0], None, 6 * rounds(200))) + len(
        await stores[1].load_owned(members[1], None, 6 * rounds(200))
    ) == 6 * rounds(200)


async def test_after_a_takeover_the_old_life_commits_nothing_more(backend: Backend) -> None:
    """An old life that commits all the while: what it was told is stored, and nothing appears after `join` returned."""
    for size in (1, 60) * (rounds(8) // 2):
        old, new = await backend.connect(), await backend.connect()
        name = f"node-{size}-{len(backend.opened)}"
        first = await old.join(name, 0.05)
        acknowledged: set[bytes] = set()
        tried: set[bytes] = set()
        begun = trio.Event()

        async def commit_on(
            old: Store = old,
            first: Membership = first,
            size: int = size,
            acknowledged: set[bytes] = acknowledged,
            tried: set[bytes] = tried,
            begun: trio.Event = begun,
        ) -> None:
            batch = 0
            while True:
                batch += 1
                records = [new_record(queue=first.node) for _ in range(size)]
                tried.update(record.id for record in records)
                try:
                    await old.commit_inserts(first, batch, records, may_conflict=False)
                except LeaseLost:
                    return
                except StoreUnavailable:
                    continue
                acknowledged.update(record.id for record in records)
                begun.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit_on)
            await begun.wait()
            await take_over(new, name, 60)
            at_takeover = {job_id for job_id, record in (await all_jobs(new)).items() if record.queue == name}
        afterwards = {job_id for job_id, record in (await all_jobs(new)).items() if record.queue == name}
        assert afterwards == at_takeover
        assert acknowledged <= afterwards <= tried
        assert acknowledged


async def test_a_job_is_completed_by_one_life_only(backend: Backend) -> None:
    """The old life completes its jobs one by one while a new one takes over and completes what it loads."""
    for _ in range(rounds(8)):
        old, new = await backend.connect(), await backend.connect()
        name = f"node-{len(backend.opened)}"
        first = await old.join(name, 0.05)
        records = [new_record(queue=name) for _ in range(60)]
        await old.commit_inserts(first, 1, records, may_conflict=False)
        by_old: set[bytes] = set()
        by_new: set[bytes] = set()

        async def complete_on(
            old: Store = old,
            first: Membership = first,
            records: list[Record] = records,
            by_old: set[bytes] = by_old,
        ) -> None:
            for batch, record in enumerate(records):
                try:
                    if not await old.commit_outcomes(first, batch, [completed(record, b'"old"')]):
                        by_old.add(record.id)
                except (LeaseLost, StoreUnavailable):
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(complete_on)
            second = await take_over(new, name, 60)
            loaded = await new.load_owned(second, None, 1000)
            assert await new.commit_outcomes(second, 1, [completed(r, b'"new"') for r in loaded]) == set()
            by_new.update(record.id for record in loaded)
        ended = {record.id: record for record in (await all_jobs(new)).values() if record.queue == name}
        assert {record.state for record in ended.values()} == {"completed"}
        assert by_old.isdisjoint(by_new)
        assert {job_id for job_id, record in ended.items() if record.result == b'"new"'} == by_new
        assert by_old <= {job_id for job_id, record in ended.items() if record.result == b'"old"'}


async def test_a_given_id_inserted_while_its_job_finishes_conflicts(backend: Backend) -> None:
    """200 rounds: the row may move to the finished ones in the middle; never are there two of it."""
    one, two = await backend.connect(), await backend.connect()
    first, second = await one.join("a", 60), await two.join("b", 60)
    for number in range(1, rounds(200) + 1):
        record = new_record()
        again = new_record(id=record.id, inserted_at=record.inserted_at + 1)
        await one.commit_inserts(first, number, [record], may_conflict=False)
        conflicts: list[set[bytes]] = []

        async def insert(number: int = number, again: Record = again, conflicts: list[set[bytes]] = conflicts) -> None:
            conflicts.append(await two.commit_inserts(second, number, [again], may_conflict=True))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert)
            nursery.start_soon(one.commit_outcomes, first, number, [completed(record)])
        assert conflicts == [{record.id}]
    assert await two.load_owned(second, None, 1000) == []
