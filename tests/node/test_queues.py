"""What operators do to queues: pause, resume, scale, drain, add, remove; on every node, kept in the store."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from kathikon_actors import (
    App,
    BadConfiguration,
    Client,
    Job,
    Node,
    NoNode,
    Queue,
    QueuePaused,
    QueueTimeout,
    SyncClient,
    UnknownQueue,
    open_node,
)
from supervisors.testing import crash, wait_restarted
from tests.node import workers
from tests.node.conftest import OpenNode
from tests.support.waiting import eventually, lines_of

WAIT = 20.0


many = App(
    queues=[Queue("default"), Queue("wide", concurrency=4, processes=2), Queue("other")], workers=workers.WORKERS
)


@pytest.fixture
async def node(store_url: str):  # type: ignore[no-untyped-def]
    async with open_node(many, store=store_url, name="n1", shutdown_timeout=1.0) as node:
        yield node


async def state_of(node: Node, job: Job) -> str:
    return (await node.get(job.id)).state


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(node: Node, tmp_path: Path) -> None:
    """What runs goes on, inserts are taken, other queues do not care; twice does no harm."""
    path, gate = tmp_path / "marks", tmp_path / "gate"
    running = await node.insert(workers.stay_async.new(str(path), str(gate)))
    await eventually(lambda: lines_of(path), "it runs")
    await node.pause("default")
    await node.pause("default")
    waiting = await node.insert(workers.add.new(1))
    elsewhere = await node.insert(workers.add.new(2), queue="other")
    gate.touch()
    assert (await node.wait(running.id, WAIT)).state == "completed"
    assert (await node.wait(elsewhere.id, WAIT)).result == 2
    assert await state_of(node, waiting) == "available"
    assert [queue.name for queue in await node.queues() if queue.paused] == ["default"]
    with pytest.raises(QueuePaused, match="resume it first"):
        await node.drain("default", timeout=1)
    await node.drain(timeout=WAIT)  # the paused one is left out
    await node.resume("default")
    assert (await node.wait(waiting.id, WAIT)).result == 1


async def test_a_queue_may_be_declared_paused(store_url: str) -> None:
    """Nothing of it starts until it is resumed; added at run time likewise."""
    app = App([Queue("default"), Queue("later", paused=True)], workers=workers.WORKERS)
    async with open_node(app, store=store_url, name="n1") as node:
        await node.add_queue(Queue("added", paused=True))
        waiting = [await node.insert(workers.add.new(1), queue=queue) for queue in ("later", "added")]
        assert (await node.wait((await node.insert(workers.add.new(2))).id, WAIT)).result == 2
        assert [await state_of(node, job) for job in waiting] == ["available", "available"]
        assert {queue.name for queue in await node.queues() if queue.paused} == {"later", "added"}
        for job in waiting:
            await node.resume(job.queue)
            assert (await node.wait(job.id, WAIT)).result == 1
    with pytest.raises(BadConfiguration, match='queue "q": paused is 1; give True or False'):
        Queue("q", paused=1)  # type: ignore[arg-type]


async def test_what_was_resumed_stays_so_though_it_is_declared_paused(postgres_dsn: str) -> None:
    """Also on a node that starts later."""
    app = App([Queue("default", paused=True)], workers=workers.WORKERS)
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        await node.resume("default")
        async with open_node(app, store=postgres_dsn, name="n2") as other:
            assert (await other.wait((await other.insert(workers.add.new(1))).id, WAIT)).result == 1
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        assert (await node.wait((await node.insert(workers.add.new(2))).id, WAIT)).result == 2


async def test_what_was_given_ahead_is_taken_back_when_a_queue_is_paused(node: Node, tmp_path: Path) -> None:
    """It has not started, so it waits with the others."""
    path, gate = tmp_path / "marks", tmp_path / "gate"
    jobs = [await node.insert(workers.stay.new(str(path), str(gate))) for _ in range(3)]
    await eventually(lambda: lines_of(path), "the first one runs")
    await node.pause("default")
    gate.touch()
    assert (await node.wait(jobs[0].id, WAIT)).state == "completed"

    async def all_wait() -> bool:
        waiting = [await node.get(job.id) for job in jobs[1:]]
        return [(job.state, job.attempt) for job in waiting] == [("available", 0)] * 2

    await eventually(all_wait, "the others are taken back")
    assert len(lines_of(path)) == 1
    await node.resume("default")
    for job in jobs:
        assert (await node.wait(job.id, WAIT)).state == "completed"


async def test_a_queue_that_does_not_exist_is_named(node: Node) -> None:
    """With the nearest name."""
    for call in (node.pause, node.resume, node.drain, node.remove_queue, node.queue_status):
        with pytest.raises(UnknownQueue, match='Did you mean "default"'):
            await call("defualt")
    with pytest.raises(UnknownQueue):
        await node.scale("defualt", 3)
    for wrong in (0, 1025, True):
        with pytest.raises(BadConfiguration, match="concurrency"):
            await node.scale("default", wrong)


async def test_a_queue_is_scaled_while_it_runs(node: Node, tmp_path: Path) -> None:
    """More async jobs at once than its processes had room for, then fewer; nothing that runs is disturbed."""
    path = tmp_path / "marks"
    jobs = [await node.insert(workers.hold_async.new(str(path), 600).options(queue="wide")) for _ in range(60)]
    await eventually(lambda: len(lines_of(path)) == 4, "as declared")
    await node.scale("wide", 40)
    await eventually(lambda: len(lines_of(path)) == 40, "as scaled")
    await node.scale("wide", 2)
    running = [job for job in jobs if await state_of(node, job) == "executing"]
    assert len(running) == 40
    for job in running[:39]:
        await node.cancel(job.id)
    await eventually(lambda: len(lines_of(path)) == 41, "one of two places is free")
    await node.scale("wide", None)
    await eventually(lambda: len(lines_of(path)) == 43, "as declared again")
    await node.cancel_by(queue="wide")


async def test_scaling_up_starts_processes_for_plain_functions(store_url: str, tmp_path: Path) -> None:
    """As many as the queue's `processes` say."""
    app = App([Queue("pdf", concurrency=1, processes=3)], workers=workers.WORKERS)
    path = tmp_path / "marks"
    async with open_node(app, store=store_url, name="n1", shutdown_timeout=0.5) as node:
        for _ in range(4):
            await node.insert(workers.hold.new(str(path), 600))
        await eventually(lambda: len(lines_of(path)) == 1, "one at a time")
        await node.scale("pdf", 3)
        await eventually(lambda: len(lines_of(path)) == 3, "three at a time")
        await node.cancel_by(all=True)


