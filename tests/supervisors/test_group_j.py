"""Checklist J: dynamic supervisors."""

# ruff: noqa: PT012  (what raises is the block of the supervisor, which needs its body)

from __future__ import annotations

import gc
import math

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    BRUTAL_KILL,
    IGNORE,
    ChildNotFound,
    ChildSpec,
    InvalidSpec,
    MaxChildrenReached,
    RestartLimitReached,
    dynamic_supervisor_spec,
    open_dynamic_supervisor,
    open_supervisor,
)
from tests.supervisors.tools import puppets, settle, watch


async def test_j102_ids_may_repeat_and_references_tell_apart(autojump_clock: MockClock) -> None:
    """terminate_child takes a reference, not an id."""
    diary, (a, b) = puppets("ab")
    async with open_dynamic_supervisor() as pool:
        first = await pool.start_child(a.spec(id="x"))
        second = await pool.start_child(b.spec(id="x"))
        assert (first.id, first.info, second.info) == ("x", "a1", "b1")
        await pool.terminate_child(second)
        with pytest.raises(ChildNotFound):
            await pool.terminate_child("x")  # type: ignore[arg-type]
        assert diary == ["+a", "+b", "-b"]
        assert pool.count_children().specs == 1
        assert (first.state, second.state) == ("running", "stopped")


async def test_j103_a_restarting_child_holds_its_place(autojump_clock: MockClock) -> None:
    """max_children=1."""
    _, (a, b) = puppets("ab")
    async with open_dynamic_supervisor(max_children=1, max_restarts=0, on_exceed="pause") as pool:
        ref = await pool.start_child(a.spec())
        with pytest.raises(MaxChildrenReached) as caught:
            await pool.start_child(b.spec())
        assert caught.value.limit == 1
        a.end(ValueError("x"))
        await settle()
        assert ref.state == "restarting"
        with pytest.raises(MaxChildrenReached):
            await pool.start_child(b.spec())


async def test_j104_extra_arguments_come_first_also_at_restarts(autojump_clock: MockClock) -> None:
    """extra_args before the spec's own."""
    _, (a,) = puppets("a")
    async with open_dynamic_supervisor(extra_args=("db",)) as pool:
        await pool.start_child(a.spec(args=(1,)))
        a.end(ValueError("x"))
        await settle()
        assert a.args == [("db", 1), ("db", 1)]


async def test_j105_the_stop_is_parallel_each_with_its_own_deadline(autojump_clock: MockClock) -> None:
    """Three cleanups of 0.2 s take 0.2 s; other shutdown values have their own timers."""
    _, all_of_them = puppets("abcdef")
    for one in all_of_them[:3]:
        one.cleanup = 0.2
    for one in all_of_them[3:]:
        one.cleanup = 50
    async with open_dynamic_supervisor() as pool:
        began = trio.current_time()
        for one in all_of_them[:3]:
            await pool.start_child(one.spec())
    assert trio.current_time() - began == pytest.approx(0.2)
    ends: dict[str, float] = {}
    async with open_dynamic_supervisor() as pool:
        began = trio.current_time()
        pool.subscribe(lambda event: ends.update({str(event.child.id): event.at - began}))
        for one, seconds in zip(all_of_them, (5.0, 5.0, 5.0, 3.0, 1.0, BRUTAL_KILL), strict=True):
            await pool.start_child(one.spec(shutdown=seconds, restart="transient"))
        ends.clear()
    assert ends == {"d": pytest.approx(3.0), "e": pytest.approx(1.0)}
    assert trio.current_time() - began == pytest.approx(3)


async def test_j106_finished_children_leave_no_trace(autojump_clock: MockClock) -> None:
    """A transient that returned, a temporary that crashed; their references are unknown then."""
    _, (a, b) = puppets("ab")
    async with open_dynamic_supervisor() as pool:
        refs = [
            await pool.start_child(a.spec(restart="transient")),
            await pool.start_child(b.spec(restart="temporary")),
        ]
        a.end()
        b.end(ValueError("x"))
        await settle()
        assert (pool.which_children(), pool.count_children().specs) == ([], 0)
        for ref in refs:
            with pytest.raises(ChildNotFound):
                await pool.terminate_child(ref)


