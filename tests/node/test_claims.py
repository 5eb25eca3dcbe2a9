"""Rows that nobody owns get done: by one node, by two, by whoever lives when one of them dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import trio

from kathikon_actors import App, Queue, open_node
from kathikon_actors.jobs import machine
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.history import whole_history
from kathikon_actors.jobs.ids import IdSource, as_uuid
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Record
from kathikon_actors.node import claimer
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Page
from tests.node import workers
from tests.support.records import now_us
from tests.support.waiting import eventually, lines_of

WAIT = 60.0

PROGRAM = """
import sys, trio
from kathikon_actors import StoreUnavailable, open_node
from tests.node import workers

async def main(store, name, lease, marks, jobs):
    async with open_node(workers.app, store=store, name=name, lease=lease) as node:
        acknowledged = open(f"{marks}.{name}", "a")
        for i in range(jobs):
            try:
                job = await node.insert(workers.note.new(marks, f"{name} {i}").options(queue="wide"))
            except StoreUnavailable:  # it joins again
                await trio.sleep(0.05)
                continue
            acknowledged.write(f"{job.id}\\n")
            acknowledged.flush()
        acknowledged.write("up\\n")
        acknowledged.flush()
        await trio.sleep_forever()

trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
"""

FENCED = """
SELECT NOT EXISTS (
    SELECT FROM kathikon.nodes n JOIN kathikon.lanes l USING (node_id)
    WHERE n.name = 'sleeper' AND l.lane = 2 AND l.epoch = n.epoch
)
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(postgres_dsn: str, tmp_path: Path) -> Iterator[Start]:
    """Starts nodes in processes of their own; kills those that are left."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, lease: float = 30.0, jobs: int = 0) -> subprocess.Popen[bytes]:
        arguments = [postgres_dsn, name, str(lease), str(tmp_path / "marks"), str(jobs)]
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments])
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def built(new: NewJob) -> Record:
    definition = workers.app.definitions()[new.worker]
    return build_record(new, definition, workers.app.defaults, IdSource(), now_us())


async def insert_unowned(dsn: str, jobs: list[NewJob], name: str = "stranger") -> list[bytes]:
    """Insert by a connection that runs nothing."""
    async with open_loop():
        store = PostgresStore(dsn)
        await store.open()
        try:
            membership = await store.join(name, 30)
            records = [built(job) for job in jobs]
            for number, begin in enumerate(range(0, len(records), 1000), 1):
                chunk = records[begin : begin + 1000]
                await store.commit_inserts(
                    membership, number, chunk, may_conflict=False, unowned={record.id for record in chunk}
                )
            await store.leave(membership)
        finally:
            await store.close()
    return [record.id for record in records]


async def all_records(dsn: str) -> list[Record]:
    async with open_loop():
        store = PostgresStore(dsn)
        await store.open()
        try:
            return await store.find(Page(limit=10_000))
        finally:
            await store.close()


@pytest.fixture
def no_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes look for what nobody owns when they are told of it, or know when it is due: never by the clock."""
    monkeypatch.setattr(claimer, "POLL", 3600.0)


@pytest.mark.usefixtures("no_poll")
async def test_a_row_that_nobody_owns_is_claimed_at_once(postgres_dsn: str) -> None:
    """A notice wakes the node: no poll is waited for, from idle to done."""
    async with open_node(workers.app, store=postgres_dsn, name="n1") as node:
        warm = await node.insert(workers.add.new(1))
        await node.wait(warm.id, WAIT)
        for i in range(8):
            (job_id,) = await insert_unowned(postgres_dsn, [workers.add.new(i)])
            table = node._state.the_table()
            await eventually(lambda: job_id in table._completed, "it ran")  # noqa: B023
            done = await node.wait(as_uuid(job_id), WAIT)
            assert (done.state, done.result, done.node, done.orphaned) == ("completed", i, "n1", 0)


@pytest.mark.usefixtures("no_poll")
async def test_a_row_that_nobody_owns_runs_when_its_time_has_come(postgres_dsn: str) -> None:
    """The node learns when it is due: not early, and without a poll."""
    async with open_node(workers.app, store=postgres_dsn, name="n1") as node:
        jobs = [workers.add.new(i).options(schedule_in=0.5 + i / 10) for i in range(3)]
        for job_id in await insert_unowned(postgres_dsn, jobs):
            done = await node.wait(as_uuid(job_id), 20)
            assert done.attempted_at is not None
            assert done.attempted_at >= done.scheduled_at


