"""Limits that hold for two nodes together, also while one of them dies or is stopped past its lease."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from kathikon_actors import Client, NewJob, Rate
from kathikon_actors.store.connection import open_loop
from tests.node import limited
from tests.node.limited import margin, most_at_once, most_pulses, most_within, spans_of, starts_of
from tests.support.waiting import eventually, lines_of

WAIT = 60.0
LEASE = 1.0
LONG = 30.0
"""A lease that no busy machine makes a node lose: what it runs is never killed, and runs once."""
LATE = 0.35
"""Seconds that a node may begin with a job after the time of its slot, and some for how it reads its clocks."""
FIFTY = Rate(50, burst=5)
"""That of `limited.fifty_a_second`."""

PROGRAM = """
import sys, trio
from kathikon_actors import open_node
from tests.node import limited

async def main(store, name, lease):
    async with open_node(limited.app, store=store, name=name, lease=lease) as node:
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(postgres_dsn: str) -> Iterator[Start]:
    """Starts nodes in processes of their own; kills those that are left."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str, lease: float = LEASE) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, postgres_dsn, name, str(lease)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def up(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout is not None
        with trio.fail_after(30):
            assert await trio.to_thread.run_sync(process.stdout.readline, abandon_on_cancel=True) == "up\n"


async def insert(dsn: str, jobs: list[NewJob]) -> None:
    async with open_loop(), Client(dsn) as client:
        await client.insert_many(jobs)


async def all_completed(dsn: str, number: int) -> None:
    async with open_loop(), Client(dsn) as client:

        async def done() -> bool:
            await trio.sleep(0.02)
            counts = await client.counts()
            return sum(queue.by_state.get("completed", 0) for queue in counts) == number

        await eventually(done, f"{number} are completed", WAIT)


async def given(dsn: str) -> list[float]:
    """When the nodes began with the jobs, seconds: those of a rate are judged then, however late a process is."""
    async with open_loop(), Client(dsn) as client:
        jobs = await client.list(limit=1000)
    return sorted(job.attempted_at.timestamp() for job in jobs if job.attempted_at is not None)


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "marks"


async def test_two_nodes_keep_one_limit_and_both_work(start: Start, postgres_dsn: str, marks: Path) -> None:
    """Three at once on both together; the tokens go round."""
    nodes = [start("n1", LONG), start("n2", LONG)]
    await up(*nodes)
    await insert(postgres_dsn, [limited.pulse.new(str(marks), str(n), 0.03) for n in range(80)])
    await all_completed(postgres_dsn, 80)
    lines = lines_of(marks)
    assert 2 <= most_pulses(lines) <= 3
    assert len(spans_of(lines)) == 80


async def test_two_nodes_keep_a_limit_of_one_for_each_account(start: Start, postgres_dsn: str, marks: Path) -> None:
    """Twelve accounts, jobs of each on both nodes: one at a time, and all get done."""
    await up(start("n1", LONG), start("n2", LONG))
    jobs = [limited.one_an_account.new(str(marks), a, str(n), 0.005) for n in range(12) for a in range(12)]
    await insert(postgres_dsn, jobs)
    await all_completed(postgres_dsn, 144)
    lines = lines_of(marks)
    for account in range(12):
        assert most_at_once(lines, f"{account}/") == 1
        assert len(starts_of(lines, f"{account}/")) == 12


async def test_two_nodes_keep_one_rate(start: Start, postgres_dsn: str, marks: Path) -> None:
    """50 a second on both together, and not much less."""
    await up(start("n1", LONG), start("n2", LONG))
    began = time.monotonic()
    await insert(postgres_dsn, [limited.fifty_a_second.new(str(marks), str(n)) for n in range(75)])
    await all_completed(postgres_dsn, 75)
    starts = starts_of(lines_of(marks))
    assert len(starts) == 75
    assert margin(starts, began, FIFTY) >= 0
    times = await given(postgres_dsn)
    assert most_within(times, 1.0 - LATE) <= 54
    assert most_within(times, 0.5 - LATE) <= 29
    assert starts[-1] - began < 20.0


async def test_a_rate_holds_though_a_node_is_killed(start: Start, postgres_dsn: str, marks: Path) -> None:
    """kill -9 in the middle: what it had not started yet starts elsewhere, no faster than before."""
    victim, other = start("victim"), start("other")
    await up(victim, other)
    began = time.monotonic()
    await insert(postgres_dsn, [limited.fifty_a_second.new(str(marks), str(n)) for n in range(90)])
    await eventually(lambda: len(starts_of(lines_of(marks))) >= 25, "they work")
    victim.kill()
    victim.wait()
    await all_completed(postgres_dsn, 90)
    starts = starts_of(lines_of(marks))
    assert len(starts) >= 90
    assert margin(starts, began, FIFTY) >= 0
    assert most_within(await given(postgres_dsn), 1.0 - LATE) <= 54


async def test_the_tokens_of_a_killed_node_come_back_and_no_more_than_those(
    start: Start, postgres_dsn: str, marks: Path
) -> None:
    """kill -9 in the middle, with all its worker processes busy: never a fourth at once, and all jobs get done."""
    victim, other = start("victim"), start("other")
    await up(victim, other)
    await insert(postgres_dsn, [limited.pulse.new(str(marks), str(n), 0.15) for n in range(40)])
    await eventually(lambda: len(spans_of(lines_of(marks))) >= 8, "they work")
    victim.kill()
    victim.wait()
    await all_completed(postgres_dsn, 40)
    lines = lines_of(marks)
    assert most_pulses(lines) <= 3
    assert {run.split("/")[0] for run in spans_of(lines)} == {str(n) for n in range(40)}


async def test_a_node_stopped_past_its_lease_runs_nothing_beside_those_who_have_its_tokens(
    start: Start, postgres_dsn: str, marks: Path
) -> None:
    """SIGSTOP with jobs that would run on: they are dead before others start; the node comes back and works."""
    sleeper, other = start("sleeper"), start("other")
    await up(sleeper, other)
    await insert(postgres_dsn, [limited.pulse.new(str(marks), str(n), 1.8) for n in range(12)])
    await eventually(lambda: len(spans_of(lines_of(marks))) >= 3, "three run")
    os.kill(sleeper.pid, signal.SIGSTOP)
    try:
        await eventually(lambda: len(spans_of(lines_of(marks))) >= 8, "the other one goes on alone", WAIT)
    finally:
        os.kill(sleeper.pid, signal.SIGCONT)
    await all_completed(postgres_dsn, 12)
    assert most_pulses(lines_of(marks)) <= 3


async def test_a_node_that_starts_again_under_its_name_holds_nothing_of_its_last_life(
    start: Start, postgres_dsn: str, marks: Path
) -> None:
    """Killed and started at once, alone: its own old tokens are not in its way."""
    first = start("n1")
    await up(first)
    await insert(postgres_dsn, [limited.pulse.new(str(marks), str(n), 0.1) for n in range(20)])
    await eventually(lambda: len(spans_of(lines_of(marks))) >= 4, "it works")
    first.kill()
    first.wait()
    await up(start("n1"))
    await all_completed(postgres_dsn, 20)
    assert most_pulses(lines_of(marks)) <= 3


@pytest.mark.parametrize("kind", ["worker", "key", "rate"])
async def test_in_any_run_a_limit_holds_and_all_is_done_though_a_node_is_killed(
    start: Start, postgres_dsn: str, marks: Path, kind: str
) -> None:
    """So many jobs, so long, of so many accounts, and a kill at such a moment, as the dice say; it may come again."""
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    dice = random.Random(seed)
    victim, other = start("victim"), start("other")
    await up(victim, other)
    names = [str(n) for n in range(dice.randint(30, 60))]
    accounts = dice.randint(2, 5)
    path, jobs = str(marks), []
    for name in names:
        seconds = dice.uniform(0.005, 0.12)
        match kind:
            case "worker":
                jobs.append(limited.pulse.new(path, name, seconds))
            case "key":
                jobs.append(limited.pulse_an_account.new(path, dice.randrange(accounts), name, seconds))
            case _:
                jobs.append(limited.fifty_a_second.new(path, name))

    def seen() -> int:
        lines = lines_of(marks)
        return len(starts_of(lines)) if kind == "rate" else len(spans_of(lines))

    began = time.monotonic()
    await insert(postgres_dsn, jobs)
    moment = dice.randint(1, len(names) // 2)
    await eventually(lambda: seen() >= moment, f"{moment} were begun")
    victim.kill()
    victim.wait()
    if dice.random() < 0.5:
        await up(start("victim"))
    await all_completed(postgres_dsn, len(names))
    lines = lines_of(marks)
    if kind == "rate":
        assert margin(starts_of(lines), began, FIFTY) >= 0
        assert most_within(await given(postgres_dsn), 1.0 - LATE) <= 54
        return
    assert {run.split("/")[0].split(".")[-1] for run in spans_of(lines)} == set(names)
    if kind == "worker":
        assert most_pulses(lines) <= 3
        return
    for account in range(accounts):
        assert most_pulses([line for line in lines if line.startswith(f"pulse {account}.")]) <= 1
