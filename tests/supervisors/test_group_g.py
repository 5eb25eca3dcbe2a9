"""Checklist G: shutdown."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    BRUTAL_KILL,
    Backoff,
    ChildSpec,
    Crash,
    Exit,
    Normal,
    Shutdown,
    StopTimeout,
    SupervisorStopped,
    cleanup_scope,
    open_supervisor,
    stop_requested,
    supervisor_spec,
    trap_stop,
)
from tests.supervisors.tools import Diary, puppets, settle, watch


async def test_g70_the_stop_is_in_reverse_and_one_at_a_time(autojump_clock: MockClock) -> None:
    """B's cleanup is over before a is asked."""
    diary, (_a, b) = puppets("ab")
    b.cleanup = 2
    asked: list[float] = []

    async def noting(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            asked.append(trio.current_time())

    async with open_supervisor([ChildSpec("a", noting), b.spec()]):
        began = trio.current_time()
    assert asked == [began + 2]
    assert diary == ["+b", "-b"]


async def trapping(diary: Diary, seconds: float, *, task_status: trio.TaskStatus[None]) -> None:
    with trap_stop() as stop:
        task_status.started()
        await stop.wait()
        diary.append(f"asked {stop_requested()} {stop.requested}")
        await trio.sleep(seconds)
        diary.append("done")


async def test_g71_a_trapping_child_that_is_in_time_is_not_reported(autojump_clock: MockClock) -> None:
    """It is not cancelled, sees the request, and its reason is shutdown."""
    diary = Diary()
    async with open_supervisor([ChildSpec("a", trapping, args=(diary, 4.0))]) as tree:
        seen = watch(tree)
        await tree.terminate_child("a")
        assert diary == ["asked True True", "done"]
        assert tree.which_child("a").last_exit == Shutdown()
        assert seen == []


async def test_g72_a_trapping_child_that_overruns_is_killed_at_its_deadline(autojump_clock: MockClock) -> None:
    """Reported as killed; time that others did not use is not added."""
    diary = Diary()
    async with open_supervisor(
        [
            ChildSpec("a", trapping, args=(diary, 100.0), shutdown=2.0),
            ChildSpec("b", trapping, args=(diary, 1.0), shutdown=50.0),
        ]
    ) as tree:
        seen = watch(tree)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(3)
    assert seen == [("shutdown_error", "a", "killed")]


async def test_g73_a_brutal_kill_asks_nobody(autojump_clock: MockClock) -> None:
    """No stop request is seen, a cleanup has no time, nothing is reported."""
    diary, (b,) = puppets("b")
    b.cleanup = 1
    async with open_supervisor(
        [ChildSpec("a", trapping, args=(diary, 1.0), shutdown=BRUTAL_KILL), b.spec(shutdown=BRUTAL_KILL)]
    ) as tree:
        seen = watch(tree)
        diary.take()
        began = trio.current_time()
        await tree.terminate_child("b")
        await tree.terminate_child("a")
        assert trio.current_time() == began
        assert str(tree.which_child("a").last_exit) == "killed"
    assert (seen, diary) == ([], ["-b"])


async def test_g74_infinity_waits_as_long_as_it_takes(autojump_clock: MockClock) -> None:
    """A cleanup of a day."""
    _, (a,) = puppets("a")
    a.cleanup = 86400
    async with open_supervisor([a.spec(shutdown=float("inf"))]) as tree:
        began = trio.current_time()
        seen = watch(tree)
    assert trio.current_time() - began == pytest.approx(86400)
    assert seen == []


async def exiting(outcome: BaseException | None, *, task_status: trio.TaskStatus[None]) -> None:
    with trap_stop() as stop:
        task_status.started()
        await stop.wait()
        if outcome is not None:
            raise outcome


@pytest.mark.parametrize(("restart", "reported"), [("permanent", True), ("transient", False), ("temporary", False)])
async def test_g75_an_explicit_normal_exit_on_request_is_an_error_of_a_permanent_child(
    autojump_clock: MockClock, restart: str, reported: bool
) -> None:
    """A plain return after the request counts as shutdown, for all."""
    async with open_supervisor(
        [
            ChildSpec("a", exiting, args=(Exit(Normal()),), restart=restart),  # type: ignore[arg-type]
            ChildSpec("b", exiting, args=(None,), restart=restart),  # type: ignore[arg-type]
        ]
    ) as tree:
        seen = watch(tree)
    assert seen == ([("shutdown_error", "a", "normal")] if reported else [])


@pytest.mark.parametrize(("restart", "reported"), [("permanent", True), ("transient", False), ("temporary", False)])
async def test_g76_shutdown_with_a_detail_is_reported_for_permanent_and_a_crash_for_all(
    autojump_clock: MockClock, restart: str, reported: bool
) -> None:
    """Both on request."""
    async with open_supervisor(
        [
            ChildSpec("a", exiting, args=(Exit(Shutdown("x")),), restart=restart),  # type: ignore[arg-type]
            ChildSpec("b", exiting, args=(ValueError("y"),), restart=restart),  # type: ignore[arg-type]
        ]
    ) as tree:
        seen = watch(tree)
    expected = [("shutdown_error", "b", "crash: ValueError: y")]
    assert seen == expected + ([("shutdown_error", "a", "shutdown: x")] if reported else [])


async def test_g77_a_cleanup_that_raises_does_not_stop_the_shutdown(autojump_clock: MockClock) -> None:
    """It is reported with that reason, and the others are stopped."""
    diary, (a, b, c) = puppets("abc")
    b.cleanup_error = OSError("cleanup")
    async with open_supervisor([a.spec(), b.spec(), c.spec()]) as tree:
        seen = watch(tree)
    assert diary[3:] == ["-c", "-a"]
    assert seen == [("shutdown_error", "b", "crash: OSError: cleanup")]


async def test_g78_a_child_whose_work_left_for_another_nursery_does_not_hang_the_stop(
    autojump_clock: MockClock,
) -> None:
    """The stop waits for the child's own task, not for what it handed elsewhere."""
    async with trio.open_nursery() as elsewhere:

        async def detaching(*, task_status: trio.TaskStatus[None]) -> None:
            elsewhere.start_soon(trio.sleep_forever)
            task_status.started()
            await trio.sleep_forever()

        async with open_supervisor([ChildSpec("a", detaching)]):
            began = trio.current_time()
        assert trio.current_time() == began
        elsewhere.cancel_scope.cancel()


async def test_g79_children_see_shutdown_whatever_the_reason(autojump_clock: MockClock) -> None:
    """stop(Crash(x)): the supervisor's own reason is the crash."""
    _, (a,) = puppets("a")
    error = ValueError("x")
    async with open_supervisor([a.spec()]) as tree:
        await tree.stop(Crash(error))
        assert tree.which_child("a").last_exit == Shutdown()
    assert tree.exit_reason == Crash(error)


async def test_g80_stop_of_the_dead_and_stop_with_a_timeout(autojump_clock: MockClock) -> None:
    """A timeout is the caller's; the stop goes on."""
    diary, (a,) = puppets("a")
    a.cleanup = 3
    async with open_supervisor([a.spec()]) as tree:
        with pytest.raises(StopTimeout):
            await tree.stop(timeout=1.0)
        assert tree.exit_reason is None
        assert await tree.wait() == Normal()
        assert diary == ["+a", "-a"]
        with pytest.raises(SupervisorStopped):
            await tree.stop()


async def test_g81_outer_cancellation_gives_the_ordered_timed_stop(autojump_clock: MockClock) -> None:
    """Then Cancelled goes on to its scope; also when it comes during a start."""
    diary, (a, b, c) = puppets("abc")
    a.cleanup, b.cleanup = 1, 2
    with trio.move_on_after(10) as scope:
        async with open_supervisor([a.spec(), b.spec(shutdown=1.5), c.spec()]) as tree:
            seen = watch(tree)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert diary.take() == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert trio.current_time() == pytest.approx(12.5)
    assert seen == [("shutdown_error", "b", "killed")]
    b.start_time = 100
    with trio.move_on_after(10) as scope:
        async with open_supervisor([a.spec(), b.spec()]):
            raise AssertionError("must not open")
    assert scope.cancelled_caught
    assert diary == ["+a", "-a"]


async def test_what_a_cancelled_block_does_on_its_way_out_still_has_its_children(
    autojump_clock: MockClock,
) -> None:
    """They stop when it has left; until then they are served, and one that crashes comes back, after a delay too."""
    diary, (a, b) = puppets("ab")
    with trio.move_on_after(1) as scope:
        async with open_supervisor([a.spec(), b.spec(backoff=Backoff(2.0, 2.0, jitter=0.0))]) as tree:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    a.end(RuntimeError("a"))
                    b.end(RuntimeError("b"))
                    await trio.sleep(5)
                    assert [child.state for child in tree.which_children()] == ["running", "running"]
                    await tree.start_child(ChildSpec("late", trio.sleep_forever))
                    assert tree.count_children().active == 3
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(6)
    assert diary.take()[-2:] == ["-b", "-a"]


async def test_a_generator_that_is_closed_inside_the_block_stops_the_children(autojump_clock: MockClock) -> None:
    """GeneratorExit is an end like any other; it comes out as it does of a plain nursery."""
    diary, (a, b) = puppets("ab")

    async def generate() -> AsyncGenerator[int, None]:
        async with open_supervisor([a.spec(), b.spec()]):
            yield 1

    with trio.fail_after(10), pytest.raises(BaseExceptionGroup):
        async with aclosing(generate()) as numbers:
            assert await anext(numbers) == 1
    assert diary.take() == ["+a", "+b", "-b", "-a"]


async def test_g82_a_supervisor_killed_hard_leaves_no_child(autojump_clock: MockClock) -> None:
    """Its parent's patience ends: everything below is killed at once."""
    diary, (a, b) = puppets("ab")
    a.cleanup = b.cleanup = 100
    inner = supervisor_spec("inner", [a.spec(shutdown=60.0), b.spec(shutdown=60.0)], shutdown=1.0)
    async with open_supervisor([inner]) as tree:
        seen = watch(tree)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(1)
    assert sorted(diary[2:]) == ["-a", "-b"]
    assert ("shutdown_error", "inner", "killed") in seen


async def test_g83_later_subtrees_stop_before_earlier_ones(autojump_clock: MockClock) -> None:
    """Stopping the root walks the leaves backwards."""
    diary, (a, b, c, d) = puppets("abcd")
    async with open_supervisor(
        [supervisor_spec("x", [a.spec(), b.spec()]), supervisor_spec("y", [c.spec(), d.spec()])]
    ):
        diary.take()
    assert diary == ["-d", "-c", "-b", "-a"]


async def test_g84_a_child_that_stops_itself_through_its_supervisor_does_not_deadlock(
    autojump_clock: MockClock,
) -> None:
    """An ordinary one is cancelled while it asks; a trapping one is killed after its shutdown time."""
    trees: list[object] = []

    async def suicidal(*, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await settle()
        await trees[0].terminate_child("a")

    async def stubborn(*, task_status: trio.TaskStatus[None]) -> None:
        with trap_stop():
            await suicidal(task_status=task_status)

    for function, seconds in ((suicidal, 0.0), (stubborn, 2.0)):
        async with open_supervisor() as tree:
            trees[:] = [tree]
            began = trio.current_time()
            await tree.start_child(ChildSpec("a", function, shutdown=2.0))
            await settle()
            await trio.sleep(3)
            assert tree.which_child("a").state == "stopped"
            exit_time = trio.current_time() - 3 - began
            assert exit_time <= seconds


async def test_g85_nothing_is_started_during_shutdown(autojump_clock: MockClock) -> None:
    """A caller gets the supervisor's end as an error, whether it asks before or during it."""
    _diary, (a, b) = puppets("ab")
    a.cleanup = 2
    errors: list[BaseException] = []

    async with open_supervisor([a.spec()]) as tree, trio.open_nursery() as nursery:

        async def asking() -> None:
            try:
                await tree.start_child(b.spec())
            except SupervisorStopped as exc:
                errors.append(exc)

        async def terminating() -> None:
            try:
                await tree.terminate_child("a")
            except SupervisorStopped as exc:
                errors.append(exc)

        nursery.start_soon(terminating)
        await settle()
        nursery.start_soon(asking)
        await settle()
        nursery.start_soon(tree.stop)
        await settle()
        assert len(errors) == 2
        assert tree.exit_reason is None
        nursery.start_soon(asking)
        await trio.sleep(5)
        assert len(errors) == 3
        assert b.starts == 0
        nursery.cancel_scope.cancel()


async def test_g_a_cleanup_scope_outlasts_the_request_but_not_the_kill(autojump_clock: MockClock) -> None:
    """Async cleanup has exactly the shutdown time."""
    marks: list[tuple[str, float]] = []

    async def cleaning(seconds: float, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            with cleanup_scope() as scope:
                await trio.sleep(seconds)
            marks.append((f"cut {scope.cancelled_caught}", trio.current_time()))

    for seconds, expected in ((1.0, ("cut False", 1.0)), (9.0, ("cut True", 2.0))):
        async with open_supervisor([ChildSpec("a", cleaning, args=(seconds,), shutdown=2.0)]):
            began = trio.current_time()
        mark, at = marks.pop()
        assert (mark, at - began) == (expected[0], pytest.approx(expected[1]))


async def test_g_leaving_the_trap_after_a_request_cancels(autojump_clock: MockClock) -> None:
    """A child that goes on after its trap is stopped at its next checkpoint."""
    diary = Diary()

    async def child(*, task_status: trio.TaskStatus[None]) -> None:
        with trap_stop() as stop:
            task_status.started()
            await stop.wait()
        diary.append("left")
        await trio.sleep_forever()

    async with open_supervisor([ChildSpec("a", child)]):
        began = trio.current_time()
    assert (diary, trio.current_time()) == (["left"], began)
