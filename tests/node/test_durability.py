"""`durability`: jobs that are written when they are inserted, a moment later, or never."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kathikon_actors import App, InvalidJob, Job, JobNotFound, Node, Queue, QueueFull, Workflow, open_node, worker
from kathikon_actors.jobs.errors import BadConfiguration, InvalidState
from kathikon_actors.node.client import Client
from supervisors.testing import crash
from tests.node import workers
from tests.support.waiting import eventually, lines_of

WAIT = 20.0
NEVER = 3600.0


@worker(queue="few", durability="memory")
def remembered(number: int) -> int:
    return number + 1


app = App(
    [Queue("few", max_in_memory=10)],
    [remembered, workers.add, workers.fail_until, workers.spin, workers.hold, workers.stay],
    timeout=60,
)


async def stored(node: Node) -> int:
    """How many jobs the store has, in any state."""
    return sum(sum(counts.by_state.values()) for counts in await node.counts())


async def test_a_snapshot_job_runs_and_ends_before_it_is_written(store_url: str) -> None:
    """Its insert, its end and its result are known at once; the store hears of it at the stop, once."""
    async with open_node(app, store=store_url, snapshot_interval=NEVER) as node:
        job = await node.insert(workers.add.new(1, 2).options(durability="snapshot"))
        done = await node.wait(job.id, timeout=WAIT)
        assert (done.state, done.result, (await node.get(job.id)).state) == ("completed", 3, "completed")
        assert await stored(node) == 0
        assert (node.statistics().rows, node.statistics().uncommitted_outcomes) == (0, 1)
        journal = node._state.journal
        table = node._state.table
        assert table is not None and journal is not None
        table.unwritten.write()
        await eventually(lambda: journal.rows == 1, "it is written")
        assert await stored(node) == 1
        kept = (await node.list())[0]
        assert (kept.id, kept.state, kept.result, len(kept.history)) == (job.id, "completed", 3, 3)
        assert node.statistics().jobs == 0


async def test_snapshot_jobs_that_begin_and_end_within_the_interval_are_one_row_each(store_url: str) -> None:
    """No row in the live table: half of what a committed job costs."""
    async with open_node(app, store=store_url, snapshot_interval=0.05) as node:
        many = await node.insert_many(workers.add.new(n).options(durability="snapshot") for n in range(9))
        await eventually(lambda: node.statistics().jobs == 0, "all are written")
        assert len(many.ids) == 9
        assert node.statistics().rows <= 2 * 9
        for number, job_id in enumerate(many.ids):
            assert (await node.get(job_id)).result == number
        assert await stored(node) == 9


async def test_a_snapshot_job_that_another_one_waits_for_is_written_before_that(store_url: str, tmp_path: Path) -> None:
    """Its interval is not over; by each way of inserting, and whether it has ended, runs or waits."""
    gate = tmp_path / "gate"
    async with open_node(app, store=store_url, snapshot_interval=NEVER) as node:
        kept: dict[str, Any] = {"durability": "snapshot"}
        ended = await node.insert(workers.add.new(1, 2).options(**kept))
        await node.wait(ended.id, timeout=20)
        running = await node.insert(workers.stay.new(str(tmp_path / "pid"), str(gate)).options(**kept))
        await eventually(lambda: lines_of(tmp_path / "pid"), "it runs")
        child = await node.insert(workers.add.new(5), depends_on=[ended, running])
        assert child.state == "blocked"
        other = await node.insert(workers.add.new(4).options(**kept, schedule_in=NEVER))
        flow = await node.workflow(Workflow().add("step", workers.add.new(6).options(depends_on=[other.id])))
        assert flow["step"].state == "blocked"
        last = await node.insert(workers.add.new(7).options(**kept, schedule_in=NEVER))
        many = await node.insert_many([workers.add.new(8).options(depends_on=[last.id])])
        assert (many.inserted, many.errors) == (1, [])
        gate.touch()
        done = await node.wait(child.id, timeout=20)
        assert done.dependency_results == {ended.id: 3, running.id: int(lines_of(tmp_path / "pid")[0])}


async def test_a_snapshot_job_that_waits_is_written_as_it_is_and_changed_like_any_other(store_url: str) -> None:
    """Within the interval it has a row; cancel, retry and discard change it there."""
    async with open_node(app, store=store_url, snapshot_interval=0.01) as node:
        job = await node.insert(workers.add.new(1), None, durability="snapshot", schedule_in=NEVER)

        async def has_state(state: str) -> bool:
            return [found.state for found in await node.list()] == [state]

        await eventually(lambda: has_state("scheduled"), "it has a row")
        assert (await node.cancel(job.id)).state == "cancelled"
        await eventually(lambda: has_state("cancelled"), "the store has it as cancelled")
        assert (await node.retry(job.id)).state == "available"
        assert (await node.wait(job.id, timeout=WAIT)).state == "completed"
        assert await has_state("completed")


async def test_a_snapshot_job_is_flushed_by_a_graceful_stop(tmp_path: Path, postgres_dsn: str) -> None:
    """What was not written yet is written when the node stops; the next life goes on with it."""
    async with open_node(app, store=postgres_dsn, name="n1", snapshot_interval=NEVER) as node:
        ended = await node.insert(workers.add.new(1).options(durability="snapshot"))
        await node.wait(ended.id, timeout=WAIT)
        waiting = await node.insert(workers.add.new(2).options(durability="snapshot", schedule_in=0.5))
        running = await node.insert(workers.hold.new(str(tmp_path / "marks"), 0.3).options(durability="snapshot"))
        await eventually(lambda: lines_of(tmp_path / "marks"), "it runs")
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        states = {job.id: job.state for job in await node.list()}
        assert states[ended.id] == states[running.id] == "completed"
        assert waiting.id in states
        assert (await node.wait(waiting.id, timeout=WAIT)).result == 2


async def test_a_job_in_memory_is_never_written(store_url: str) -> None:
    """It runs, is waited for and looked at like any other; the store never hears of it, and it ends with the node."""
    async with open_node(app, store=store_url, name="n1") as node:
        job = await node.insert(remembered.new(1))
        assert (await node.wait(job.id, timeout=WAIT)).result == 2
        assert (await node.get(job.id)).state == "completed"
        again = await node.rerun(job.id)
        assert (await node.wait(again.id, timeout=WAIT)).rerun_of == job.id
        assert [entry["event"] for entry in (await node.get(job.id)).history][-1] == "rerun"
        failing = await node.insert(workers.fail_until.new(2).options(durability="memory"))
        done = await node.wait(failing.id, timeout=WAIT)
        assert (done.state, done.attempt, len(done.errors)) == ("completed", 2, 1)
        waiting = await node.insert(remembered.new(5), None, schedule_in=NEVER)
        assert (await node.cancel(waiting.id)).state == "cancelled"
        with pytest.raises(InvalidState):
            await node.cancel(waiting.id)
        assert (await node.retry(waiting.id)).state == "available"
        assert (await node.wait(waiting.id, timeout=WAIT)).result == 6
        running = await node.insert(workers.spin.new().options(durability="memory"))
        await eventually(lambda: node.statistics().running, "it runs")
        assert (await node.discard(running.id)).state == "discarded"
        assert (await stored(node), node.statistics().rows, node.statistics().jobs) == (0, 0, 0)
    async with open_node(app, store=store_url, name="n1") as node:
        with pytest.raises(JobNotFound):
            await node.get(job.id)


async def test_memory_is_bounded(store_url: str) -> None:
    """There is room for so many: what is to live in memory is refused then, a snapshot is committed instead."""
    async with open_node(app, store=store_url, name="n1", snapshot_interval=NEVER) as node:
        late = {"schedule_in": NEVER}
        while node.statistics().jobs < 5:
            await node.insert(remembered.new(1), None, **late)
        with pytest.raises(QueueFull) as full:
            await node.insert(remembered.new(1), None, **late)
        assert str(full.value) == 'queue "few" holds 5 jobs, its max_in_memory is 10; insert again later'
        jobs = [remembered.new(n).options(**late) for n in range(3)]
        many = await node.insert_many([jobs[0], workers.add.new(1).options(durability="snapshot", **late), jobs[1]])
        assert [index for index, _ in many.errors] == [0, 2]
        assert await stored(node) == many.inserted == 1


async def test_insert_many_keeps_the_order_of_all_durabilities(store_url: str) -> None:
    """Ids come in the order of the input, whenever each job is written."""
    kinds = ("commit", "memory", "snapshot")
    async with open_node(workers.app, store=store_url, name="n1") as node:
        jobs = [workers.add.new(n).options(durability=kinds[n % 3], queue="wide") for n in range(3000)]
        many = await node.insert_many(jobs)
        assert (many.inserted, many.errors) == (3000, [])
        assert many.ids == sorted(many.ids)
        for number in (0, 1, 2, 1500, 2999):
            assert (await node.wait(many.ids[number], timeout=WAIT)).result == number


async def test_what_cannot_be_is_refused(store_url: str) -> None:
    """An unknown word, an id that only the store can compare, a client that has no memory to keep it in."""
    async with open_node(app, store=store_url) as node:
        with pytest.raises(InvalidJob, match="durability is 'ram'; give 'commit', 'snapshot', 'memory'"):
            await node.insert(workers.add.new(1).options(durability="ram"))
        job_id = "01900000-0000-7000-8000-000000000001"
        with pytest.raises(InvalidJob, match="has to be stored"):
            await node.insert(remembered.new(1).options(id=job_id))
        given = await node.insert(workers.add.new(1).options(id=job_id, durability="snapshot"))
        assert (await node.list(after=None))[0].id == given.id
    with pytest.raises(BadConfiguration, match="App: durability is 'ram'"):
        App([Queue("q")], [remembered], durability="ram")  # type: ignore[arg-type]
    with pytest.raises(BadConfiguration, match="worker bad: durability is 1"):
        worker(name="bad", durability=1)(lambda: None)  # type: ignore[call-overload]


@worker(queue="few", max_attempts=1)
def opens_a_batch(job: Job) -> None:
    with job.open_batch():
        pass


@pytest.mark.parametrize("durability", ["snapshot", "memory"])
async def test_a_job_that_waits_for_a_batch_has_to_be_committed(store_url: str, durability: str) -> None:
    """Its end would come from the store, which may not know it yet; the job is told so."""
    async with open_node(App([Queue("few")], [opens_a_batch]), store=store_url, name="n1") as node:
        job = await node.insert(opens_a_batch.new().options(durability=durability))
        done = await node.wait(job.id, timeout=WAIT)
        assert done.state == "discarded"
        assert "has to be committed" in done.errors[0]["message"]


async def test_a_client_keeps_nothing_in_memory(postgres_dsn: str) -> None:
    """Without a node a snapshot is committed, and a job in memory is refused."""
    async with open_node(app, store=postgres_dsn):
        pass
    async with Client(postgres_dsn) as client:
        job = await client.insert(workers.add.new(1).options(queue="few", durability="snapshot"))
        assert (await client.get(job.id)).state == "available"
        with pytest.raises(InvalidJob, match="needs a node"):
            await client.insert(remembered.new(1))


PROGRAM = """
import sys, trio
from kathikon_actors import open_node
from tests.node import workers

