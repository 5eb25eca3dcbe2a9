"""What survives when the node, its parts, or its Postgres die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from kathikon_actors import App, BadConfiguration, Node, NodeNameTaken, Queue, StoreUnavailable, WaitTimeout, open_node
from kathikon_actors.node import children
from kathikon_actors.queue.pool import STOP_GRACE
from kathikon_actors.store import journal
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.store.protocol import Counts
from kathikon_actors.telemetry import JobTransition
from supervisors import TreeNode
from supervisors.testing import crash
from tests.node import workers
from tests.node.workers import app
from tests.support.waiting import eventually, eventually_sync, lines_of

WAIT = 30.0

PROGRAM = """
import sys, trio
from kathikon_actors import open_node
from tests.node import workers

async def main(store, marks, jobs, seconds):
    async with open_node(workers.app, store=store, name="victim") as node:
        acknowledged = open(marks + ".acknowledged", "a")
        for i in range(jobs):
            job = await node.insert(workers.hold.new(marks, seconds).options(queue="wide"))
            acknowledged.write(f"{job.id}\\n")
            acknowledged.flush()
        await trio.sleep_forever()

trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
"""


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[object]:
    """Starts nodes in processes of their own; kills those that are left."""
    started: list[subprocess.Popen[bytes]] = []

    def start(store: str, marks: Path, jobs: int, seconds: float) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, store, str(marks), str(jobs), str(seconds)])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


async def test_a_node_killed_in_the_middle_goes_on_when_it_starts_again(
    victim, tmp_path: Path, postgres_dsn: str
) -> None:
    """kill -9: its worker processes go with it; its next life finishes every acknowledged job, none of them blamed."""
    marks = tmp_path / "marks"
    acknowledged = tmp_path / "marks.acknowledged"
    process = victim(postgres_dsn, marks, 40, 0.02)
    await eventually(lambda: len(lines_of(marks)) >= 10 and len(lines_of(acknowledged)) >= 40, "jobs ran", 2 * WAIT)
    process.kill()
    process.wait()
    pids = {int(line) for line in lines_of(marks)}
    await eventually(lambda: not any(_alive(pid) for pid in pids), "its worker processes are gone")
    async with open_node(app, store=postgres_dsn, name="victim") as node:
        for job_id in lines_of(acknowledged):
            done = await node.wait(job_id, timeout=WAIT)
            assert (done.state, done.attempt, done.errors) == ("completed", 1, [])
        assert len(await node.list(limit=100)) == 40


async def test_an_embedded_store_survives_a_kill_of_its_node(victim, tmp_path: Path) -> None:
    """The private Postgres dies with its node and comes back with it; the node's jobs go on at once."""
    store, marks = f"embedded:{tmp_path / 'store'}", tmp_path / "marks"
    acknowledged = tmp_path / "marks.acknowledged"
    process = victim(store, marks, 20, 0.02)
    await eventually(lambda: len(lines_of(marks)) >= 3 and len(lines_of(acknowledged)) >= 20, "some jobs ran", 2 * WAIT)
    process.kill()
    process.wait()
    async with open_node(app, store=store, name="victim") as node:
        for job_id in lines_of(acknowledged):
            assert (await node.wait(job_id, timeout=WAIT)).state == "completed"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


EVERY_NAME = [
    ("store",),
    ("store", "table"),
    ("store", "database"),
    ("store", "membership"),
    ("store", "journal"),
    ("declarer",),
    ("inside",),
    ("zygote",),
    ("queues",),
    ("queues", "queue wide"),
    ("queues", "queue wide", "pool"),
    ("queues", "queue wide", "producer"),
    ("mourners",),
    ("scheduler",),
    ("claimer",),
    ("maintenance",),
    ("maintenance", "rescuer"),
    ("maintenance", "pruner"),
    ("maintenance", "figures"),
    ("queue keeper",),
    ("commands",),
    ("leadership",),
    ("limiter",),
    ("broadcaster",),
    ("crons",),
    ("actors",),
    ("telemetry",),
    ("forwarder",),
    ("control",),
]


