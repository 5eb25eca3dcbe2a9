"""Checklist F: starts that fail at a restart."""

# ruff: noqa: PT012  (what raises is the block of the supervisor, which needs its body)

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    IGNORE,
    AlreadyPresent,
    ChildRestarting,
    ChildSpec,
    FailedToStart,
    RestartLimitReached,
    open_dynamic_supervisor,
    open_supervisor,
)
from tests.supervisors.tools import puppets, settle, watch


async def test_f58_a_start_that_fails_once_is_tried_again(autojump_clock: MockClock) -> None:
    """Without anything from outside."""
    diary, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        seen = watch(tree)
        a.failures = [OSError("1")]
        a.end(ValueError("x"))
        await settle()
        assert diary == ["+a", "!a", "?a", "+a"]
        assert seen == [("child_terminated", "a", "crash: ValueError: x"), ("start_error", "a", "crash: OSError: 1")]


async def test_f59_calls_are_answered_between_two_attempts(autojump_clock: MockClock) -> None:
    """A call that was waiting comes before the next attempt, and sees `restarting`."""
    _, (a, b) = puppets("ab")
    a.start_time = 1
    order: list[str] = []
    async with open_supervisor([a.spec()]) as tree, trio.open_nursery() as nursery:
        a.failures = [OSError("1")]
        a.end(ValueError("x"))
        await settle()

        async def call() -> None:
            await tree.start_child(b.spec())
            order.append(f"b is up, a is {tree.which_child('a').state}, starts {a.starts}")

        nursery.start_soon(call)
        await trio.sleep(3)
        assert order == ["b is up, a is restarting, starts 2"]
        assert tree.which_child("a").state == "running"


async def test_f60_attempts_have_no_delay_but_let_others_run(autojump_clock: MockClock) -> None:
    """A thousand attempts take no time, and another task counts along."""
    _, (a,) = puppets("a")
    turns = 0

    async def counting() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with open_supervisor([a.spec()], max_restarts=2000) as tree, trio.open_nursery() as nursery:
        a.failures = [OSError("x") for _ in range(1000)]
        began = trio.current_time()
        nursery.start_soon(counting)
        a.end(ValueError("x"))
        while a.lives < 2:
            await trio.lowlevel.checkpoint()
        assert trio.current_time() == began
        assert turns > 1000
        nursery.cancel_scope.cancel()
    assert tree.which_child("a").restarts == 1