last = None

async def watch(node, stored):  # tells of one job after the other that it is stored, and all that came before with it
    records = node._state.the_table().records
    while True:
        await trio.sleep(0.002)
        job = last
        while job is not None and job.id.bytes in records and records[job.id.bytes].fence < 0:
            await trio.sleep(0.002)
        if job is not None:
            stored.write(f"{job.id}\\n")
            stored.flush()

async def main(store, marks):
    global last
    async with (
        open_node(workers.app, store=store, name="victim", snapshot_interval=0.05) as node,
        trio.open_nursery() as nursery,
    ):
        acknowledged = open(marks + ".acknowledged", "a")
        nursery.start_soon(watch, node, open(marks + ".stored", "a"))
        i = 0
        while True:
            i += 1
            job = await node.insert(workers.note.new(marks, str(i)).options(queue="wide", durability="snapshot"))
            acknowledged.write(f"{job.id}\\n")
            acknowledged.flush()
            last = job
            await trio.sleep(0.001)

trio.run(main, sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def victim() -> Iterator[Callable[[str, Path], subprocess.Popen[bytes]]]:
    """Starts nodes in processes of their own; kills those that are left."""
    started: list[subprocess.Popen[bytes]] = []

    def start(store: str, marks: Path) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", PROGRAM, store, str(marks)]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_a_kill_loses_no_more_of_snapshots_than_the_last_interval(
    victim: Callable[[str, Path], subprocess.Popen[bytes]], tmp_path: Path, postgres_dsn: str
) -> None:
    """kill -9 under load, several times: of what the victim knew to be stored, each job is there, completed once.

    It goes on to insert meanwhile, and what it has inserted lately is stored in no time: else this waits in vain.
    """
    marks = tmp_path / "marks"
    acknowledged, stored = tmp_path / "marks.acknowledged", tmp_path / "marks.stored"
    written: set[str] = set()
    for _ in range(3):
        before = len(lines_of(acknowledged))

        def safe(before: int = before) -> list[str]:
            """What this life has inserted up to the last job that it knows to be stored."""
            last, lines = lines_of(stored)[-1:], lines_of(acknowledged)[before:]
            return lines[: lines.index(last[0]) + 1] if last and last[0] in lines else []

        process = victim(postgres_dsn, marks)
        await eventually(lambda safe=safe: len(safe()) >= 100, "jobs are inserted and stored")
        process.kill()
        process.wait()
        written |= set(safe())
    async with open_node(workers.app, store=postgres_dsn, name="victim") as node:
        await eventually(lambda: node.statistics().jobs == 0, "what was left is done")
        found = {str(job.id): job for job in await node.list(limit=10_000)}
    assert {job.state for job in found.values()} == {"completed"}
    assert {job.attempt for job in found.values()} == {1}
    assert written <= found.keys()
    assert all([entry["event"] for entry in job.history].count("completed") == 1 for job in found.values())


async def test_a_journal_that_dies_loses_no_snapshot(postgres_dsn: str) -> None:
    """What was noted is in the table, which outlives it."""
    async with open_node(workers.app, store=postgres_dsn, name="n1", snapshot_interval=0.05) as node:
        ids = []
        for round_ in range(20):
            many = await node.insert_many(
                workers.add.new(n).options(queue="wide", durability="snapshot") for n in range(50)
            )
            ids += many.ids
            if round_ in (4, 12):
                crash(node.supervisor.which_child("store").info, "journal", RuntimeError("killed by the test"))  # type: ignore[arg-type]
            await trio.sleep(0.01)
        await eventually(lambda: node.statistics().jobs == 0, "all are written")
        assert {job.id for job in await node.list(limit=2000, state="completed")} == set(ids)
