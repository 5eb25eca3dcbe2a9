"""How a worker process may end, and what the node learns of it."""

from __future__ import annotations

import math
import os
import signal
import time
from pathlib import Path
from typing import Literal

import pytest
import trio
import trio.testing

from kathikon_actors.processes import worker_process
from kathikon_actors.processes.handle import ExitStatus, WorkerDied, WorkerProcess
from kathikon_actors.processes.memory import rss_bytes
from kathikon_actors.processes.messages import FromWorker, Report
from tests.processes.tools import (
    ALL,
    alive,
    death,
    descriptors,
    open_worker,
    open_zygote,
    receive,
    report,
    run,
    until,
)


@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("segfault", {}, "killed by SIGSEGV"),
        ("leave", {"code": 3}, "exit status 3"),
        ("leave", {"code": 0}, "exit status 0"),
    ],
)
async def test_a_crash_names_how_and_which_run(name: str, args: dict[str, int], text: str) -> None:
    """What ran before is reported, what was executed is named, what came after is neither."""
    async with open_worker() as worker:
        before = time.monotonic_ns()
        worker.send([run(1, "noop"), run(2, name, **args), run(3, "noop")])
        got, died = await death(worker)
    assert [m.seq for m in got] == [1]
    assert died.exit.text == text
    [(seq, started)] = died.running
    assert seq == 2 and before < started < time.monotonic_ns()
    assert worker.running() == died.running


async def test_a_killed_worker_is_seen_dead_within_a_second() -> None:
    """SIGKILL from anywhere: the exit status names it. Of some, if the machine was busy with others meanwhile."""
    took = math.inf
    for _ in range(5):
        async with open_worker() as worker:
            worker.send([run(1, "sleep_plain", seconds=1000)])
            await until(worker.running)
            began = time.monotonic()
            os.kill(worker.pid, signal.SIGKILL)
            _got, died = await death(worker)
            took = time.monotonic() - began
        assert died.exit == ExitStatus(worker.pid, signal=signal.SIGKILL)
        assert [seq for seq, _ in died.running] == [1]
        if took < 1:
            break
    assert took < 1


async def test_an_idle_worker_that_dies_was_executing_nothing() -> None:
    """Nobody is blamed for a process that dies between two runs."""
    async with open_worker() as worker:
        worker.send([run(1, "noop")])
        await receive(worker, 1)
        os.kill(worker.pid, signal.SIGKILL)
        _got, died = await death(worker)
    assert died.running == []


async def test_an_async_worker_that_dies_names_every_run_it_executed() -> None:
    """The culprit is unknown, so all are named; what had not started is not."""
    async with open_worker("async", 3) as worker:
        worker.send([run(seq, "async_sleep", seconds=1000) for seq in (1, 2, 3, 4)])
        await until(lambda: len(worker.running()) == 3)
        worker.kill()
        _got, died = await death(worker)
    assert sorted(seq for seq, _ in died.running) == [1, 2, 3]


async def test_a_worker_that_closed_its_socket_but_lives_is_killed() -> None:
    """Nobody can speak with it any more."""
    async with open_worker() as worker:
        worker.send([run(1, "close_everything")])
        _got, died = await death(worker)
        assert not alive(worker.pid)
    assert died.exit.text == "closed its connection to the node (killed by SIGKILL)"
    assert [seq for seq, _ in died.running] == [1]


async def test_what_a_dead_worker_forked_goes_with_it(tmp_path: Path) -> None:
    """A grandchild that would outlive it is killed, and does not keep the death from being seen."""
    pid_file = tmp_path / "pid"
    async with open_worker() as worker:
        worker.send([run(1, "fork_and_die", path=str(pid_file))])
        _got, died = await death(worker)
        assert died.exit.text == "exit status 7"
        grandchild = int(pid_file.read_text())
        await until(lambda: not alive(grandchild))


async def test_a_death_is_seen_though_somebody_holds_the_socket_open(tmp_path: Path) -> None:
    """A daemon forked behind Python's back keeps the socket; the exit status is enough, and reports come first."""
    pid_file = tmp_path / "pid"
    async with open_worker() as worker:
        worker.send([run(1, "noop"), run(2, "fork_unseen_and_die", path=str(pid_file))])
        got, died = await death(worker)
    assert [m.seq for m in got] == [1] and died.exit.text == "exit status 7"
    daemon = int(pid_file.read_text())
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)


