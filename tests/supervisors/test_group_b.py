"""Checklist B: start."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    IGNORE,
    AlreadyStarted,
    ChildSpec,
    Crash,
    Exit,
    FailedToStart,
    Normal,
    NotStarted,
    Shutdown,
    open_supervisor,
    supervisor_spec,
)
from tests.supervisors.tools import Diary, puppets, settle, watch


async def ignoring(*, task_status: trio.TaskStatus[object]) -> None:
    task_status.started(IGNORE)


async def test_b12_children_start_one_after_the_other(autojump_clock: MockClock) -> None:
    """B's function is not entered before a is up."""
    diary, (a, b, c) = puppets("abc")
    a.start_time = b.start_time = 1
    entered: list[tuple[str, int]] = []

    async def noting(*, task_status: trio.TaskStatus[object]) -> None:
        entered.append(("b", a.lives))
        await b.live(task_status=task_status)

    async with open_supervisor([a.spec(), ChildSpec("b", noting), c.spec()]):
        assert diary == ["+a", "+b", "+c"]
        assert entered == [("b", 1)]


async def test_b13_the_block_begins_when_every_child_is_up(autojump_clock: MockClock) -> None:
    """Three starts of a second each take three seconds."""
    diary, all_three = puppets("abc")
    for one in all_three:
        one.start_time = 1
    began = trio.current_time()
    async with open_supervisor([one.spec() for one in all_three]):
        assert trio.current_time() - began == pytest.approx(3)
        assert diary == ["+a", "+b", "+c"]


async def test_b14_a_failed_start_stops_the_others_in_reverse_each_in_its_time(autojump_clock: MockClock) -> None:
    """Nothing is left running, and the error names the child and the cause."""
    diary, (a, b, c) = puppets("abc")
    a.cleanup, b.cleanup = 1, 2
    c.failures = [ValueError("no")]
    began = trio.current_time()
    with pytest.raises(FailedToStart) as caught:
        async with open_supervisor([a.spec(), b.spec(), c.spec()]):
            raise AssertionError("must not open")
    assert diary == ["+a", "+b", "?c", "-b", "-a"]
    assert trio.current_time() - began == pytest.approx(3)
    assert (caught.value.id, caught.value.reason) == ("c", Crash(caught.value.__cause__))  # type: ignore[arg-type]


async def test_b15_a_failed_first_start_is_never_tried_again(autojump_clock: MockClock) -> None:
    """A generous limit does not matter."""
    _, (a,) = puppets("a")
    a.failures = [ValueError("no")]
    with pytest.raises(FailedToStart):
        async with open_supervisor([a.spec()], max_restarts=100):
            raise AssertionError("must not open")
    assert a.starts == 1


async def test_b16_a_supervisor_may_ask_to_be_ignored(autojump_clock: MockClock) -> None:
    """Its function of children returns IGNORE: no children, exit reason normal; a success for the parent."""
    async with open_supervisor(lambda: IGNORE) as alone:
        await trio.sleep_forever()
    assert alone.exit_reason == Normal()
    async with open_supervisor([supervisor_spec("inner", lambda: IGNORE)]) as tree:
        info = tree.which_child("inner")
        assert (info.state, info.info) == ("stopped", None)


async def test_b17_an_ignoring_child_counts_as_started(autojump_clock: MockClock) -> None:
    """It is listed without a life, and the next one starts."""
    diary, (b,) = puppets("b")
    async with open_supervisor([ChildSpec("a", ignoring), b.spec()]) as tree:
        assert [(info.id, info.state) for info in tree.which_children()] == [("b", "running"), ("a", "stopped")]
        assert tree.count_children().active == 1
    assert diary == ["+b", "-b"]


async def test_b18_an_ignoring_temporary_child_is_not_listed(autojump_clock: MockClock) -> None:
    """Its spec goes at once."""
    async with open_supervisor([ChildSpec("a", ignoring, restart="temporary")]) as tree:
        assert tree.which_children() == []
        assert await tree.start_child(ChildSpec("b", ignoring, restart="temporary")) is None
        assert tree.which_children() == []
        assert await tree.start_child(ChildSpec("c", ignoring)) is None
        assert tree.which_child("c").state == "stopped"