async def test_a_drain_waits_for_what_is_due_and_for_what_that_inserts(node: Node, tmp_path: Path) -> None:
    """Not for what is due later; a drain that takes too long says so and stops nothing."""
    path, gate = tmp_path / "marks", tmp_path / "gate"
    later = await node.insert(workers.add.new(1), schedule_in=3600)
    soon = await node.insert(workers.add.new(1), schedule_in=0.2)
    await node.drain("default", timeout=WAIT)
    assert await state_of(node, later) == "scheduled"
    jobs = [await node.insert(workers.stay.new(str(path), str(gate))) for _ in range(5)]
    await eventually(lambda: lines_of(path), "it runs")
    with pytest.raises(QueueTimeout, match="was not drained within 0 s"):
        await node.drain("default", timeout=0)
    gate.touch()
    await node.drain("default", timeout=WAIT)
    assert {await state_of(node, job) for job in jobs} == {"completed"}
    assert await state_of(node, soon) in ("scheduled", "available", "executing", "completed")


async def test_a_queue_is_added_and_removed_at_run_time(node: Node, tmp_path: Path) -> None:
    """Removing waits for what runs; what waits stays in the store, and runs when the queue is added again."""
    path, gate = tmp_path / "marks", tmp_path / "gate"
    with pytest.raises(BadConfiguration, match="already"):
        await node.add_queue(Queue("default"))
    with pytest.raises(BadConfiguration, match="takes Queue"):
        await node.add_queue("late")  # type: ignore[arg-type]
    await node.add_queue(Queue("late", concurrency=1))
    assert (await node.wait((await node.insert(workers.add.new(1), queue="late")).id, WAIT)).result == 1
    running = await node.insert(workers.stay_async.new(str(path), str(gate)).options(queue="late"))
    await eventually(lambda: lines_of(path), "it runs")
    waiting = [await node.insert(workers.add_async.new(i).options(queue="late")) for i in range(3)]
    with pytest.raises(QueueTimeout, match="it still runs on n1"):
        await node.remove_queue("late", timeout=0)
    gate.touch()
    await node.remove_queue("late", timeout=WAIT)
    assert await state_of(node, running) == "completed"
    for job in waiting:
        stored = await node.get(job.id)
        assert (stored.state, stored.node) == ("available", None)
    with pytest.raises(UnknownQueue):
        await node.insert(workers.add.new(1), queue="late")
    assert "queue late" not in node.format_tree()
    await node.add_queue(Queue("late", concurrency=2))
    for job in waiting:
        assert (await node.wait(job.id, WAIT)).state == "completed"