@pytest.mark.parametrize(("kind", "name"), [("plain", "fork_and_return"), ("async", "async_fork_and_return")])
async def test_a_copy_that_comes_back_from_fork_is_not_a_second_worker(
    kind: Literal["plain", "async"], name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A job that forks and returns twice is reported once; the copy ends without a word."""
    async with open_worker(kind) as worker:
        worker.send([run(1, name), run(2, "double", number=4)])
        got = sorted(await receive(worker, 2), key=lambda message: message.seq)
        assert [m.result for m in got if isinstance(m, Report)] == [b'"the worker"', b"8"]
    assert "Traceback" not in capfd.readouterr().err


async def test_a_job_can_start_and_terminate_a_process_of_its_own() -> None:
    """`multiprocessing` works in a plain job: its child obeys SIGTERM."""
    async with open_worker() as worker:
        worker.send([run(1, "terminate_own_child"), run(2, "noop")])
        first, second = await receive(worker, 2)
        assert isinstance(first, Report) and first.result == b'"exit -15"'
        assert second.seq == 2


async def test_a_worker_that_prints_much_goes_on_and_the_nodes_output_stays_clean(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What jobs print comes out on the node's stderr."""
    async with open_worker() as worker:
        worker.send([run(1, "print_much", lines=5_000)])
        assert (await report(worker)).verdict == "completed"
    # Once, when all have ended: a look takes away what is written to the same file at that moment.
    out, err = capfd.readouterr()
    assert out == ""
    assert "out 4999\n" in err and "err 4999\n" in err


async def stop_while_they_run(worker: WorkerProcess, release: Path) -> None:
    """Stop the process, and let what it runs end only after that was asked of it."""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.stop, math.inf)
            await trio.testing.wait_all_tasks_blocked()
            await trio.Path(release).touch()


async def test_stop_finishes_what_runs_and_gives_back_the_rest(tmp_path: Path) -> None:
    """The process ends with status 0, nothing of it is left unreported."""
    release = tmp_path / "release"
    async with open_worker() as worker:
        worker.send([run(1, "wait_plain", path=str(release)), run(2, "noop"), run(3, "noop")])
        await until(worker.running)
        await stop_while_they_run(worker, release)
        got, died = await death(worker)
    assert [(m.seq, m.verdict) for m in got if isinstance(m, Report)] == [
        (1, "completed"),
        (2, "returned"),
        (3, "returned"),
    ]
    assert died.exit.text == "exit status 0" and died.running == []


async def test_a_process_that_stops_ends_as_a_program_does(tmp_path: Path) -> None:
    """It waits for its threads, then calls what `atexit` holds."""
    path = tmp_path / "written"
    async with open_worker() as worker:
        worker.send([run(1, "write_at_exit", path=str(path))])
        await receive(worker, 1)
        await worker.stop(5)
        _got, died = await death(worker)
    assert died.exit.text == "exit status 0"
    assert path.read_text() == "thread, at exit"


async def test_stop_of_an_async_worker_finishes_what_runs(tmp_path: Path) -> None:
    """Running jobs end, queued ones come back."""
    release = tmp_path / "release"
    async with open_worker("async", 2) as worker:
        worker.send([run(seq, "async_wait", path=str(release)) for seq in (1, 2, 3)])
        await until(lambda: len(worker.running()) == 2)
        await stop_while_they_run(worker, release)
        got, died = await death(worker)
    assert {m.seq: m.verdict for m in got if isinstance(m, Report)} == {1: "completed", 2: "completed", 3: "returned"}
    assert died.exit.text == "exit status 0"


