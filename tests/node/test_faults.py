"""Everything bad a job can do to its process: the node goes on, the job is told what it did, others are unharmed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kathikon_actors import Job, Node, open_node
from kathikon_actors.processes.memory import rss_bytes
from kathikon_actors.queue import runner as runner_module
from tests.node import isolated
from tests.support.waiting import eventually, lines_of

WAIT = 30.0


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node(isolated.app, name="n1", shutdown_timeout=1.0) as node:
        yield node


async def ended(node: Node, ids: Iterable[UUID]) -> list[Job]:
    return [await node.wait(job_id, timeout=WAIT) for job_id in ids]


def hears_alarms(pid: int) -> bool:
    """Whether a process handles the node's signal and does not hold it back, as the kernel says; elsewhere on faith."""
    if sys.platform != "linux":
        return True
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    masks = dict(line.split(":\t") for line in lines if line.startswith("Sig"))
    alarm = 1 << (signal.SIGALRM - 1)
    return bool(int(masks["SigCgt"], 16) & alarm) and not int(masks["SigBlk"], 16) & alarm


CRASHES = [
    ("segfault", "SIGSEGV"),
    ("_exit", "exit status 3"),
    ("SIGKILL", "SIGKILL"),
    ("SIGABRT", "SIGABRT"),
    ("close and return", "closed its connection|exit status 1"),
    ("close and stay", "closed its connection to the node"),
    ("speak to the node", "sent what is no frame"),
    ("exec another", "closed its connection to the node|the node's own signal"),
    ("exec and end", "exit status 0"),
    ("leave a child", "exit status 7"),
    ("overflow", "SIGSEGV"),
]

FAILURES = [
    ("recursion", "exception", "RecursionError"),
    ("sys.exit", "exit", "SystemExit: 4"),
    ("base exception", "exception", "Odd: odd"),
    ("keyboard interrupt", "exception", "KeyboardInterrupt"),
    ("generator exit", "exception", "GeneratorExit"),
    ("unpicklable", "exception", "Unpicklable"),
    ("unspeakable", "exception", "Unspeakable"),
]


async def test_each_way_to_die_is_named_and_harms_nobody(node: Node, tmp_path: Path) -> None:
    """Many deaths in one queue, between innocent jobs, which are neither lost nor counted."""
    files = {how: tmp_path / how for how, _words in CRASHES}
    bad = [await node.insert(isolated.misbehave.new(how, str(files[how]))) for how, _words in CRASHES]
    good = await node.insert_many(isolated.where.new() for _ in range(50))
    for job, (how, words) in zip(await ended(node, [job.id for job in bad]), CRASHES, strict=True):
        assert (job.state, job.attempt, len(job.errors)) == ("discarded", 1, 1), how
        error = job.errors[0]
        assert error["kind"] == "crash" and any(each in error["message"] for each in words.split("|")), (how, error)
    for job in await ended(node, good.ids):
        assert (job.state, job.attempt, job.errors) == ("completed", 1, [])
    daemon = int(files["leave a child"].read_text())
    os.kill(daemon, signal.SIGKILL)


async def test_whatever_a_job_raises_is_its_own_failure(node: Node) -> None:
    """The process goes on with the next job."""
    bad = [await node.insert(isolated.misbehave.new(how)) for how, *_ in FAILURES]
    done = await ended(node, [job.id for job in bad])
    for job, (how, kind, words) in zip(done, FAILURES, strict=True):
        assert (job.state, job.attempt, len(job.errors)) == ("discarded", 1, 1), how
        assert job.errors[0]["kind"] == kind and words in job.errors[0]["message"], (how, job.errors[0])
    assert len({job.errors[0]["worker_pid"] for job in done}) == 1