async def test_every_name_of_the_tree_is_killed_below(postgres_dsn: str) -> None:
    """Whoever adds a child to the node adds it to the list."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        found: set[tuple[str, ...]] = set()

        def look(at: TreeNode, path: tuple[str, ...]) -> None:
            for child in at.children:
                here = (*path, str(child.id))
                if "pool" not in path and "queue default" not in here:
                    found.add(here)
                    look(child, here)

        look(node.tree(), ())
    assert found == set(EVERY_NAME)


@pytest.mark.parametrize("path", EVERY_NAME, ids="/".join)
async def test_any_child_of_the_tree_may_be_killed_under_load(postgres_dsn: str, path: tuple[str, ...]) -> None:
    """An injected exception in each name of the tree: the node heals, no job is lost, none completes twice."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        first = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(3000))
        later = await node.insert(workers.add.new(1).options(schedule_in=0.2))
        supervisor = node.supervisor
        for name in path[:-1]:
            supervisor = supervisor.which_child(name).info  # type: ignore[assignment]
        crash(supervisor, path[-1], RuntimeError("killed by the test"))
        ids = [*first.ids, later.id]
        second = []
        for i in range(20):
            try:
                second.append((await node.insert(workers.add.new(i))).id)
            except StoreUnavailable:
                await trio.sleep(0.05)
        for job_id in [*ids, *second]:
            done = await node.wait(job_id, timeout=WAIT)
            assert (done.state, done.attempt) == ("completed", 1), done.history
        with trio.fail_after(WAIT):
            counts = {c.queue: c.by_state for c in await _counts(node)}
        assert counts["wide"] == {"completed": 3000}


async def _counts(node: Node) -> Sequence[Counts]:
    """The last jobs may end while what was killed is being stopped: the store is opened again only after that."""
    while True:
        try:
            return await node.counts()
        except StoreUnavailable:
            await trio.sleep(0.05)


async def test_a_wait_whose_time_is_up_says_so_while_the_store_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits that out, and gives up as it does in any other case."""

    async def no_answer(_job_id: bytes) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("cut off by the test")

    async with open_node(app, name="n1") as node:
        monkeypatch.setattr(node._state.store, "get", no_answer)
        with pytest.raises(WaitTimeout, match="it is unknown"):
            await node.wait(uuid4(), timeout=0.05)


async def test_a_postgres_that_is_killed_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    """-m immediate stop and start under load: running jobs go on, inserts wait, everything is committed in the end."""
    server = EmbeddedServer(tmp_path / "pg")
    await server.start()
    try:
        async with open_node(app, store=server.dsn, name="n1") as node:
            first = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(2000))
            acknowledged = list(first.ids)

            async def insert_more() -> None:
                for i in range(50):
                    acknowledged.append((await node.insert(workers.add.new(i))).id)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(insert_more)
                for _ in range(2):
                    await server.stop("immediate")
                    await server.start()
            for job_id in acknowledged:
                done = await node.wait(job_id, timeout=WAIT)
                assert (done.state, done.attempt) == ("completed", 1)
            assert sum(sum(c.by_state.values()) for c in await node.counts()) == 2050
    finally:
        with trio.CancelScope(shield=True):
            await server.stop()


async def test_an_embedded_server_that_is_killed_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 of the postmaster under a running node."""
    # The journal must not spend its time to flush on a server that comes back only after it: then nothing ends in time.
    for module in (journal, children):
        monkeypatch.setattr(module, "FLUSH_TIMEOUT", 3 * WAIT)
    async with open_node(app, store=f"embedded:{tmp_path / 'store'}", name="n1") as node:
        many = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(1000))
        server = node.supervisor.which_child("store").info.which_child("server").info  # type: ignore[attr-defined]
        os.kill(server, signal.SIGKILL)
        more = await node.insert(workers.add.new(1))
        for job_id in [*many.ids, more.id]:
            assert (await node.wait(job_id, timeout=WAIT)).state == "completed"


@pytest.mark.parametrize("worker", [workers.stay, workers.stay_async], ids=["plain", "async"])
@pytest.mark.parametrize("leaves", ["left", "cancelled"])
async def test_a_graceful_stop_finishes_what_runs_and_gives_back_the_rest(
    postgres_dsn: str, tmp_path: Path, leaves: str, worker: workers.Worker
) -> None:
    """The running job ends however long it takes, those that wait stay available, nothing is blamed."""
    pids, gate = tmp_path / "pids", tmp_path / "gate"
    one = App(queues=[Queue("default", concurrency=1)], workers=workers.WORKERS)

    async def let_it_end(node: Node) -> None:
        """Once the node stops, and later than a process is waited for that is stopped with its pool."""
        await eventually(lambda: node._state.draining, "the node stops")
        await trio.sleep(STOP_GRACE + 0.5)
        gate.touch()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with open_node(one, store=postgres_dsn, name="n1") as node:
                jobs = [await node.insert(worker.new(str(pids), str(gate))) for _ in range(3)]
                await eventually(lambda: lines_of(pids), "the first runs")
                nursery.start_soon(let_it_end, node)
                if leaves == "cancelled":
                    scope.cancel()
                    await trio.sleep_forever()
    assert scope.cancelled_caught == (leaves == "cancelled")
    assert len(lines_of(pids)) == 1
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        assert (await node.get(jobs[0].id)).state == "completed"
        for job in jobs:
            done = await node.wait(job.id, timeout=WAIT)
            assert (done.state, done.attempt) == ("completed", 1)
    assert len(lines_of(pids)) == 3


