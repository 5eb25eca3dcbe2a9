"""How long a worker process serves, and what becomes of a queue whose processes keep dying."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from uuid import UUID

import pytest
import trio

from kathikon_actors import App, Job, Node, Queue, open_node
from kathikon_actors.telemetry.events import QueueChanged
from supervisors import Event, RestartLimitExceeded
from tests.node import isolated
from tests.support.waiting import eventually

WAIT = 20.0


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node(isolated.app, name="n1", shutdown_timeout=2.0) as node:
        yield node


async def ended(node: Node, ids: Iterable[UUID]) -> list[Job]:
    return [await node.wait(job_id, timeout=WAIT) for job_id in ids]


def unharmed(jobs: Iterable[Job]) -> bool:
    return all((job.state, job.attempt, job.errors) == ("completed", 1, []) for job in jobs)


async def test_in_a_fresh_queue_no_two_jobs_share_a_process(node: Node) -> None:
    """Plain and async ones; what one left behind no other finds; no process is left over."""
    many = await node.insert_many(
        (isolated.where if number % 2 else isolated.where_async).new().options(queue="fresh") for number in range(60)
    )
    done = await ended(node, many.ids)
    assert unharmed(done)
    assert len({job.result for job in done}) == 60
    used = {job.result for job in done}
    await eventually(
        lambda: len(left := node.worker_pids()["fresh"]) == 8 and used.isdisjoint(left), "4 of each kind are ready"
    )


async def test_a_fresh_process_that_dies_harms_nobody_and_holds_nobody_up(node: Node) -> None:
    """Forty deaths beside forty innocent jobs: a queue of this kind is never degraded by its jobs."""
    bad = await node.insert_many(isolated.die.new().options(queue="fresh") for _ in range(40))
    good = await node.insert_many(isolated.where.new().options(queue="fresh") for _ in range(40))
    assert unharmed(await ended(node, good.ids))
    for job in await ended(node, bad.ids):
        assert (job.state, job.attempt, job.errors[0]["kind"]) == ("discarded", 1, "crash")
    assert node.statistics().degraded == ()


@pytest.mark.parametrize("worker", [isolated.where, isolated.where_async])
async def test_a_process_is_replaced_after_its_number_of_jobs(node: Node, worker: object) -> None:
    """Three each, none is harmed by it."""
    many = await node.insert_many(worker.new().options(queue="three") for _ in range(100))  # type: ignore[attr-defined]
    done = await ended(node, many.ids)
    assert unharmed(done)
    runs = Counter(job.result for job in done)
    assert max(runs.values()) <= 3
    assert len(runs) <= 60, "processes are used for more than one job"


@pytest.mark.parametrize("worker", [isolated.leak, isolated.leak_async])
async def test_a_process_that_grows_is_replaced_between_two_jobs(node: Node, worker: object) -> None:
    """Each job leaves 10 MB behind; nobody is harmed, nobody is blamed."""
    many = await node.insert_many(
        worker.new(megabytes=10).options(queue="lean")  # type: ignore[attr-defined]
        for _ in range(30)
    )
    done = await ended(node, many.ids)
    assert unharmed(done)
    assert len({job.result for job in done}) > 2


async def test_a_job_that_takes_too_much_memory_is_stopped_and_told_why(node: Node) -> None:
    """Its error is of kind `memory` and names the figures; those behind it are not counted."""
    bad = await node.insert(isolated.hog.new(megabytes=1_000).options(queue="lean", priority=1))
    behind = await node.insert_many(isolated.where.new().options(queue="lean") for _ in range(20))
    done = await node.wait(bad.id, timeout=WAIT)
    assert (done.state, done.attempt, done.errors[0]["kind"]) == ("discarded", 1, "memory")
    assert "max_memory is 120 MB" in done.errors[0]["message"]
    assert unharmed(await ended(node, behind.ids))


async def test_of_many_async_jobs_only_the_one_that_takes_too_much_is_blamed(node: Node) -> None:
    """Nobody knows at first whose memory it is, so each runs alone; the innocent ones keep their first attempt."""
    naps = await node.insert_many(isolated.nap.new(0.3).options(queue="lean") for _ in range(5))
    bad = await node.insert(isolated.hog_async.new(megabytes=1_000).options(queue="lean"))
    done = await node.wait(bad.id, timeout=WAIT)
    assert (done.state, done.attempt, done.errors[0]["kind"]) == ("discarded", 1, "memory")
    assert unharmed(await ended(node, naps.ids))


@pytest.mark.parametrize("queue", ["three", "fresh"])
async def test_attempts_are_honest_while_processes_are_replaced_and_killed_at_random(node: Node, queue: str) -> None:
    """Two hundred jobs, a kill every few milliseconds: each completes once, each counted attempt has its error."""
    seed = random.randrange(10**9)
    print("seed", seed)
    chance = random.Random(seed)
    many = await node.insert_many(
        (isolated.brief if chance.random() < 0.5 else isolated.where_async).new().options(queue=queue, max_attempts=50)
        for _ in range(200)
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kill_at_random, node, queue, chance)
        done = await ended(node, many.ids)
        nursery.cancel_scope.cancel()
    assert all(job.state == "completed" and job.attempt == 1 + len(job.errors) for job in done)
    assert {error["kind"] for job in done for error in job.errors} <= {"crash"}


async def kill_at_random(node: Node, queue: str, chance: random.Random) -> None:
    """As long as the jobs take, but not for ever: where processes come up slowly nothing else might ever end."""
    for _ in range(1_000):
        await trio.sleep(chance.random() * 0.02)
        pids = node.worker_pids()[queue]
        if pids:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(list(pids)), signal.SIGKILL)


async def test_a_queue_whose_processes_keep_dying_is_degraded_and_comes_back() -> None:
    """The pool waits, the node and its other queues go on, events and statistics tell; the first good job ends it."""
    app = App([Queue("default"), Queue("other")], workers=isolated.WORKERS)
    events: list[Event] = []
    changes: list[str] = []
    async with open_node(app, name="n1", shutdown_timeout=2.0) as node:
        node.supervisor.subscribe(events.append)
        node.subscribe(lambda event: changes.append(event.action), QueueChanged)  # type: ignore[attr-defined]
        bad = await node.insert_many(isolated.die.new() for _ in range(9))
        await eventually(lambda: node.statistics().degraded == ("default",), "the queue is degraded")
        assert any(isinstance(event, RestartLimitExceeded) for event in events)
        other = await node.insert(isolated.where.new().options(queue="other"))
        assert unharmed(await ended(node, [other.id]))
        good = await node.insert(isolated.where.new())
        assert unharmed(await ended(node, [good.id]))
        await eventually(lambda: node.statistics().degraded == (), "the queue is whole again")
        await eventually(lambda: changes[:2] == ["degraded", "recovered"], "both were told")
        assert {(job.state, job.attempt) for job in await ended(node, bad.ids)} == {("discarded", 1)}
