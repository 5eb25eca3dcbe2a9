"""Stopping a run, and taking back runs that have not started."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
import trio

from kathikon_actors.processes.messages import Report
from kathikon_actors.processes.shared import SETTLE
from tests.processes.tools import death, open_worker, receive, report, run, until


@pytest.mark.parametrize(("name", "args"), [("spin_forever", {}), ("sleep_plain", {"seconds": 1e9 / 2})])
async def test_a_plain_function_that_spins_or_sleeps_is_interrupted(name: str, args: dict[str, float]) -> None:
    """The signal raises inside it; the process lives and takes the next run."""
    async with open_worker() as worker:
        worker.send([run(1, name, **args), run(2, "double", number=4)])
        await until(worker.running)
        worker.interrupt(1, "timeout")
        first, second = await receive(worker, 2)
    assert isinstance(first, Report) and isinstance(second, Report)
    assert (first.seq, first.verdict, first.kind) == (1, "interrupted", "timeout")
    assert second.result == b"8"


async def test_a_bare_except_loop_does_not_give_way_and_is_killed(tmp_path: Path) -> None:
    """What holds everything back loses its process."""
    inside = tmp_path / "inside"
    async with open_worker() as worker:
        worker.send([run(1, "hold_everything_back", path=str(inside))])
        await until(inside.exists)  # a run counts as running before it has come to its `try`
        worker.interrupt(1, "timeout")
        with trio.move_on_after(0.3):
            await worker.receive()
        assert worker.exit is None
        worker.kill()
        _got, died = await death(worker)
    assert died.exit.signal == signal.SIGKILL and [seq for seq, _ in died.running] == [1]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_run_that_swallows_the_interrupt_is_interrupted_all_the_same(kind: str, tmp_path: Path) -> None:
    """What it returns after its time was up counts for nothing."""
    inside = tmp_path / "inside"
    async with open_worker(kind, 1) as worker:  # type: ignore[arg-type]
        worker.send([run(1, "swallow_once" if kind == "plain" else "async_swallow", path=str(inside))])
        await until(inside.exists)  # a run counts as running before it has come to its `try`
        worker.interrupt(1, "cancel")
        got = await report(worker)
    assert (got.verdict, got.kind, got.result) == ("interrupted", "cancel", None)


async def test_an_async_job_is_cancelled_and_knows_it(tmp_path: Path) -> None:
    """Its scope is cancelled; the others go on."""
    path, release = tmp_path / "cancelled", tmp_path / "release"
    async with open_worker("async", 2) as worker:
        worker.send([run(1, "async_report_cancelled", path=str(path)), run(2, "async_wait", path=str(release))])
        await until(lambda: len(worker.running()) == 2)
        worker.interrupt(1, "cancel")
        first = await report(worker)
        release.touch()
        second = await report(worker)
    assert (first.seq, first.verdict) == (1, "interrupted") and path.read_text() == "True"
    assert (second.seq, second.verdict) == (2, "completed")


async def test_an_async_job_that_has_no_slot_yet_is_interrupted_without_a_start(tmp_path: Path) -> None:
    """It leaves the worker's queue."""
    release = tmp_path / "release"
    async with open_worker("async", 1) as worker:
        worker.send([run(1, "async_wait", path=str(release)), run(2, "async_sleep", seconds=0)])
        await until(worker.running)
        worker.interrupt(2, "cancel")
        first = await report(worker)
        release.touch()
        second = await report(worker)
    assert [(m.seq, m.verdict) for m in (first, second)] == [(2, "interrupted"), (1, "completed")]


async def test_late_and_stray_signals_hurt_nobody() -> None:
    """An interrupt for a run that is over, and an alarm out of nowhere, raise nothing."""
    async with open_worker() as worker:
        got: list[Report] = []
        for first in range(11, 5_011, 50):
            worker.send([run(first + n, "noop") for n in range(50)])
            while len(got) < first + 39:
                worker.interrupt(first - 10, "timeout")
                os.kill(worker.pid, signal.SIGALRM)
                got += [m for m in await worker.receive() if isinstance(m, Report)]
        assert {m.verdict for m in got} == {"completed"} and len(got) == 5_000


async def test_a_burst_of_interrupts_raises_once() -> None:
    """A second signal while the first is on its way up must not escape and end the process."""
    async with open_worker() as worker:
        for seq in range(1, 101):
            worker.send([run(seq, "spin_forever")])
            await until(worker.running)
            for _ in range(30):
                worker.interrupt(seq, "timeout")
            got = await report(worker)
            assert (got.seq, got.verdict) == (seq, "interrupted")


async def test_interrupts_at_random_moments_stop_the_run_that_was_meant_or_none() -> None:
    """Fired into a stream of short runs, an interrupt never hits another run and never ends the process."""
    chance = random.Random(7)
    async with open_worker() as worker:
        meant: set[int] = set()
        got: dict[int, str] = {}
        seq = 0
        for _ in range(300):
            batch = [run(seq + n, "noop") for n in range(1, 11)]
            seq += 10
            worker.send(batch)
            target = chance.randint(seq - 9, seq)
            meant.add(target)
            worker.interrupt(target, "timeout")
            while len(got) < seq:
                for message in await worker.receive():
                    assert isinstance(message, Report)
                    got[message.seq] = message.verdict
    assert {seq for seq, verdict in got.items() if verdict == "interrupted"} <= meant
    assert set(got.values()) <= {"completed", "interrupted"} and len(got) == seq