async def test_a_queue_that_crashes_while_it_is_removed_leaves_the_others_alone(node: Node, tmp_path: Path) -> None:
    """It starts again, drained, what ran in it waits for another node, and the removal goes on."""
    path, gate, beside = tmp_path / "marks", tmp_path / "gate", tmp_path / "beside"
    removed = await node.insert(workers.stay_async.new(str(path), str(gate)).options(queue="other"))
    other = await node.insert(workers.stay_async.new(str(beside), str(gate)))
    await eventually(lambda: lines_of(path) and lines_of(beside), "both run")
    with pytest.raises(QueueTimeout, match="it still runs on n1"):
        await node.remove_queue("other", timeout=0)
    queues = node.supervisor.which_child("queues").info
    crash(queues, "queue other", RuntimeError("killed by the test"))
    await node.remove_queue("other", timeout=WAIT)
    assert node.supervisor.which_child("queues").info is queues, "they were not started again"
    assert "queue other" not in node.format_tree()
    gate.touch()
    done = await node.wait(other.id, WAIT)
    assert (done.state, done.attempt, len(lines_of(beside))) == ("completed", 1, 1)
    assert ((back := await node.get(removed.id)).state, back.node, len(lines_of(path))) == ("available", None, 1)


async def test_a_removal_goes_on_when_the_keeper_of_the_queues_has_crashed(node: Node, tmp_path: Path) -> None:
    """It waits for what runs, takes the queue out of the tree and gives back what waits, as if nothing had been."""
    path, gate = tmp_path / "marks", tmp_path / "gate"
    running = await node.insert(workers.stay_async.new(str(path), str(gate)).options(queue="other"))
    await eventually(lambda: lines_of(path), "it runs")
    later = await node.insert(workers.add.new(1).options(queue="other", schedule_in=600))
    with pytest.raises(QueueTimeout, match="it still runs on n1"):
        await node.remove_queue("other", timeout=0)
    crash(node.supervisor, "queue keeper", RuntimeError("killed by the test"))
    await wait_restarted(node.supervisor, "queue keeper", timeout=WAIT)
    with pytest.raises(QueueTimeout, match="it still runs on n1"):
        await node.remove_queue("other", timeout=0)
    gate.touch()
    await node.remove_queue("other", timeout=WAIT)
    assert await state_of(node, running) == "completed"
    stored = await node.get(later.id)
    assert (stored.state, stored.node) == ("scheduled", None)
    assert "queue other" not in node.format_tree() and "other" not in node._state.crews