async def test_stop_ends_a_worker_that_does_not_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the grace comes SIGTERM, and the process is reaped when `stop` returns."""
    # However busy the machine is: what ends it is SIGTERM, not the SIGKILL that comes a second later.
    monkeypatch.setattr(worker_process, "_AFTER_TERM", 15.0)
    async with open_worker() as worker:
        worker.send([run(1, "spin_forever")])
        await until(worker.running)
        began = time.monotonic()
        await worker.stop(0.2)
        assert time.monotonic() - began >= 0.2
        assert not alive(worker.pid)
        _got, died = await death(worker)
    assert died.exit.text == "killed by SIGTERM"


async def test_a_stopped_process_is_killed_when_it_ignores_sigterm() -> None:
    """A process that does not even run its handlers gets SIGKILL a second later."""
    async with open_worker() as worker:
        worker.send([run(1, "spin_forever")])
        await until(worker.running)
        os.kill(worker.pid, signal.SIGSTOP)
        with trio.fail_after(15):
            await worker.stop(0.1)
        _got, died = await death(worker)
    assert died.exit.text == "killed by SIGKILL"


async def test_a_cancelled_stop_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no time to wait leaves no process behind."""
    monkeypatch.setattr(worker_process, "_AFTER_TERM", 15.0)  # until the kernel has ended it, on a busy machine
    async with open_worker() as worker:
        worker.send([run(1, "spin_forever")])
        await until(worker.running)
        with trio.move_on_after(0.05):
            await worker.stop(1000)
        assert not alive(worker.pid)


async def test_a_cancelled_receive_loses_no_report() -> None:
    """Every report is given out exactly once, however often the one who waits is cancelled."""
    got: list[FromWorker] = []
    async with open_worker() as worker:
        worker.send([run(seq, "noop") for seq in range(1, 2_001)])
        with trio.fail_after(20):
            while len(got) < 2_000:
                with trio.move_on_after(0.0005):
                    got += await worker.receive()
    assert [m.seq for m in got] == list(range(1, 2_001))


async def test_more_than_the_socket_holds_is_sent_when_there_is_room(tmp_path: Path) -> None:
    """`send` never waits; `receive` sends the rest."""
    release = tmp_path / "release"
    async with open_worker() as worker:
        text = "x" * 100_000
        worker.send([run(1, "wait_plain", path=str(release))])
        await until(worker.running)  # it reads no more until that has ended
        for seq in range(2, 102):
            worker.send([run(seq, "remember", note=text)])
        assert worker.unsent_bytes > 1_000_000
        release.touch()
        got = await receive(worker, 101)
        assert [m.seq for m in got] == list(range(1, 102))
        assert worker.unsent_bytes == 0


async def test_a_dead_worker_takes_no_more_and_says_so_again() -> None:
    """After `WorkerDied` the handle is closed: nothing raises but `receive`."""
    async with open_worker() as worker:
        worker.kill()
        await death(worker)
        worker.send([run(1, "noop")])
        worker.interrupt(1, "timeout")
        worker.revoke_from(1)
        worker.kill()
        await worker.stop(1)
        with pytest.raises(WorkerDied, match="killed by SIGKILL"):
            await worker.receive()


async def test_hundreds_of_forks_leave_no_descriptor() -> None:
    """Each handle gives back its socket, its pidfd, its page; the zygote keeps none."""
    async with open_zygote() as zygote:
        before, in_zygote = descriptors(), descriptors(zygote.pid)
        for number in range(300):
            worker = await zygote.fork("plain", 1, "test")
            if number % 3 == 0:
                worker.close()
            elif number % 3 == 1:
                worker.kill()
                await death(worker)
            else:
                with trio.move_on_after(0):
                    await zygote.fork("plain", 1, "cancelled")
                worker.close()
        await until(lambda: descriptors() == before)
        await until(lambda: descriptors(zygote.pid) == in_zygote)
        await until(lambda: Path(f"/proc/{zygote.pid}/task/{zygote.pid}/children").read_text() == "")


async def test_the_memory_of_a_process_is_told_in_bytes() -> None:
    """A fork of the zygote holds a few megabytes; a process that is gone holds none that anyone could tell."""
    async with open_worker() as worker:
        worker.send([run(1, "noop")])
        await receive(worker, 1)
        rss = rss_bytes(worker.pid)
        assert rss is not None and 1e6 < rss < 1e9
        worker.kill()
        await death(worker)
        assert rss_bytes(worker.pid) is None


async def test_a_dead_worker_is_replaced_in_no_time() -> None:
    """The zygote has everything loaded; trio too, when a worker is async."""
    async with open_zygote(ALL) as zygote:
        for kind, name in (("plain", "noop"), ("async", "async_noop")):
            took = math.inf
            for _ in range(25):  # a busy machine may spoil some
                began = time.monotonic()
                worker = await zygote.fork(kind, 1, "test")  # type: ignore[arg-type]
                worker.send([run(1, name)])
                await receive(worker, 1)
                took = time.monotonic() - began
                worker.close()
                if took < 0.2:
                    break
            assert took < 0.2