async def test_a_stop_that_cannot_wait_gives_running_jobs_back_uncounted(postgres_dsn: str, tmp_path: Path) -> None:
    """Past `shutdown_timeout` the process is stopped; the attempt does not count."""
    pids = tmp_path / "pids"
    async with open_node(app, store=postgres_dsn, name="n1", shutdown_timeout=0.1) as node:
        job = await node.insert(workers.hold.new(str(pids), 60))
        await eventually(lambda: lines_of(pids), "it runs")
    async with open_node(app, store=postgres_dsn, name="n1", shutdown_timeout=0.1) as node:
        again = await node.get(job.id)
        assert (again.attempt, again.errors) in ((0, []), (1, []))
        await eventually(lambda: len(lines_of(pids)) == 2, "it runs again")


async def test_a_cancelled_block_stops_the_node_in_order(postgres_dsn: str) -> None:
    """Cancelling the block is a graceful stop; what was acknowledged is there."""
    with trio.CancelScope() as scope:
        async with open_node(app, store=postgres_dsn, name="n1") as node:
            many = await node.insert_many(workers.add.new(i) for i in range(500))
            scope.cancel()
            await trio.sleep_forever()
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        for job_id in many.ids:
            assert (await node.wait(job_id, timeout=WAIT)).attempt == 1


async def test_a_cancelled_block_that_holds_a_nursery_lets_running_jobs_finish(tmp_path: Path) -> None:
    """Then the cancellation comes in a group."""
    pids = tmp_path / "pids"
    ends: list[str | None] = []
    with trio.CancelScope() as scope:
        async with open_node(app) as node:
            node.subscribe(lambda event: ends.append(event.new), JobTransition)  # type: ignore[attr-defined]
            await node.insert(workers.hold_async.new(str(pids), 1.5))
            await eventually(lambda: lines_of(pids), "it runs")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
    assert ends[-1] == "completed"


async def test_a_name_is_refused_while_another_live_node_has_it(postgres_dsn: str) -> None:
    """Two nodes of one name never share jobs."""
    async with open_node(app, store=postgres_dsn, name="n1"):
        with pytest.raises(NodeNameTaken, match='a node named "n1" is alive'):
            async with open_node(app, store=postgres_dsn, name="n1"):
                pass
    async with open_node(app, store=postgres_dsn, name="n1"):
        pass


async def test_what_cannot_work_is_said_in_one_sentence_before_anything_starts() -> None:
    """A database that is not there, a URL nobody knows, an app without workers."""
    with pytest.raises(StoreUnavailable, match="nowhere"):
        async with open_node(app, store="postgresql://u:secret@127.0.0.1:1/nowhere"):
            pass
    with pytest.raises(BadConfiguration, match='Did you mean "memory"'):
        async with open_node(app, store="memmory:"):
            pass
    with pytest.raises(BadConfiguration, match="App"):
        async with open_node("not an app"):  # type: ignore[arg-type]
            pass
    with pytest.raises(BadConfiguration, match="two queues"):
        App([Queue("a"), Queue("a")])


def test_a_node_leaves_no_process_behind(tmp_path: Path) -> None:
    """After a normal end nothing that it started is alive."""
    code = f"""
import trio
from kathikon_actors import open_node
from tests.node import workers
async def main():
    async with open_node(workers.app, store="embedded:{tmp_path}/s") as node:
        job = await node.insert(workers.add.new(1))
        await node.wait(job.id)
        print(node.worker_pids()["default"][0], node.supervisor.which_child("zygote").info,
              node.supervisor.which_child("store").info.which_child("server").info)
trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 3
    eventually_sync(lambda: not any(_alive(pid) for pid in pids), "all are gone")