async def test_j107_an_ignoring_child_is_not_stored(autojump_clock: MockClock) -> None:
    """Its reference says so."""

    async def ignoring(*, task_status: trio.TaskStatus[object]) -> None:
        task_status.started(IGNORE)
        await trio.sleep_forever()

    async with open_dynamic_supervisor() as pool:
        ref = await pool.start_child(ChildSpec("a", ignoring))
        assert (ref.info, ref.state, pool.which_children()) == (IGNORE, "stopped", [])


async def test_j108_a_bad_spec_is_told_and_the_supervisor_lives(autojump_clock: MockClock) -> None:
    """Significant makes no sense here."""
    _, (a,) = puppets("a")
    async with open_dynamic_supervisor() as pool:
        with pytest.raises(InvalidSpec):
            await pool.start_child(a.spec(significant=True, restart="transient"))
        with pytest.raises(InvalidSpec):
            await pool.start_child(None)  # type: ignore[arg-type]
        assert (await pool.start_child(a.spec())).info == "a1"
    with pytest.raises(InvalidSpec, match="max_children"):
        async with open_dynamic_supervisor(max_children=-1):
            raise AssertionError("must not open")


async def test_j109_three_restarts_in_five_seconds_are_shared_by_all(autojump_clock: MockClock) -> None:
    """The fourth death ends it."""
    _, (a, b) = puppets("ab")
    with pytest.raises(RestartLimitReached):
        async with open_dynamic_supervisor() as pool:
            await pool.start_child(a.spec())
            await pool.start_child(b.spec())
            for one in (a, b, a, b):
                one.end(ValueError("x"))
                await settle()
            await trio.sleep_forever()
    assert a.lives + b.lives == 5


async def test_j110_terminating_a_restarting_child_frees_its_place(autojump_clock: MockClock) -> None:
    """And it is not started again."""
    _, (a, b) = puppets("ab")
    async with open_dynamic_supervisor(max_children=1, max_restarts=0, on_exceed="pause") as pool:
        ref = await pool.start_child(a.spec())
        a.end(ValueError("x"))
        await settle()
        await pool.terminate_child(ref)
        await pool.start_child(b.spec())
        await trio.sleep(100)
        assert (a.starts, b.starts) == (1, 1)


async def test_j111_ten_thousand_starts_and_ends_leave_nothing(autojump_clock: MockClock) -> None:
    """Count 0, and no growth."""

    async def short() -> None:
        await trio.lowlevel.checkpoint()

    async with open_dynamic_supervisor() as pool:

        async def cycles(number: int) -> int:
            for _ in range(number):
                await pool.start_child(ChildSpec("x", short, restart="temporary"))
            await settle()
            gc.collect()
            return len(gc.get_objects())

        before = await cycles(1000)
        after = await cycles(10_000)
        assert pool.count_children().specs == 0
        assert after - before < 200


async def test_j_a_dynamic_supervisor_as_a_child_is_empty_after_a_restart(autojump_clock: MockClock) -> None:
    """Its children are lost with it, as in OTP."""
    _, (a,) = puppets("a")
    async with open_supervisor([dynamic_supervisor_spec("pool", max_restarts=0)]) as tree:
        seen = watch(tree)
        pool = tree.which_child("pool").info
        await pool.start_child(a.spec())
        assert tree.tree().children[0].children[0].id == "a"
        a.end(ValueError("x"))
        await settle()
        assert tree.which_child("pool").restarts == 1
        assert tree.which_child("pool").shutdown == math.inf
        assert tree.which_child("pool").info.which_children() == []
        assert [context for context, _, _ in seen] == ["child_terminated", "shutdown", "child_terminated"]
