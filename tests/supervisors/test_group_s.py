"""Checklist S: what is particular to trio."""

# ruff: noqa: PT012  (what raises is the block of the supervisor, which needs its body)

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    ChildSpec,
    ChildUnkillable,
    Crash,
    Event,
    Exit,
    FailedToStart,
    Normal,
    NotStarted,
    Shutdown,
    StrayCancelled,
    SupervisorStopped,
    UnkillableChild,
    open_supervisor,
    supervisor_spec,
)
from supervisors._policy import RestartPolicy
from supervisors.testing import crash
from tests.supervisors.tools import puppets, settle, watch
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("group", "clean"),
    [
        (ExceptionGroup("g", [Exit(Shutdown("x")), ExceptionGroup("h", [Exit(Shutdown())])]), True),
        (ExceptionGroup("g", [Exit(Normal()), Exit(Shutdown("x"))]), True),
        (ExceptionGroup("g", [Exit(Shutdown()), ExceptionGroup("h", [ValueError("v")])]), False),
        (ExceptionGroup("g", [Exit(Shutdown()), Exit(Crash(ValueError("v")))]), False),
    ],
)
async def test_s190_a_group_is_judged_by_its_leaves(
    autojump_clock: MockClock, group: ExceptionGroup[Exception], clean: bool
) -> None:
    """Only clean leaves make a clean exit; one other makes it a crash with the whole group."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(restart="transient")]) as tree:
        a.end(group)
        await settle()
        info = tree.which_child("a")
        assert info.state == ("stopped" if clean else "running")
        assert info.last_exit == (Shutdown("x") if clean else Crash(group))


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
async def test_s191_a_fatal_exception_stops_the_tree_in_order_and_comes_out(
    autojump_clock: MockClock, kind: type[BaseException], grouped: bool
) -> None:
    """Alone or in a group, in a child of a child: nothing is restarted, and it is raised bare."""
    diary, (a, b, c) = puppets("abc")
    inner = supervisor_spec("inner", [b.spec(), c.spec()], strategy="one_for_all")
    error = kind("now")
    with pytest.raises(kind) as caught:
        async with open_supervisor([a.spec(), inner], strategy="one_for_all") as tree:
            diary.take()
            b.end(BaseExceptionGroup("g", [ValueError("v"), error]) if grouped else error)
            await trio.sleep_forever()
    assert caught.value is error
    assert diary == ["!b", "-c", "-a"]
    assert tree.exit_reason == Crash(error)


async def test_s192_a_child_that_swallows_its_cancellation_is_reported_and_not_doubled(
    autojump_clock: MockClock,
) -> None:
    """Reported as unkillable with its stack; the supervisor serves on, and starts no second life beside it."""
    let_go = False
    lives = 0

    async def stubborn(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal lives
        lives += 1
        task_status.started()
        if lives > 1:
            await trio.sleep_forever()
        while not let_go:
            try:
                await trio.sleep(0.1)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.1)

    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), ChildSpec("s", stubborn, shutdown=1.0)], strategy="one_for_all") as tree:
        events: list[Event] = []
        tree.subscribe(events.append)
        began = trio.current_time()
        with pytest.raises(UnkillableChild):
            await tree.terminate_child("s")
        assert trio.current_time() - began == pytest.approx(2.0)
        (report,) = [event for event in events if isinstance(event, ChildUnkillable)]
        assert "stubborn" in report.stack
        assert tree.which_child("s").state == "unkillable"
        assert tree.count_children().active == 2
        await tree.start_child(b.spec())
        a.end(ValueError("x"))
        await settle()
        assert (a.lives, b.lives, lives) == (2, 2, 1)
        let_go = True
        await trio.sleep(1)
        assert tree.which_child("s").state == "running"
        assert lives == 2


async def test_s193_a_stale_cancelled_is_a_crash_and_harms_no_sibling(autojump_clock: MockClock) -> None:
    """A Cancelled that was kept and is raised again belongs to nobody."""
    kept: list[BaseException] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as exc:
            kept.append(exc)
            raise
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), b.spec()]) as tree:
        a.end(kept[0])
        await settle()
        last = tree.which_child("a").last_exit
        assert isinstance(last, Crash)
        assert isinstance(last.exception, StrayCancelled)
        assert (a.lives, b.lives, tree.which_child("b").state) == (2, 1, "running")


async def test_s194_an_end_in_the_tick_of_the_cancellation_is_judged_by_the_end(autojump_clock: MockClock) -> None:
    """A child that was cancelled but raised or returned by itself ended that way."""
    raised = trio.Event()

    async def raising(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await raised.wait()
        raise ValueError("mine")

    async def returning(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await raised.wait()

    async with open_supervisor([ChildSpec("a", raising), ChildSpec("b", returning)], max_restarts=9) as tree:
        lives = [tree._engine.find(name).life for name in "ab"]
        raised.set()
        for life in lives:
            assert life is not None
            life.kill()
            raised = trio.Event()
        for life in lives:
            assert life is not None
            await life.wait_end()
            assert life.scope.cancel_called
            assert not life.scope.cancelled_caught
        assert lives[0] is not None
        assert isinstance(lives[0].reason, Crash)
        assert lives[1] is not None
        assert lives[1].reason == Normal()
        await tree.stop()


async def test_s195_returning_before_started_is_an_error_and_so_is_a_second_started(
    autojump_clock: MockClock,
) -> None:
    """Neither hangs."""

    async def never(*, task_status: trio.TaskStatus[None]) -> None:
        await trio.sleep(1)

    async def twice(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        with pytest.raises(RuntimeError, match="twice"):
            task_status.started()
        await trio.sleep_forever()

    async with open_supervisor() as tree:
        with pytest.raises(FailedToStart) as caught:
            await tree.start_child(ChildSpec("a", never))
        assert isinstance(caught.value.__cause__, NotStarted)
        await tree.start_child(ChildSpec("b", twice))
        await settle()
        assert tree.which_child("b").state == "running"


async def test_s196_a_start_whose_caller_gave_up_is_undone(autojump_clock: MockClock) -> None:
    """When the caller's timeout comes out of start_child the half-started child is gone."""
    cleaned: list[str] = []

    async def slow(*, task_status: trio.TaskStatus[None]) -> None:
        try:
            await trio.sleep(100)
        finally:
            cleaned.append("gone")

    _, (b,) = puppets("b")
    async with open_supervisor() as tree:
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await tree.start_child(ChildSpec("a", slow))
        assert scope.cancelled_caught
        assert trio.current_time() - began == pytest.approx(1)
        assert cleaned == ["gone"]
        assert tree.which_children() == []
        assert await tree.start_child(b.spec()) == "b1"