async def test_beyond_its_memory_bound_a_node_stores_unowned_and_claims_back(postgres_dsn: str, tmp_path: Path) -> None:
    """2,000 jobs through a memory of 100, each once; the best first although memory was full when they came."""
    seen = tmp_path / "seen"
    app = App(queues=[Queue("default", max_in_memory=100)], workers=workers.WORKERS)
    most = 0
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        gate = await node.insert(workers.stay.new(str(tmp_path / "gate"), str(tmp_path / "opened")))
        await eventually(lambda: lines_of(tmp_path / "gate"), "it runs")
        many = await node.insert_many(workers.add.new(i) for i in range(2000))
        table = node._state.the_table()
        assert len(table.records) <= 100
        urgent = await node.insert_many(workers.note.new(str(seen), str(i)).options(priority=i % 7) for i in range(200))
        assert len(table.records) <= 100
        (tmp_path / "opened").touch()
        with trio.fail_after(WAIT):
            while not await finished(node, 2201):
                most = max(most, len(table.records))
                await trio.sleep(0.01)
        assert most <= 100
        for job_id in [gate.id, *many.ids[::97], *urgent.ids]:
            assert (await node.wait(job_id, WAIT)).attempt == 1
    order = [int(line) for line in lines_of(seen)]
    assert order == sorted(range(200), key=lambda i: (-(i % 7), i))


async def finished(node: object, number: int) -> bool:
    counts = await node.counts()  # type: ignore[attr-defined]
    return sum(queue.by_state.get("completed", 0) for queue in counts) == number


async def test_what_an_earlier_life_left_beyond_the_bound_is_taken_up_by_claims(postgres_dsn: str) -> None:
    """A node that starts with a smaller memory than what it owns holds no more than that, and as many as run at once.

    Those come in above the bound when the best of all wait outside and nothing of what is here has started.
    """
    async with open_loop():
        store = PostgresStore(postgres_dsn)
        await store.open()
        membership = await store.join("n1", 30)
        records = [built(workers.add.new(i)) for i in range(500)]
        await store.commit_inserts(membership, 1, records, may_conflict=False)
        await store.leave(membership)
        await store.close()
    app = App(queues=[Queue("default", max_in_memory=50)], workers=workers.WORKERS)
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        with trio.fail_after(WAIT):
            while not await finished(node, 500):
                assert len(node._state.the_table().records) <= 50 + 10
                await trio.sleep(0.01)


async def test_two_nodes_share_what_a_third_connection_inserts(start: Start, postgres_dsn: str, tmp_path: Path) -> None:
    """5,000 jobs: both nodes work, each job runs and completes once.

    Who had no time on a busy machine gets more jobs to take a share of.
    """
    for name in ("n1", "n2"):
        start(name)
    await eventually(lambda: all(lines_of(tmp_path / f"marks.{n}") for n in ("n1", "n2")), "both are up")
    marks = tmp_path / "marks"
    ids: list[bytes] = []

    async def all_done() -> bool:
        return all(record.state == "completed" for record in await all_records(postgres_dsn))

    for number in (5000, 1000, 1000, 1000, 1000):
        names = range(len(ids), len(ids) + number)
        jobs = [workers.note.new(str(marks), str(i)).options(queue="wide") for i in names]
        ids += await insert_unowned(postgres_dsn, jobs)
        await eventually(lambda wanted=len(ids): len(lines_of(marks)) >= wanted, "all ran", WAIT)
        await eventually(all_done, "all are stored", WAIT)
        records = await all_records(postgres_dsn)
        assert {record.id for record in records} == set(ids)
        assert {(record.attempt, record.orphaned) for record in records} == {(1, 0)}
        assert sorted(lines_of(marks), key=int) == [str(i) for i in range(len(ids))]
        shares = Counter(record.node for record in records)
        if min(shares["n1"], shares["n2"]) > 250:
            return
    raise AssertionError(f"one of the nodes does next to nothing: {shares}")


