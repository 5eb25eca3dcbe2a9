"""A supervisor as a program of its own, with real signals."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisors import (
    ChildSpec,
    FailedToStart,
    Normal,
    RestartLimitReached,
    Shutdown,
    open_supervisor,
    run_supervisor,
)

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0

PROGRAM = """
import sys, trio, trio.testing
from supervisors import ChildSpec, cleanup_scope, open_supervisor, run_supervisor

def say(text):
    print(text, flush=True)

async def child(name, cleanup, start, *, task_status):
    say(f"starting {name}")
    try:
        await trio.sleep(start)
        say(f"up {name}")
        task_status.started()
        await trio.sleep_forever()
    finally:
        with cleanup_scope() as scope:
            say(f"stopping {name}")
            await trio.sleep(cleanup)
        say(f"{'cut off' if scope.cancelled_caught else 'stopped'} {name}")

async def plain(cleanup):
    async with open_supervisor([ChildSpec(n, child, args=(n, cleanup, 0), shutdown=7200) for n in "ab"]):
        await trio.testing.wait_all_tasks_blocked()
        say("running")
        await trio.sleep_forever()

async def main():
    slow, hang = sys.argv[1] == "slow", sys.argv[1] == "hang"
    specs = [
        ChildSpec("a", child, args=("a", 3600 if slow else 0, 0), shutdown=7200),
        ChildSpec("b", child, args=("b", 3600 if slow else 0, 3600 if hang else 0), shutdown=7200),
    ]
    say(f"ended {await run_supervisor(specs)}")

if sys.argv[1].startswith("plain"):
    try:
        trio.run(plain, 3600 if sys.argv[1] == "plain slow" else 0)
    except KeyboardInterrupt:
        say("interrupted")
else:
    trio.run(main)
"""


class Program:
    """The program as a process; lines of its output are awaited, not slept for."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.text = ""

    async def lines_until(self, last: str) -> list[str]:
        """Return the output up to and including the line `last`."""
        assert self.process.stdout is not None
        while f"{last}\n" not in self.text:
            data = await self.process.stdout.receive_some()
            assert data, f"ended without saying {last!r}: {self.text!r}"
            self.text += data.decode()
        head, self.text = self.text.split(f"{last}\n", 1)
        return [*head.splitlines(), last]


@asynccontextmanager
async def running(kind: str) -> AsyncIterator[Program]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, kind]
    process = await trio.lowlevel.open_process(
        command, stdout=-1, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    try:
        with trio.fail_after(DEADLINE):
            yield Program(process)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_run_the_first_signal_stops_in_order(number: signal.Signals) -> None:
    """The last child first; the exit reason names the signal."""
    async with running("quick") as program:
        await program.lines_until("up b")
        program.process.send_signal(number)
        lines = await program.lines_until(f"ended shutdown: {number.name}")
    assert lines[:4] == ["stopping b", "stopped b", "stopping a", "stopped a"]


async def test_run_the_second_signal_kills_what_is_left() -> None:
    """Cleanups of an hour are cut off."""
    async with running("slow") as program:
        await program.lines_until("up b")
        program.process.send_signal(signal.SIGTERM)
        await program.lines_until("stopping b")
        program.process.send_signal(signal.SIGINT)
        lines = await program.lines_until("ended shutdown: SIGTERM")
    assert sorted(lines[:-1]) == ["cut off a", "cut off b", "stopping a"]


async def test_run_a_signal_ends_a_start_that_hangs() -> None:
    """What had been started before it is stopped in order."""
    async with running("hang") as program:
        await program.lines_until("starting b")
        program.process.send_signal(signal.SIGTERM)
        lines = await program.lines_until("ended shutdown: SIGTERM")
    assert lines[-3:-1] == ["stopping a", "stopped a"]
    assert "up b" not in lines


async def test_run_ctrl_c_in_a_plain_program_stops_in_order_before_it_comes_out() -> None:
    """Without run_supervisor: KeyboardInterrupt is raised in the main task, after the stop."""
    async with running("plain") as program:
        await program.lines_until("running")
        program.process.send_signal(signal.SIGINT)
        lines = await program.lines_until("interrupted")
    assert lines == ["stopping b", "stopped b", "stopping a", "stopped a", "interrupted"]


async def test_run_a_second_ctrl_c_in_a_plain_program_kills_what_is_left() -> None:
    """Cleanups of an hour are cut off, and KeyboardInterrupt is raised bare.

    Python may raise the second one in the frames of b, which then dies of it in its cleanup.
    """
    async with running("plain slow") as program:
        await program.lines_until("running")
        program.process.send_signal(signal.SIGINT)
        await program.lines_until("stopping b")
        program.process.send_signal(signal.SIGINT)
        lines = await program.lines_until("interrupted")
    assert sorted(lines[:-1]) in (["cut off a", "cut off b", "stopping a"], ["cut off a", "stopping a"])


async def test_run_ends_by_itself_when_the_tree_does() -> None:
    """With its exit reason, or its error bare; the signal handlers are put back."""
    before = signal.getsignal(signal.SIGTERM)

    async def done() -> None:
        pass

    async def crash() -> None:
        raise ValueError("x")

    async def no_start(*, task_status: object) -> None:
        raise OSError("no")

    job = ChildSpec("job", done, restart="temporary", significant=True)
    assert await run_supervisor([job], auto_shutdown="all_significant") == Shutdown()
    with pytest.raises(RestartLimitReached):
        await run_supervisor([ChildSpec("bad", crash)], max_restarts=0)
    with pytest.raises(FailedToStart):
        await run_supervisor([ChildSpec("bad", no_start)])
    assert signal.getsignal(signal.SIGTERM) is before
    async with open_supervisor() as tree:
        pass
    assert tree.exit_reason == Normal()