async def test_all_queues_stop_at_the_same_time(store_url: str, tmp_path: Path) -> None:
    """Ten that are stuck take one shutdown timeout and not ten; what waits in any of them does not begin."""
    names = [f"q{number}" for number in range(10)]
    app = App([Queue(name, concurrency=1) for name in names], workers=workers.WORKERS)
    async with open_node(app, store=store_url, name="n1", shutdown_timeout=1.0) as node:
        for name in names:
            for _ in range(2):
                await node.insert(workers.hold.new(str(tmp_path / name), 600), queue=name)
        for name in names:
            await eventually(lambda name=name: lines_of(tmp_path / name), "one runs")
        began = trio.current_time()
    assert 0.9 < trio.current_time() - began < 10.0  # one after the other they would take longer for sure
    assert [len(lines_of(tmp_path / name)) for name in names] == [1] * 10


async def test_settings_hold_on_every_node_and_after_a_restart(postgres_dsn: str, open_one: OpenNode) -> None:
    """Told to the other node, found by the one that starts later; a client sets them too."""
    async with open_one("one") as one, open_one("two") as two, Client(postgres_dsn) as client:
        await client.pause("default")
        await client.scale("wide", 7)
        await client.add_queue(Queue("late"))
        for node in (one, two):
            state = node._state
            await eventually(
                lambda state=state: (
                    state.paused == {"default"}
                    and state.crews["default"].paused
                    and state.queues["wide"].concurrency == 7
                    and "late" in state.crews
                ),
                "it is applied",
            )
        ten, seven = {"one": 10, "two": 10}, {"one": 7, "two": 7}

        async def all_told() -> bool:
            nodes = {queue.name: queue.nodes for queue in await client.queues()}
            return (nodes["default"], nodes["wide"], nodes["late"]) == (ten, seven, ten)

        await eventually(all_told, "both nodes have told what they run")
        found = {queue.name: queue for queue in await client.queues()}
        assert found["default"].paused and found["wide"].concurrency == 7
        await client.remove_queue("other", timeout=WAIT)
        assert (await client.queue_status("other")).removed
    async with open_one("one") as one, Client(postgres_dsn) as client:
        assert one._state.paused == {"default"} and "other" not in one._state.queues
        waiting = await client.insert(workers.add.new(1))
        await client.resume("default")
        assert (await client.wait(waiting.id, WAIT)).result == 1
        late = await client.insert(workers.add.new(2), queue="late")
        assert (await client.wait(late.id, WAIT)).result == 2


@pytest.fixture
def open_one(postgres_dsn: str) -> OpenNode:
    return lambda name: open_node(many, store=postgres_dsn, name=name, shutdown_timeout=1.0)


async def test_without_a_live_node_a_drain_says_so(postgres_dsn: str) -> None:
    """It would wait for ever."""
    async with Client(postgres_dsn) as client:
        await client.insert(workers.add.new(1))
        with pytest.raises(NoNode, match="no node lives on this store; start one"):
            await client.drain()
        with pytest.raises(NoNode, match='no live node runs queue "default"'):
            await client.drain("default")


def test_plain_code_sets_queues_too(postgres_dsn: str) -> None:
    """By the same names."""
    with SyncClient(postgres_dsn) as client:
        client.insert(workers.add.new(1))
        client.pause("default")
        client.scale("default", 3)
        status = client.queue_status("default")
        assert (status.paused, status.concurrency, status.by_state) == (True, 3, {"available": 1})
        client.resume("default")
        assert not client.queues()[0].paused


async def test_two_that_change_a_queue_at_once_lose_nothing(postgres_dsn: str) -> None:
    """100 rounds: one pauses and resumes while the other scales; both hold."""
    async with Client(postgres_dsn) as one, Client(postgres_dsn) as two:
        await one.insert(workers.add.new(1))
        for number in range(1, 101):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.pause if number % 2 else one.resume, "default")
                nursery.start_soon(two.scale, "default", number)
            status = await one.queue_status("default")
            assert (status.paused, status.concurrency) == (bool(number % 2), number)