async def test_the_jobs_of_a_killed_node_are_done_by_another(start: Start, postgres_dsn: str, tmp_path: Path) -> None:
    """kill -9 and no restart: once its lease is out its jobs run elsewhere, as orphans, none of them blamed."""
    victim = start("victim", 1.0, jobs=400)
    marks = tmp_path / "marks"
    await eventually(lambda: len(lines_of(tmp_path / "marks.victim")) >= 300, "it works")
    victim.kill()
    victim.wait()
    acknowledged = [line for line in lines_of(tmp_path / "marks.victim") if line != "up"]
    async with open_node(workers.app, store=postgres_dsn, name="n1", lease=1.0) as node:
        for job_id in acknowledged:
            done = await node.wait(job_id, WAIT)
            assert (done.state, done.attempt) == ("completed", 1)
            assert done.orphaned == (done.node == "n1")
    assert len(set(lines_of(marks))) >= len(acknowledged)


async def test_a_job_that_runs_whenever_its_node_dies_is_discarded_as_poison(postgres_dsn: str) -> None:
    """At the third time, with an error of kind `orphaned`; one that only waited each time is innocent, and runs."""
    async with open_loop():
        store = PostgresStore(postgres_dsn)
        await store.open()
        membership = await store.join("victim", 0.01)
        bad, twice, waited = (built(workers.add.new(number)) for number in range(3))
        for record, deaths in ((bad, 2), (twice, 1)):
            for _ in range(deaths):
                machine.begin(record, record.inserted_at)
                machine.take_back(record, record.inserted_at, "its node died")
            machine.begin(record, record.inserted_at)
            record.orphaned = deaths
        waited.orphaned = 7
        await store.commit_inserts(membership, 1, [bad, twice, waited], may_conflict=False)
        await store.close()
    async with open_node(workers.app, store=postgres_dsn, name="n1") as node:
        done = await node.wait(as_uuid(bad.id), WAIT)
        assert (done.state, done.attempt, done.orphaned) == ("discarded", 1, 3)
        assert [error["kind"] for error in done.errors] == ["orphaned"]
        other = await node.wait(as_uuid(twice.id), WAIT)
        assert (other.state, other.attempt, other.orphaned) == ("completed", 1, 2)
        innocent = await node.wait(as_uuid(waited.id), WAIT)
        assert (innocent.state, innocent.orphaned) == ("completed", 8)


async def test_a_node_stopped_past_its_lease_commits_nothing_more_and_joins_again(
    start: Start, postgres_dsn: str, tmp_path: Path
) -> None:
    """SIGSTOP, rescue by the other, SIGCONT: every acknowledged job is completed once in the store."""
    sleeper = start("sleeper", 1.0, jobs=1500)
    start("helper", 1.0, jobs=200)
    await eventually(lambda: len(lines_of(tmp_path / "marks.sleeper")) >= 200, "it works")
    for _ in range(2):
        os.kill(sleeper.pid, signal.SIGSTOP)
        try:
            await eventually(lambda: query(postgres_dsn, FENCED), "the helper fences it", WAIT)
        finally:
            os.kill(sleeper.pid, signal.SIGCONT)

        async def joined() -> bool:
            return await lives(postgres_dsn)

        await eventually(joined, "it joins again", WAIT)

    def all_inserted() -> bool:
        return all(lines_of(tmp_path / f"marks.{name}")[-1:] == ["up"] for name in ("sleeper", "helper"))

    await eventually(all_inserted, "all are inserted", WAIT)

    async def all_done() -> bool:
        return all(record.state == "completed" for record in await all_records(postgres_dsn))

    await eventually(all_done, "all are stored", WAIT)
    acknowledged = [lines_of(tmp_path / f"marks.{name}") for name in ("sleeper", "helper")]
    records = {str(as_uuid(record.id)): record for record in await all_records(postgres_dsn)}
    for lines in acknowledged:
        assert lines[-1] == "up"
        for line in lines:
            if line != "up":
                record = records[line]
                assert (record.state, record.attempt) == ("completed", 1)
                assert whole_history(record).count(b'"completed"]') == 1
    assert any(record.orphaned for record in records.values())


async def query(dsn: str, text: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(text)
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(asyncio.run, ask())


async def lives(dsn: str) -> bool:
    return bool(
        await query(
            dsn,
            "SELECT EXISTS (SELECT FROM kathikon.nodes n JOIN kathikon.lanes l USING (node_id) "
            "WHERE n.name = 'sleeper' AND l.lane = 2 AND l.epoch = n.epoch AND n.lease_until > now())",
        )
    )