async def test_reports_do_not_wait_behind_a_long_run() -> None:
    """What short runs gave is sent before a run begins that may take long."""
    async with open_worker() as worker:
        worker.send([run(1, "noop"), run(2, "double", number=1), run(3, "sleep_plain", seconds=1000)])
        assert [m.seq for m in await receive(worker, 2)] == [1, 2]


async def test_reports_held_back_by_a_surprisingly_long_run_come_out_on_revoke() -> None:
    """A worker that used to be quick gives no reason to send first; taking runs back lets the reports out."""
    async with open_worker() as worker:
        worker.send([run(seq, "sleep_plain", seconds=0) for seq in (1, 2)])
        await receive(worker, 2)
        worker.send([run(3, "sleep_plain", seconds=0), run(4, "sleep_plain", seconds=1000)])
        await until(lambda: [seq for seq, _ in worker.running()] == [4])
        worker.revoke_from(5)
        assert [m.seq for m in await receive(worker, 1)] == [3]


async def test_runs_that_have_not_started_are_taken_back_from_a_stuck_worker(tmp_path: Path) -> None:
    """The node need not wait for the long run: what it does not see running will not start."""
    path, release = tmp_path / "ran", tmp_path / "release"
    async with open_worker() as worker:
        worker.send([run(1, "wait_plain", path=str(release))])
        worker.send([run(seq, "write_line", path=str(path), line=str(seq)) for seq in range(2, 50)])
        await until(worker.running)
        worker.revoke_from(2)
        await trio.sleep(SETTLE)
        assert [seq for seq, _ in worker.running()] == [1]
        release.touch()
        got = await receive(worker, 49)
        assert [m.verdict for m in got if isinstance(m, Report)] == ["completed"] + ["returned"] * 48
        assert not path.exists()
        worker.unrevoke()
        worker.send([run(50, "write_line", path=str(path), line="50")])
        assert (await report(worker)).verdict == "completed"


@pytest.mark.parametrize(("kind", "slots"), [("plain", 1), ("async", 3)])
async def test_no_run_is_both_taken_back_and_executed(tmp_path: Path, kind: str, slots: int) -> None:
    """Revoked at any moment of a busy stream, each run was either executed or is the node's again, never both."""
    path = tmp_path / "ran"
    path.touch()
    chance = random.Random(11)
    rounds, size = 200, 40
    async with open_worker(kind, slots) as worker:  # type: ignore[arg-type]
        taken_back: set[int] = set()
        completed: set[int] = set()
        returned: set[int] = set()
        seq = 0
        for _ in range(rounds):
            first = seq + 1
            seq += size
            worker.send([run(n, "write_line", path=str(path), line=str(n)) for n in range(first, seq + 1)])
            pause = time.monotonic() + chance.random() * 0.0008
            while time.monotonic() < pause:
                pass
            cut = chance.randint(first, seq)
            worker.revoke_from(cut)
            await trio.sleep(SETTLE)
            running = {n for n, _ in worker.running()}
            reports: dict[int, str] = {}
            while len(reports) < size:
                for message in await worker.receive():
                    assert isinstance(message, Report)
                    reports[message.seq] = message.verdict
            completed |= {n for n, verdict in reports.items() if verdict == "completed"}
            returned |= {n for n, verdict in reports.items() if verdict == "returned"}
            late = {n for n in running if reports[n] == "completed"}
            taken_back |= {n for n in range(cut, seq + 1) if reports[n] == "returned"} - late
            worker.unrevoke()
        executed = [int(line) for line in path.read_text().split()]
    assert len(executed) == len(set(executed)) == len(completed)
    assert set(executed) == completed
    assert taken_back and taken_back.isdisjoint(executed) and returned.isdisjoint(executed)


async def test_what_is_not_seen_running_after_the_pause_never_starts(tmp_path: Path) -> None:
    """The node's own rule, without waiting for any report: not finished, not seen running, so it is mine again."""
    path = tmp_path / "ran"
    path.touch()
    chance = random.Random(13)
    async with open_worker() as worker:
        mine: set[int] = set()
        seq = 0
        for _ in range(200):
            first = seq + 1
            seq += 40
            worker.send([run(n, "write_line", path=str(path), line=str(n)) for n in range(first, seq + 1)])
            pause = time.monotonic() + chance.random() * 0.0008
            while time.monotonic() < pause:
                pass
            cut = first
            worker.revoke_from(cut)
            await trio.sleep(SETTLE)
            # What is in the file or running now has started; nothing else may.
            running = {n for n, _ in worker.running()}
            started = {int(line) for line in path.read_text().split()} | running
            mine |= set(range(cut, seq + 1)) - started
            await receive(worker, 40)
            worker.unrevoke()
        executed = {int(line) for line in path.read_text().split()}
    assert mine and mine.isdisjoint(executed)


async def test_an_async_job_that_blocks_the_loop_is_ended_by_kill_only() -> None:
    """Nothing in its process can hear an interrupt; the kill names every run it executed."""
    async with open_worker("async", 2) as worker:
        worker.send([run(1, "block_the_loop"), run(2, "async_sleep", seconds=1000)])
        await until(worker.running)
        worker.interrupt(1, "timeout")
        with trio.move_on_after(0.2):
            await worker.receive()
        assert worker.exit is None
        worker.kill()
        _got, died = await death(worker)
    assert 1 in [seq for seq, _ in died.running]