async def test_a_timeout_bites_on_code_that_is_hard_to_stop(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop and a sleep give way; a call into C and a bare `except` lose their process."""
    monkeypatch.setattr(runner_module, "GRACE", 0.3)
    for how in ("loop", "sleep", "c call", "bare except"):
        done = await node.wait((await node.insert(isolated.spin.new(how))).id, timeout=WAIT)
        assert (done.state, done.attempt, [e["kind"] for e in done.errors]) == ("discarded", 1, ["timeout"]), how


async def test_a_job_that_takes_signals_away_does_not_take_the_next_ones_timeout(node: Node) -> None:
    """The process takes its own signal back when it has nothing to do: the next job gives way in the very same one."""
    first = await node.wait((await node.insert(isolated.misbehave.new("ignore signals"))).id, timeout=WAIT)
    assert first.result == "survived"
    [pid] = node.worker_pids()["default"]
    await eventually(lambda: hears_alarms(pid), "it has taken its signal back")
    assert (await node.wait((await node.insert(isolated.where.new())).id, timeout=WAIT)).result == pid
    stuck = await node.wait((await node.insert(isolated.spin.new("loop"))).id, timeout=WAIT)
    assert stuck.errors[0]["kind"] == "timeout"
    assert (await node.wait((await node.insert(isolated.where.new())).id, timeout=WAIT)).result == pid


async def test_a_job_that_closes_its_descriptors_and_returns_nothing_has_done_its_work(
    node: Node, tmp_path: Path
) -> None:
    """Its report could not be sent; the shared page tells that it had ended, so it does not run again."""
    marks = tmp_path / "marks"
    job = await node.insert(isolated.mark_and_close.new(str(marks)))
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.attempt, done.result) == ("completed", 1, None)
    assert len(lines_of(marks)) == 1


async def test_a_result_of_50_megabytes_is_not_kept_and_the_job_completes(node: Node) -> None:
    """Its work is done; the history says what became of the result. One of 5 MB is kept."""
    big = await node.wait((await node.insert(isolated.big_result.new(megabytes=50))).id, timeout=WAIT)
    assert (big.state, big.result) == ("completed", None)
    assert any("are kept at most" in str(entry.get("meta")) for entry in big.history)
    fair = await node.wait((await node.insert(isolated.big_result.new(megabytes=5))).id, timeout=WAIT)
    assert len(fair.result) == 5 * 2**20


async def test_a_job_of_70_megabytes_is_discarded_and_its_queue_goes_on(node: Node) -> None:
    """It fits into no frame, so it can never run: it says so, and those that were given with it are unharmed."""
    big, *small = (await node.insert_many([isolated.where.new(), isolated.misbehave.new("", "x" * 70 * 2**20)])).ids[
        ::-1
    ]
    done = await node.wait(big, timeout=WAIT)
    assert (done.state, [error["kind"] for error in done.errors]) == ("discarded", ["too_large"])
    small += (await node.insert_many(isolated.where.new() for _ in range(5))).ids
    assert {(job.state, job.attempt) for job in await ended(node, small)} == {("completed", 1)}


@pytest.mark.parametrize("much", [isolated.insert_much, isolated.insert_much_async])
async def test_a_job_that_inserts_too_much_is_told_and_its_neighbours_go_on(node: Node, much: Any) -> None:
    """One job of 70 MB is refused inside the job; many that have 80 MB together travel in several messages."""
    beside = await node.insert(isolated.nap.new(1.0))
    done = await node.wait((await node.insert(much.new())).id, timeout=WAIT)
    assert done.state == "completed", done.errors
    refused, inserted = done.result
    assert "a frame between processes may have" in refused and inserted == 80
    neighbour = await node.wait(beside.id, timeout=WAIT)
    assert (neighbour.state, neighbour.history[-1]["event"], len(neighbour.history)) == ("completed", "completed", 3)


async def test_a_job_that_prints_a_gigabyte_completes_and_floods_nothing(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the log nor the node's memory, and the next job runs."""
    before = rss_bytes(os.getpid())
    done = await node.wait((await node.insert(isolated.print_much.new(megabytes=1024))).id, timeout=WAIT)
    assert done.result == "printed"
    after = rss_bytes(os.getpid())
    assert (await node.wait((await node.insert(isolated.where.new())).id, timeout=WAIT)).state == "completed"
    assert len(capfd.readouterr().err) < 8 * 2**20
    assert before is not None and after is not None and after - before < 32 * 2**20


async def test_a_stopped_process_loses_what_it_ran_at_its_timeout_and_gives_back_the_rest(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP: the job that ran is told `timeout`; those that waited behind it are not counted."""
    monkeypatch.setattr(runner_module, "GRACE", 0.2)
    pid = (await node.wait((await node.insert(isolated.where.new())).id, timeout=WAIT)).result
    [runner] = node._state.crews["default"].runners
    jobs = [isolated.spin.new("sleep").options(timeout=2.0), *(isolated.where.new() for _ in range(10))]
    bad, *good = (await node.insert_many(jobs)).ids
    await eventually(runner.process.running, "the first of them runs")
    os.kill(pid, signal.SIGSTOP)
    done = await node.wait(bad, timeout=WAIT)
    assert (done.state, done.errors[0]["kind"]) == ("discarded", "timeout")
    for job in await ended(node, good):
        assert (job.state, job.attempt, job.errors) == ("completed", 1, [])
