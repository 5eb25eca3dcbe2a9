"""Actors in a node: in its tree, kept in its store, reached by its jobs, and inserting jobs themselves."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import trio
import trio_asyncio

from kathikon_actors import Node, OutsideNode, Snapshot, StoredSnapshot, open_actor_system, open_node
from kathikon_actors.telemetry.events import SnapshotReport
from tests.node.actor_app import (
    NAME,
    Counter,
    add_async,
    add_inside,
    add_plain,
    look_async,
    look_plain,
    make_app,
    wait_for_ever,
)
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["task", "process"])
def isolation(request: pytest.FixtureRequest) -> str:
    """How the actor of the app runs."""
    isolation: str = request.param
    return isolation


@pytest.fixture
async def node(isolation: str) -> AsyncIterator[Node]:
    async with open_node(make_app(isolation), name="n1", shutdown_timeout=2.0) as node:
        yield node


async def test_actors_of_the_app_and_those_started_by_hand_are_in_the_nodes_tree(node: Node) -> None:
    """`App(children=[actor_spec(...)])` and `node.system.start(...)`."""
    await node.system.start(Counter, name="late")
    assert await node.system.ref(NAME, Counter).call(Counter.add, 1) == 1
    drawn = node.format_tree()
    assert "actors" in drawn
    assert "late" in drawn
    assert NAME in drawn


@pytest.mark.parametrize("job", [add_plain, add_async, add_inside], ids=["plain", "async", "inside"])
async def test_jobs_call_the_nodes_actors_from_wherever_they_run(node: Node, job: Any) -> None:
    """A hundred jobs at the same time: each counts once, each gets a count of its own."""
    many = await node.insert_many(job.new(1) for _ in range(100))
    results = [(await node.wait(job_id, timeout=60)).result for job_id in many.ids]
    assert sorted(results) == list(range(1, 101))


@pytest.mark.parametrize("job", [look_plain, look_async], ids=["plain", "async"])
async def test_what_a_job_can_do_with_actors(node: Node, job: Any) -> None:
    """Look up, call, cast, large data, errors of the actor and of the way to it, inserts; in async jobs starts too."""
    done = await node.wait((await node.insert(job.new())).id, timeout=60)
    assert done.state == "completed", done.errors
    told = done.result
    assert told["nobody"]
    assert told["alive"]
    assert NAME in told["names"]
    assert told["after cast"] == 2
    assert told["large"] == 3_000_000
    assert "LookupError: no such visit" in told["error"]
    assert "nobody" in told["no such"]
    inserted = await node.wait(told["inserted"], timeout=60)
    assert inserted.state == "completed"
    if job is look_plain:
        assert "hang" in told["timeout"]
    else:
        assert told["started"] == 7
        assert told["down"] == "Normal"


async def test_a_timeout_reaches_a_plain_job_that_waits_for_an_actor(isolation: str) -> None:
    """It is interrupted where it waits, its process lives on, and the next attempt gets its own answer."""
    app = make_app(isolation)
    async with open_node(app, name="n1", shutdown_timeout=2.0) as node:
        job = await node.insert(wait_for_ever.new())
        crew = node._state.crews["plain"]
        await eventually(lambda: any(runner.busy for runner in crew.runners), "the first attempt has begun")
        [pid] = [runner.process.pid for runner in crew.runners if runner.busy]
        await eventually(lambda: attempts_of(node, job.id, 1), "the first attempt is over")
        stuck = node.system.ref("stuck", Counter)
        down = stuck.monitor()
        stuck.kill()
        await down.wait()
        await eventually(lambda: stuck.alive, "the actor is back")
        # The next attempt ends by itself, and is to have the time that a busy machine takes for it.
        node._state.the_table().records[job.id.bytes].timeout = 60.0
        await node.retry(job.id)
        done = await node.wait(job.id, timeout=60)
        assert done.result == 0
        assert "timeout" in str(done.errors[0])
        assert pid in {runner.process.pid for runner in crew.runners}


async def attempts_of(node: Node, job_id: Any, attempts: int) -> bool:
    job = await node.get(job_id)
    return len(job.errors) >= attempts


async def test_actors_insert_jobs_into_their_node(node: Node) -> None:
    """From the node's own process and from the actor's; one by one and many."""
    ids = await node.system.ref(NAME, Counter).call(Counter.order, 20)
    assert len(ids) == 22
    for job_id in ids:
        assert (await node.wait(job_id, timeout=60)).state == "completed"
    assert await node.system.ref(NAME, Counter).call(Counter.add, 0) == 22


async def test_an_error_of_an_insert_arrives_whole_at_the_actor(node: Node) -> None:
    """What does not fit raises there as it would in the node."""

    class Wrong(Counter):
        async def order(self, count: int) -> list[str]:
            await self.system.node.insert("add_sync")
            return []

    wrong = await node.system.start(Wrong, isolation="task", restart="temporary")
    with pytest.raises(Exception, match=r'no worker "add_sync".*add_async'):
        await wrong.call(Counter.order, 1)


async def test_outside_of_a_node_there_is_nobody_to_insert_to() -> None:
    """The error says what to open."""
    async with open_actor_system() as system:
        with pytest.raises(OutsideNode, match="open_node"):
            _ = system.node


async def test_killed_worker_processes_leave_nothing_behind_at_the_actors(node: Node) -> None:
    """Five kills of processes whose jobs wait for an answer: no door and no call stays behind."""
    crew, doors = node._state.crews["async"], node._state.doors._doors
    before = {runner.process.pid for runner in crew.runners}
    for _ in range(5):
        await node.insert_many(add_async.new(1) for _ in range(20))
        # One that has ended jobs counts as well: between two looks all of them may have run.
        await eventually(lambda: any(runner.busy or runner.jobs for runner in crew.runners), "jobs run")
        for runner in list(crew.runners):
            runner.process.kill()
        pids = {runner.process.pid for runner in crew.runners}
        await eventually(lambda pids=pids: not pids & {one.process.pid for one in crew.runners}, "they are gone")

    def one_each() -> bool:
        processes = [runner for each in node._state.crews.values() for runner in each.runners]
        return len(doors) == len(processes) and bool(crew.runners)

    await eventually(one_each, "one door a process")
    assert not before & {runner.process.pid for runner in crew.runners}
    assert await node.system.ref(NAME, Counter).call(Counter.add, 0) >= 0


async def snapshots_in(dsn: str, *, at_rest: bool = True) -> list[dict[str, Any]]:
    """The states in the database, the newest first.

    Args:
        dsn: of the database.
        at_rest: once nothing of a killed node is under way there any more.
    """

    async def read() -> list[bytes]:
        connection = await asyncpg.connect(dsn)
        try:
            while at_rest and await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE application_name = 'kathikon' AND datname = current_database()"
            ):
                await asyncio.sleep(0.01)
            rows = await connection.fetch(
                "SELECT state FROM kathikon.snapshots WHERE actor = $1 ORDER BY version DESC", NAME
            )
            return [row[0] for row in rows]
        finally:
            await connection.close()

    async with trio_asyncio.open_loop():
        with trio.fail_after(30):
            return [msgspec.msgpack.decode(state) for state in await trio_asyncio.aio_as_trio(read)()]


async def test_after_kill_9_of_the_node_actors_come_back_with_their_last_snapshot(
    postgres_dsn: str, isolation: str
) -> None:
    """Two lives, killed while they count: whole states only, two kept, the next life begins with the newest."""
    wanted = 0
    for _ in range(2):
        program = subprocess.Popen(  # noqa: ASYNC220 its output is read in a thread
            [sys.executable, "-m", "tests.node.actor_app", postgres_dsn, isolation],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert program.stdout is not None
            begun = int(await trio.to_thread.run_sync(program.stdout.readline))
            assert begun == wanted
            kept = 0
            with trio.fail_after(30):
                while kept < 2:  # a store that is slow keeps few of them
                    for _ in range(500):
                        assert int(await trio.to_thread.run_sync(program.stdout.readline)) > begun
                    kept = sum(state["count"] > begun for state in await snapshots_in(postgres_dsn, at_rest=False))
        finally:
            program.send_signal(signal.SIGKILL)
            program.wait()
            program.stdout.close()
        states = await snapshots_in(postgres_dsn)
        assert len(states) == 2
        assert all(state["count"] == len(state["seen"]) for state in states)
        wanted = states[0]["count"]
        assert states[1]["count"] <= wanted
        assert begun < wanted


async def test_a_node_that_stops_in_order_keeps_the_very_last_state(store_url: str) -> None:
    """On Postgres the next node of that name goes on; in memory it ends with the node."""
    async with open_node(make_app(), store=store_url, name="n1") as node:
        late = await node.system.start(Counter, name="late", snapshot=Snapshot(every=10**6))
        assert await late.call(Counter.add, 5) == 5
    async with open_node(make_app(), store=store_url, name="n1") as node:
        late = await node.system.start(Counter, name="late", snapshot=Snapshot())
        assert await late.call(Counter.add, 1) == (1 if store_url == "memory:" else 6)


async def test_a_state_that_is_refused_is_told_on_the_nodes_bus(isolation: str) -> None:
    """As an event beside those of jobs: which actor, which version, why."""
    heard: list[Any] = []
    async with open_node(make_app(isolation), name="n1") as node:
        node.subscribe(heard.append)
        membership = node._state.the_membership()
        await node._state.store.snapshots.save(membership, "late", StoredSnapshot("msgpack", b"\xa4half"))
        late = await node.system.start(Counter, name="late", isolation=isolation, snapshot=Snapshot())  # type: ignore[arg-type]
        assert await late.call(Counter.add, 1) == 1
        await eventually(lambda: [e for e in heard if isinstance(e, SnapshotReport)], "it is told")
    [report] = [event for event in heard if isinstance(event, SnapshotReport)]
    assert (report.action, report.actor, report.version, report.node) == ("rejected", "late", 1, "n1")
    assert "SnapshotUnreadable" in report.problem


async def test_a_cut_store_holds_up_no_actor(isolation: str) -> None:
    """The node's store closes under it: calls are answered, and the state arrives when the store is back."""
    async with open_node(make_app(isolation), name="n1") as node:
        counter = node.system.ref(NAME, Counter)
        await node._state.store.close()
        for number in range(1, 51):
            assert await counter.call(Counter.add, 1) == number

        async def kept() -> bool:
            membership = node._state.the_membership()
            states = await node._state.store.snapshots.load(membership, NAME)
            return bool(states) and msgspec.msgpack.decode(states[0].state)["count"] == 50

        await eventually(lambda: node._state.link.cuts > 0 and node._state.link.is_open, "the cut is noticed and over")
        await eventually(kept, "the last state is kept")
