"""Whatever a worker process does, the node goes on, the right job gets the right error, innocent jobs are unharmed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kathikon_actors import Node
from kathikon_actors.queue import runner
from tests.node import workers
from tests.support.rounds import rounds
from tests.support.waiting import eventually, lines_of

WAIT = 20.0


@pytest.mark.parametrize(("how", "words"), [("segfault", "SIGSEGV"), ("exit", "exit status 3"), ("kill", "SIGKILL")])
async def test_a_job_that_ends_its_process_fails_with_the_name_of_the_signal_and_runs_again(
    node: Node, how: str, words: str
) -> None:
    """Two crashes, then a success at the third attempt: each crash is a counted failure of kind `crash`."""
    job = await node.insert(workers.Kill.new(how=how, times=2))
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.result) == ("completed", 3)
    assert [error["kind"] for error in done.errors] == ["crash", "crash"]
    assert all(words in error["message"] for error in done.errors)


async def test_a_job_that_always_ends_its_process_is_discarded_at_max_attempts(node: Node) -> None:
    """A crash loop has a low bound."""
    job = await node.insert(workers.Kill.new(how="kill", times=99).options(max_attempts=2))
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.attempt, len(done.errors)) == ("discarded", 2, 2)


async def test_a_killed_worker_process_is_replaced_and_its_job_runs_again(node: Node, tmp_path: Path) -> None:
    """kill -9 from outside: the job that ran is counted, the ones behind it are not."""
    pids, gate = tmp_path / "pids", tmp_path / "gate"
    job = await node.insert(workers.stay.new(str(pids), str(gate)).options(queue="wide"))
    await eventually(lambda: lines_of(pids), "the job runs")
    behind = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(50))
    victim = int(lines_of(pids)[0])
    os.kill(victim, signal.SIGKILL)
    gate.touch()
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.attempt, done.errors[0]["worker_pid"]) == ("completed", 2, victim)
    assert done.result != victim
    for job_id in behind.ids:
        innocent = await node.wait(job_id, timeout=WAIT)
        assert (innocent.state, innocent.attempt, innocent.errors) == ("completed", 1, [])


async def test_of_many_async_jobs_in_one_process_only_the_poisonous_one_is_blamed(node: Node, tmp_path: Path) -> None:
    """Nobody knows who killed the process, so each runs alone; the innocent ones keep their first attempt."""
    pids = tmp_path / "pids"
    innocents = await node.insert_many(workers.hold_async.new(str(pids), 0.2) for _ in range(5))
    bad = await node.insert(workers.poison.new("x").options(max_attempts=1))
    culprit = await node.wait(bad.id, timeout=WAIT)
    assert (culprit.state, culprit.attempt, culprit.errors[0]["kind"]) == ("discarded", 1, "crash")
    for job_id in innocents.ids:
        done = await node.wait(job_id, timeout=WAIT)
        assert (done.state, done.attempt, done.errors) == ("completed", 1, [])


@pytest.mark.one_node
async def test_short_jobs_do_not_wait_behind_a_long_one(node: Node, tmp_path: Path) -> None:
    """What was sent ahead to a process that turned out to be busy is taken back and given to the other one."""
    pids, gate = tmp_path / "pids", tmp_path / "gate"
    warm = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(200))
    for job_id in warm.ids:
        await node.wait(job_id, timeout=WAIT)
    long = await node.insert(workers.stay.new(str(pids), str(gate)).options(queue="wide", priority=1))
    short = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(200))
    for job_id in short.ids:
        assert (await node.wait(job_id, timeout=WAIT)).attempt == 1
    assert (await node.get(long.id)).state == "executing"
    gate.touch()
    assert (await node.wait(long.id, timeout=WAIT)).attempt == 1


async def test_a_process_is_given_jobs_again_after_what_waited_behind_a_long_one_was_taken_back(
    node: Node, tmp_path: Path
) -> None:
    """Thirty times: a job of 50 ms with short ones behind it, on the only process of the queue."""
    for round_number in range(rounds(30)):
        pids = tmp_path / f"pids{round_number}"
        long = await node.insert(workers.hold.new(str(pids), 0.05))
        short = [await node.insert(workers.note.new(str(pids), "x")) for _ in range(3)]
        for job in [long, *short]:
            assert (await node.wait(job.id, timeout=WAIT)).attempt == 1


@pytest.mark.one_node
async def test_a_killed_zygote_is_replaced_and_no_job_is_lost_or_blamed(node: Node, tmp_path: Path) -> None:
    """The fork server takes its workers along; what they ran goes back uncounted."""
    pids, gate = tmp_path / "pids", tmp_path / "gate"
    job = await node.insert(workers.stay.new(str(pids), str(gate)))
    await eventually(lambda: lines_of(pids), "the job runs")
    zygote = next(child for child in node.supervisor.which_children() if child.id == "zygote")
    assert isinstance(zygote.info, int)
    os.kill(zygote.info, signal.SIGKILL)
    await eventually(lambda: len(lines_of(pids)) == 2, "it runs again")
    gate.touch()
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.attempt, done.errors) == ("completed", 1, [])
    again = await node.insert(workers.add.new(1))
    assert (await node.wait(again.id, timeout=WAIT)).state == "completed"


async def test_a_stopped_worker_process_is_killed_at_its_jobs_timeout(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP: the process answers nothing, so it loses its life, and the job its attempt."""
    monkeypatch.setattr(runner, "GRACE", 0.3)
    pids = tmp_path / "pids"
    job = await node.insert(workers.hold.new(str(pids), 600).options(timeout=0.4, max_attempts=1))
    await eventually(lambda: lines_of(pids), "the job runs")
    os.kill(int(lines_of(pids)[0]), signal.SIGSTOP)
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.errors[0]["kind"]) == ("discarded", "timeout")
