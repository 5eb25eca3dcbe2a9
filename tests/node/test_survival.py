"""The sentence of the architecture, on real processes: anything may die, and the audit of every job is clean.

Each test lets nodes insert and work while something dies, then judges every job: all that was acknowledged is
completed, once, no attempt is wrong, and no write got through a fence. The long form (`pytest -m long`) does it over
20,000 jobs, and a minute of everything at random.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.node.arena import PATIENCE, Arena
from tests.node.survivor import LEASE
from tests.support.waiting import eventually

SHORT, LONG = 3_000, 20_000
SIZES = [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.long)]

sizes = pytest.mark.parametrize("jobs", SIZES)


@pytest.fixture
async def arena(tmp_path: Path) -> AsyncIterator[Arena]:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    arena = Arena(tmp_path, seed)
    try:
        await arena.open()
        yield arena
    finally:
        with trio.CancelScope(shield=True):
            await arena.close()


@sizes
async def test_worker_processes_that_are_killed(arena: Arena, jobs: int) -> None:
    """kill -9 of worker processes, again and again."""
    arena.start("n1", jobs)
    killed = 0
    while killed < 20:
        await trio.sleep(0.02)
        killed += arena.kill_worker("n1")
        if len(arena.acknowledged) >= jobs and killed:
            break
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@sizes
async def test_a_fork_server_that_is_killed(arena: Arena, jobs: int) -> None:
    """kill -9 of the zygote takes its worker processes along; both are back."""
    arena.start("n1", jobs)
    killed: set[int | None] = {None}
    for share in (0.1, 0.5):
        await arena.wait_share(jobs, share)
        await eventually(lambda: arena.zygote("n1") not in killed, "it has another one", PATIENCE)
        killed.add(arena.zygote("n1"))
        assert arena.kill_zygote("n1")
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@sizes
async def test_a_node_that_is_killed_and_started_again(arena: Arena, jobs: int) -> None:
    """kill -9 of the node, three times; its next life goes on at once."""
    for share in (0.1, 0.3, 0.6):
        arena.start("n1", jobs)
        await arena.wait_share(jobs, share)
        arena.kill("n1")
    arena.start("n1", max(1, jobs - len(arena.acknowledged)))
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@sizes
async def test_a_node_that_is_killed_while_another_lives(arena: Arena, jobs: int) -> None:
    """Its jobs are taken over when its lease has run out."""
    arena.start("n1", jobs)
    arena.start("n2")
    await arena.wait_share(jobs, 0.3)
    arena.kill("n1")
    arena.start("n3", max(1, jobs - len(arena.acknowledged)))
    await arena.wait_inserted("n3")
    print(await arena.audit(jobs))


@sizes
async def test_a_postgres_that_is_stopped_at_once(arena: Arena, jobs: int) -> None:
    """`immediate` stop and start under load, twice."""
    arena.start("n1", jobs)
    for share in (0.2, 0.5):
        await arena.wait_share(jobs, share)
        await arena.restart_postgres()
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@sizes
async def test_a_node_that_sleeps_past_its_lease(arena: Arena, jobs: int) -> None:
    """SIGSTOP, another node takes over, SIGCONT: what it still had in flight commits nothing."""
    arena.start("n1", jobs)
    arena.start("n2")
    await arena.wait_share(jobs, 0.2)
    arena.signal("n1", signal.SIGSTOP)
    await trio.sleep(LEASE * 2)
    arena.signal("n1", signal.SIGCONT)
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@sizes
async def test_connections_that_are_cut_anywhere(arena: Arena, jobs: int) -> None:
    """The server ends all connections in the middle of whatever they do, ten times."""
    arena.start("n1", jobs)
    for number in range(10):
        await arena.wait_share(jobs, number * 0.08)
        await arena.cut()
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@sizes
@pytest.mark.parametrize("point", ["store.before_commit", "store.after_commit"])
async def test_commits_that_are_cut_on_either_side(arena: Arena, jobs: int, point: str) -> None:
    """A fifth of all commits is cut before the server committed, or after it did and before its answer came."""
    arena.start("n1", jobs, fault=point)
    await arena.wait_inserted("n1")
    print(await arena.audit(jobs))


@pytest.mark.parametrize(
    "seconds", [pytest.param(6.0, id="short"), pytest.param(60.0, id="long", marks=pytest.mark.long)]
)
async def test_everything_at_random(arena: Arena, seconds: float) -> None:
    """Two nodes under load; worker processes, fork servers, nodes, connections and Postgres die all the time."""
    names = ("n1", "n2")
    for name in names:
        arena.start(name, 1_000_000)
    end = trio.current_time() + seconds
    done: list[str] = []
    await arena.wait_share(1000, 1.0)
    while trio.current_time() < end:
        await trio.sleep(arena.random.uniform(0.1, 0.5))
        name = arena.random.choice(names)
        what = arena.random.choice(("worker",) * 6 + ("zygote", "node", "stop", "cut", "postgres"))
        done.append(f"{what} {name}")
        match what:
            case "worker":
                arena.kill_worker(name)
            case "zygote":
                arena.kill_zygote(name)
            case "node":
                arena.kill(name)
                arena.start(name, 1_000_000)
            case "stop":
                arena.signal(name, signal.SIGSTOP)
                await trio.sleep(arena.random.choice((0.2, LEASE * 1.5)))
                arena.signal(name, signal.SIGCONT)
            case "cut":
                await arena.cut()
            case "postgres":
                await arena.restart_postgres()
        # A node that gave up after too many deaths in too short a time ended in order: the next one goes on.
        for each in names:
            if arena.nodes[each].poll() is not None:
                arena.start(each, 1_000_000)
    print("; ".join(done))
    print(await arena.audit(1))  # a thousand ran, and whatever was acknowledged is there