async def test_b19_an_exception_an_exit_and_a_bad_return_have_one_shape(autojump_clock: MockClock) -> None:
    """FailedToStart with the reason; a child that returns before started() is an error that carries the value."""

    async def raises(*, task_status: object) -> None:
        raise ValueError("x")

    async def exits(*, task_status: object) -> None:
        raise Exit(Shutdown("not today"))

    async def returns(*, task_status: object) -> int:
        return 42

    async with open_supervisor() as tree:
        with pytest.raises(FailedToStart) as first:
            await tree.start_child(ChildSpec("a", raises))
        with pytest.raises(FailedToStart) as second:
            await tree.start_child(ChildSpec("a", exits))
        with pytest.raises(FailedToStart) as third:
            await tree.start_child(ChildSpec("a", returns))
    assert isinstance(first.value.reason, Crash)
    assert isinstance(first.value.__cause__, ValueError)
    assert second.value.reason == Shutdown("not today")
    assert isinstance(third.value.__cause__, NotStarted)
    assert third.value.__cause__.value == 42


async def test_b20_a_taken_id_is_told_and_the_child_not_run(autojump_clock: MockClock) -> None:
    """The error carries what the running child gave."""
    _diary, (a, b) = puppets("ab")
    async with open_supervisor([a.spec()]) as tree:
        with pytest.raises(AlreadyStarted) as caught:
            await tree.start_child(b.spec(id="a"))
        assert (caught.value.info, b.starts) == ("a1", 0)


async def test_b21_started_info_comes_back_from_start_and_restart_child(autojump_clock: MockClock) -> None:
    """An automatic restart hands it to nobody, but it shows."""
    _, (a,) = puppets("a")
    async with open_supervisor() as tree:
        assert await tree.start_child(a.spec()) == "a1"
        await tree.terminate_child("a")
        assert await tree.restart_child("a") == "a2"
        a.end(ValueError("x"))
        await settle()
        assert tree.which_child("a").info == "a3"


async def test_b_start_timeout_ends_a_child_that_never_gets_up(autojump_clock: MockClock) -> None:
    """start_timeout seconds, then it is gone."""
    _diary, (a,) = puppets("a")
    a.start_time = 100
    async with open_supervisor() as tree:
        began = trio.current_time()
        with pytest.raises(FailedToStart, match=r"within 2\.0 s"):
            await tree.start_child(a.spec(start_timeout=2.0))
        assert trio.current_time() - began == pytest.approx(2)
        assert tree.which_children() == []


async def test_b_inner_failure_to_start_is_the_outer_ones_cause(autojump_clock: MockClock) -> None:
    """The chain of causes leads to the real one."""
    diary, (a, b) = puppets("ab")
    b.failures = [OSError("disk")]
    with pytest.raises(FailedToStart) as caught:
        async with open_supervisor([a.spec(), supervisor_spec("inner", [b.spec()])]):
            raise AssertionError("must not open")
    inner = caught.value.__cause__
    assert caught.value.id == "inner"
    assert isinstance(inner, FailedToStart)
    assert isinstance(inner.__cause__, OSError)
    assert diary == ["+a", "?b", "-a"]


async def test_b_events_of_a_failed_inner_start_reach_the_outer_subscriber(autojump_clock: MockClock) -> None:
    """Subscribers hear the whole subtree."""
    _, (b,) = puppets("b")
    b.failures = [OSError("disk")]
    async with open_supervisor() as tree:
        seen = watch(tree)
        with pytest.raises(FailedToStart):
            await tree.start_child(supervisor_spec("inner", [b.spec()]))
    assert seen == [("start_error", "b", "crash: OSError: disk")]


def test_b_the_diary_takes() -> None:
    """take() empties it."""
    diary = Diary(["x"])
    assert (diary.take(), diary) == (["x"], [])
