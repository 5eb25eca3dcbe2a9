"""What every store promises of snapshots: the last two, whole, by node and actor, fenced by the epoch."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
import trio
import trio_asyncio

from kathikon_actors import Snapshot, open_actor_system, open_snapshot_store
from kathikon_actors.actors.snapshots.sink import MemorySnapshots, StoredSnapshot
from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken, StoreUnavailable
from kathikon_actors.store.protocol import Store
from tests.stages.states import Counter
from tests.store.conftest import Backend
from tests.store.test_races import take_over
from tests.support.records import now_us


def state(text: str) -> StoredSnapshot:
    return StoredSnapshot("msgpack", text.encode())


async def test_the_last_two_snapshots_of_an_actor_are_kept_newest_first(store: Store) -> None:
    """A hundred versions leave two rows; versions grow, times are the store's."""
    me = await store.join("n", 30)
    for number in range(1, 101):
        assert await store.snapshots.save(me, "counter", state(str(number))) == number
    kept = await store.snapshots.load(me, "counter")
    assert [(one.version, one.state, one.codec) for one in kept] == [(100, b"100", "msgpack"), (99, b"99", "msgpack")]
    assert all(abs(one.taken_at - now_us()) < 60_000_000 for one in kept)
    assert await store.snapshots.load(me, "other") == []


async def test_no_third_row_stays_in_the_database(postgres_dsn: str) -> None:
    """Of a hundred snapshots."""
    async with open_snapshot_store(postgres_dsn, name="counters") as store:
        for number in range(100):
            await store.save("counter", state(str(number)))

        async def rows() -> object:
            connection = await asyncpg.connect(postgres_dsn)
            try:
                return await connection.fetchval("SELECT array_agg(version ORDER BY version) FROM kathikon.snapshots")
            finally:
                await connection.close()

        assert await trio_asyncio.aio_as_trio(rows)() == [99, 100]


async def test_snapshots_belong_to_a_node_and_outlive_its_lives(backend: Backend) -> None:
    """Another node's actor of the same name has its own; the next life of a name goes on with the version."""
    first, second = await backend.connect(), await backend.connect()
    one, two = await first.join("one", 30), await second.join("two", 30)
    await first.snapshots.save(one, "counter", state("1"))
    assert await second.snapshots.load(two, "counter") == []
    await first.close()
    again = await take_over(second, "one", 30)
    assert [kept.state for kept in await second.snapshots.load(again, "counter")] == [b"1"]
    assert await second.snapshots.save(again, "counter", state("2")) == 2


async def test_an_epoch_that_was_replaced_keeps_nothing_more(store: Store) -> None:
    """Neither saving nor deleting under it changes anything."""
    old = await store.join("n", 30)
    await store.snapshots.save(old, "counter", state("old"))
    new = await store.join("n", 30)
    await store.snapshots.save(new, "counter", state("new"))
    with pytest.raises(LeaseLost):
        await store.snapshots.save(old, "counter", state("late"))
    with pytest.raises(LeaseLost):
        await store.snapshots.delete(old, "counter")
    assert [kept.state for kept in await store.snapshots.load(new, "counter")] == [b"new", b"old"]


async def test_deleted_snapshots_are_gone_and_the_others_stay(store: Store) -> None:
    """One actor's only."""
    me = await store.join("n", 30)
    for actor in ("a", "b"):
        await store.snapshots.save(me, actor, state(actor))
    await store.snapshots.delete(me, "a")
    assert await store.snapshots.load(me, "a") == []
    assert [kept.state for kept in await store.snapshots.load(me, "b")] == [b"b"]


async def test_a_save_that_is_cancelled_leaves_the_old_state_or_the_new_never_a_part(store: Store) -> None:
    """Fifty saves of 300 kB, each cancelled at some moment: what is kept was given, and versions do not repeat."""
    me = await store.join("n", 30)
    given = {b"%d" % number * 100_000 for number in range(10, 61)}
    for number in range(10, 61):
        with trio.move_on_after(0.0002 * (number % 10)):
            await store.snapshots.save(me, "big", StoredSnapshot("msgpack", b"%d" % number * 100_000))
        kept = await store.snapshots.load(me, "big")
        assert len(kept) <= 2
        assert all(one.state in given for one in kept)
        assert len({one.version for one in kept}) == len(kept)


async def test_a_closed_store_says_so(store: Store) -> None:
    """`StoreUnavailable`, as everywhere."""
    me = await store.join("n", 30)
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.snapshots.save(me, "a", state("x"))


async def test_the_sink_in_memory_keeps_the_last_two_as_well() -> None:
    """What a system without a node uses."""
    sink = MemorySnapshots()
    for number in range(5):
        await sink.save("a", state(str(number)))
    assert [(kept.version, kept.state) for kept in await sink.load("a")] == [(5, b"4"), (4, b"3")]
    await sink.delete("a")
    assert await sink.load("a") == []


async def count(url: str, by: int) -> int:
    """Be a program that keeps a counter in a store of its own."""
    async with open_snapshot_store(url, name="counters") as store, open_actor_system(store=store) as system:
        counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=10**6))
        return await counter.call(Counter.add, by)


async def test_a_system_without_a_node_keeps_its_snapshots_in_a_store(place: str) -> None:
    """Three programs one after another, the name given back each time; memory ends with each."""
    counts = [await count(place, by) for by in (5, 6, 7)]
    assert counts == ([5, 6, 7] if place == "memory:" else [5, 11, 18])


async def test_a_system_without_a_node_on_an_embedded_store(tmp_path: Path) -> None:
    """The server is started for the block, and what it kept is there the next time."""
    url = f"embedded:{tmp_path / 'store'}"
    assert [await count(url, 5), await count(url, 6)] == [5, 11]


async def test_one_program_at_a_time_has_the_name_of_a_snapshot_store(postgres_dsn: str) -> None:
    """The second is told who has it."""
    async with open_snapshot_store(postgres_dsn, name="counters"):
        with pytest.raises(NodeNameTaken, match="counters"):
            async with open_snapshot_store(postgres_dsn, name="counters"):
                pass