async def test_f61_while_restarting_other_calls_are_refused(autojump_clock: MockClock) -> None:
    """Restart and delete say restarting, start says present, nobody is active."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()], on_exceed="pause", max_restarts=0) as tree:
        a.end(ValueError("x"))
        await settle()
        assert tree.which_child("a").state == "restarting"
        with pytest.raises(ChildRestarting):
            await tree.restart_child("a")
        with pytest.raises(ChildRestarting):
            await tree.delete_child("a")
        with pytest.raises(AlreadyPresent):
            await tree.start_child(a.spec())
        assert tree.count_children().active == 0


async def test_f62_terminating_a_restarting_child_ends_the_attempts(autojump_clock: MockClock) -> None:
    """It is stopped and no further attempt is made; a queued one is void."""
    _, (a,) = puppets("a")
    a.start_time = 1
    async with open_supervisor([a.spec()], max_restarts=100) as tree:
        a.failures = [OSError("x") for _ in range(50)]
        a.end(ValueError("x"))
        await settle()
        await tree.terminate_child("a")
        assert tree.which_child("a").state == "stopped"
        starts = a.starts
        await trio.sleep(100)
        assert a.starts == starts == 2
        a.failures = []
        assert await tree.restart_child("a") == "a2"


async def test_f63_one_for_all_stops_what_came_up_before_it_tries_again(autojump_clock: MockClock) -> None:
    """B dies, c fails to start: b and a are stopped again, then a, b, c, d are started."""
    diary, (a, b, c, d) = puppets("abcd")
    async with open_supervisor([one.spec() for one in (a, b, c, d)], strategy="one_for_all"):
        c.failures = [OSError("x")]
        diary.take()
        b.end(ValueError("x"))
        await settle()
        assert diary == ["!b", "-d", "-c", "-a", "+a", "+b", "?c", "-b", "-a", "+a", "+b", "+c", "+d"]


async def test_f64_rest_for_one_goes_on_from_the_one_that_failed(autojump_clock: MockClock) -> None:
    """B dies, c fails to start: c and d are started, b is not started again."""
    diary, (a, b, c, d) = puppets("abcd")
    async with open_supervisor([one.spec() for one in (a, b, c, d)], strategy="rest_for_one"):
        c.failures = [OSError("x")]
        diary.take()
        b.end(ValueError("x"))
        await settle()
        assert diary == ["!b", "-d", "-c", "+b", "?c", "+c", "+d"]


async def test_f65_ignore_at_a_restart_is_a_success(autojump_clock: MockClock) -> None:
    """The spec is kept without a life; a dynamic supervisor forgets it."""
    starts = 0
    died = trio.Event()

    async def once(*, task_status: trio.TaskStatus[object]) -> None:
        nonlocal starts
        starts += 1
        if starts % 2 == 0:
            task_status.started(IGNORE)
            return
        task_status.started()
        await died.wait()
        raise ValueError("x")

    async with open_supervisor([ChildSpec("a", once)]) as tree:
        died.set()
        await settle()
        assert (tree.which_child("a").state, starts) == ("stopped", 2)
    died = trio.Event()
    async with open_dynamic_supervisor() as pool:
        await pool.start_child(ChildSpec("a", once))
        died.set()
        await settle()
        assert (pool.which_children(), starts) == ([], 4)


async def test_f66_a_child_that_never_starts_again_uses_up_the_limit(autojump_clock: MockClock) -> None:
    """The supervisor gives up at once."""
    _, (a,) = puppets("a")
    began = trio.current_time()
    with pytest.raises(RestartLimitReached) as caught:
        async with open_supervisor([a.spec()]):
            a.failures = [OSError(str(number)) for number in range(10)]
            a.end(ValueError("x"))
            await trio.sleep_forever()
    assert (a.starts, trio.current_time()) == (4, began)
    assert "OSError: 2" in str(caught.value.reason)


async def test_f67_a_failed_start_child_leaves_no_trace(autojump_clock: MockClock) -> None:
    """The error goes to the caller: no spec, no retry, no count."""
    _, (a,) = puppets("a")
    a.failures = [OSError("x")]
    async with open_supervisor(max_restarts=0) as tree:
        with pytest.raises(FailedToStart):
            await tree.start_child(a.spec())
        await settle()
        assert (tree.which_children(), a.starts, tree.tree().restarts_in_window) == ([], 1, 0)


async def test_f68_a_failed_restart_child_leaves_the_child_stopped(autojump_clock: MockClock) -> None:
    """No retry, no count."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()], max_restarts=0) as tree:
        await tree.terminate_child("a")
        a.failures = [OSError("x")]
        with pytest.raises(FailedToStart):
            await tree.restart_child("a")
        await settle()
        assert (tree.which_child("a").state, a.starts) == ("stopped", 2)
        assert await tree.restart_child("a") == "a2"


async def test_f69_a_stop_during_restarts_is_prompt(autojump_clock: MockClock) -> None:
    """It makes no more attempts, and does not wait for the one under way."""
    _, (a,) = puppets("a")
    a.start_time = 1
    async with open_supervisor([a.spec()], max_restarts=100) as tree:
        a.failures = [OSError("x") for _ in range(100)]
        a.end(ValueError("x"))
        await trio.sleep(2.5)
        began, starts = trio.current_time(), a.starts
        await tree.stop()
        assert (trio.current_time(), a.starts) == (began, starts)