async def test_s_a_waiting_call_whose_caller_gave_up_is_never_made(autojump_clock: MockClock) -> None:
    """It was queued behind a slow start."""
    _, (a, b) = puppets("ab")
    a.start_time = 5
    async with open_supervisor() as tree, trio.open_nursery() as nursery:
        nursery.start_soon(tree.start_child, a.spec())
        await settle()
        with trio.move_on_after(1) as scope:
            await tree.start_child(b.spec())
        assert scope.cancelled_caught
        await trio.sleep(10)
        assert (a.lives, b.starts) == (1, 0)


async def test_s_the_supervisor_survives_a_start_that_swallows_its_cancellation(autojump_clock: MockClock) -> None:
    """start_timeout, then the kill, then the supervisor goes on without it."""
    let_go = trio.Event()

    async def stubborn(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.CancelScope(shield=True):
            await let_go.wait()

    async with open_supervisor([ChildSpec("a", trio.sleep_forever)]) as tree:
        seen = watch(tree)
        with pytest.raises(FailedToStart):
            await tree.start_child(ChildSpec("s", stubborn, start_timeout=1.0))
        assert [context for context, _, _ in seen] == ["unkillable"]
        assert tree.count_children().specs == 1
        let_go.set()


async def test_s_an_error_in_the_body_while_giving_up_is_not_lost(autojump_clock: MockClock) -> None:
    """The body's own error wins, with a note of the other."""
    _, (a,) = puppets("a")
    with pytest.raises(KeyError) as caught:
        async with open_supervisor([a.spec()], max_restarts=0):
            a.end(ValueError("x"))
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("cleanup")
    assert "gave up" in caught.value.__notes__[0]


async def test_s_a_crash_can_be_injected_anywhere_in_the_tree(autojump_clock: MockClock) -> None:
    """Into a worker, and into an inner supervisor, which stops its children in order first."""
    diary, (a, b) = puppets("ab")
    async with open_supervisor([supervisor_spec("inner", [a.spec(), b.spec()])]) as tree:
        diary.take()
        crash(tree, ["inner", "a"], OSError("disk"))
        await settle()
        assert diary.take() == ["-a", "+a"]
        error = OSError("all of it")
        crash(tree, "inner", error)
        await settle()
        assert diary.take() == ["-b", "-a", "+a", "+b"]
        assert tree.which_child("inner").last_exit == Crash(error)


async def test_s_cancelling_the_body_during_a_group_restart_stops_each_child_once(autojump_clock: MockClock) -> None:
    """The deadlines of stops that were under way go on, they do not begin anew."""
    diary, (a, b, c) = puppets("abc")
    c.cleanup = 4
    with trio.move_on_after(2) as scope:
        async with open_supervisor([a.spec(), b.spec(), c.spec(shutdown=3.0)], strategy="one_for_all"):
            diary.take()
            began = trio.current_time()
            b.end(ValueError("x"))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert diary == ["!b", "-c", "-a"]
    assert trio.current_time() - began == pytest.approx(3)


async def test_s_a_bug_in_the_supervisor_itself_still_stops_the_children(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is raised."""
    diary, (a, b) = puppets("ab")

    def broken(*_: object) -> NoReturn:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with open_supervisor([a.spec(), b.spec()]) as tree:
            monkeypatch.setattr(RestartPolicy, "admit", broken)
            diary.take()
            a.end(ValueError("x"))
            await trio.sleep_forever()
    assert diary == ["!a", "-b"]
    with pytest.raises(SupervisorStopped):
        await tree.terminate_child("a")


async def test_s_an_error_in_a_cancelled_body_is_not_lost_while_the_stop_takes_its_time(
    autojump_clock: MockClock,
) -> None:
    """It comes out bare, after the ordered stop."""
    diary, (a,) = puppets("a")
    a.cleanup = 2
    with pytest.raises(KeyError, match="cleanup"), trio.move_on_after(1):
        async with open_supervisor([a.spec()]):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("cleanup")
    assert diary == ["+a", "-a"]
    assert trio.current_time() == pytest.approx(3)


class Stubborn:
    """A child that swallows its cancellation until it is let go; its second start hangs when asked to."""

    def __init__(self, *, hang_at_start: int = 0) -> None:
        self.hang_at_start = hang_at_start
        self.starts = 0
        self.let_go = trio.Event()
        self.die = trio.Event()

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.starts += 1
        if self.starts == self.hang_at_start:
            with trio.CancelScope(shield=True):
                await self.let_go.wait()
            raise ValueError("too late")
        task_status.started()
        if self.hang_at_start or self.starts > 1:
            await self.die.wait()
            self.die = trio.Event()
            raise ValueError("x")
        with trio.CancelScope(shield=True):
            await self.let_go.wait()


async def test_s_terminating_an_unkillable_child_takes_back_its_restart(autojump_clock: MockClock) -> None:
    """It was to come back with its group; now it ends for good once it ends."""
    _, (a,) = puppets("a")
    stubborn = Stubborn()
    spec = ChildSpec("s", stubborn.live, shutdown=1.0, restart="transient", significant=True)
    async with open_supervisor([a.spec(), spec], strategy="one_for_all", auto_shutdown="any_significant") as tree:
        a.end(ValueError("x"))
        await trio.sleep(3)
        assert (a.lives, tree.which_child("s").state) == (2, "unkillable")
        with pytest.raises(UnkillableChild):
            await tree.terminate_child("s")
        stubborn.let_go.set()
        await settle()
        assert (tree.which_child("s").state, stubborn.starts) == ("stopped", 1)
    assert tree.exit_reason == Normal()


async def test_s_a_start_that_cannot_be_killed_at_a_restart_is_made_again_when_it_ends(
    autojump_clock: MockClock,
) -> None:
    """No second life beside it before."""
    stubborn = Stubborn(hang_at_start=2)
    async with open_supervisor([ChildSpec("s", stubborn.live, start_timeout=1.0)]) as tree:
        stubborn.die.set()
        await trio.sleep(10)
        assert (tree.which_child("s").state, stubborn.starts) == ("unkillable", 2)
        stubborn.let_go.set()
        await settle()
        assert (tree.which_child("s").state, stubborn.starts) == ("running", 3)


async def test_s_an_interrupt_during_the_stop_kills_what_is_left(autojump_clock: MockClock) -> None:
    """Whichever child's frames a second Ctrl-C hits, at any depth; the first one that came out of a child does not."""
    diary, (a, b, c, d) = puppets("abcd")
    a.cleanup = b.cleanup = d.cleanup = 3600
    c.cleanup_error = KeyboardInterrupt("second")
    inner = supervisor_spec("inner", [b.spec(shutdown=7200), c.spec()])
    with pytest.raises(KeyboardInterrupt, match="second"):
        async with open_supervisor([a.spec(shutdown=7200), inner, d.spec(shutdown=7200)]):
            began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3600)
    assert diary == ["+a", "+b", "+c", "+d", "-d", "-b", "-a"]


async def test_s197_a_blocking_thread_bounds_the_stop_a_process_does_not() -> None:
    """A thread cannot be killed: the stop waits for it, reports the overrun, and the loop stays responsive."""
    story: list[str] = []
    began, reported, let_go = trio.Event(), trio.Event(), threading.Event()

    def block() -> None:
        let_go.wait(20)
        story.append("the thread has ended")

    async def in_a_thread() -> None:
        began.set()
        await trio.to_thread.run_sync(block)

    def hear(event: Event) -> None:
        if isinstance(event, ChildUnkillable):
            story.append(f"{event.child.id} is unkillable")
            reported.set()

    async def release() -> None:
        await reported.wait()
        await settle()
        story.append("it is let go")
        let_go.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(release)
        async with open_supervisor(kill_timeout=0.05) as tree:
            tree.subscribe(hear)
            await tree.start_child(ChildSpec("thread", in_a_thread, shutdown=0.05))
            await began.wait()
        story.append("the block has ended")
        nursery.cancel_scope.cancel()
    assert story == ["thread is unkillable", "it is let go", "the thread has ended", "the block has ended"]


STUBBORN = (
    "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); sys.stdin.read()"
)
OWNER = """
import trio
from supervisors import ChildSpec, open_supervisor
from tests.supervisors.test_group_s import process_actor

async def main():
    async with open_supervisor([ChildSpec("process", process_actor)]) as tree:
        print(tree.which_child("process").info, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def process_actor(*, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Own a process that ignores SIGTERM and ends when its owner's end of the pipe is closed."""
    command = [sys.executable, "-c", STUBBORN]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        await process.stdout.receive_some()
        task_status.started(process.pid)
        await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            with trio.move_on_after(0.1):
                await process.wait()
            process.kill()
            await process.wait()


async def test_s198_a_process_that_ignores_sigterm_is_killed_reaped_and_never_outlives_its_owner() -> None:
    """Dead within its shutdown time and no zombie; and gone as well when the owner itself is killed."""
    async with open_supervisor([ChildSpec("process", process_actor, shutdown=20.0)]) as tree:
        pid = tree.which_child("process").info
        assert isinstance(pid, int)
        start = trio.current_time()
    assert 0.1 <= trio.current_time() - start < 10
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root}
    owner = await trio.lowlevel.open_process([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, env=environment)
    assert owner.stdout is not None
    line = (await owner.stdout.receive_some()).decode()
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    orphan = int(line)
    await eventually(lambda: not Path(f"/proc/{orphan}/cmdline").exists(), "the orphan has ended")
