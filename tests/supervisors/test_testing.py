"""The tools for users' tests."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    ChildNotFound,
    Crash,
    Exit,
    Shutdown,
    dynamic_supervisor_spec,
    open_dynamic_supervisor,
    open_supervisor,
    supervisor_spec,
)
from supervisors.testing import InjectedCrash, WaitTimeout, crash, wait_event, wait_restarted, wait_state
from tests.supervisors.tools import puppets, settle


async def test_testing_crash_by_id_path_and_reference(autojump_clock: MockClock) -> None:
    """Each finds its child; what is not there or does not run is told."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(), supervisor_spec("in", [b.spec()]), dynamic_supervisor_spec("dyn")], max_restarts=9
    ) as tree:
        pool = tree.which_child("dyn").info
        ref = await pool.start_child(c.spec())
        for path in ("a", ["a"], ["in", "b"], ["dyn", ref], ["dyn", "c"], ref):
            crash(tree, path)
            await settle()
        assert (a.lives, b.lives, c.lives) == (3, 2, 4)
        last = tree.which_child("a").last_exit
        assert isinstance(last, Crash)
        assert isinstance(last.exception, InjectedCrash)
        for wrong in ("x", ["in", "x"], ["a", "x"], []):
            with pytest.raises(ChildNotFound):
                crash(tree, wrong)
        await tree.terminate_child("a")
        with pytest.raises(ChildNotFound):
            crash(tree, "a")


async def test_testing_an_injected_crash_is_judged_by_how_the_child_really_ends(autojump_clock: MockClock) -> None:
    """A cleanup that raises something else wins."""
    _, (a,) = puppets("a")
    a.cleanup_error = OSError("cleanup")
    async with open_supervisor([a.spec()]) as tree:
        crash(tree, "a", ValueError("mine"))
        await settle()
        assert tree.which_child("a").last_exit == Crash(a.cleanup_error)


async def test_testing_wait_restarted_also_when_the_parent_was_restarted(autojump_clock: MockClock) -> None:
    """The child is another one then, with no restarts of its own."""
    _, (a,) = puppets("a")
    async with open_supervisor([supervisor_spec("in", [a.spec()], max_restarts=0)]) as tree:
        crash(tree, ["in", "a"])
        await wait_restarted(tree, ["in", "a"])
        assert (a.lives, tree.which_child("in").restarts) == (2, 1)


async def test_testing_waits_have_deadlines_and_show_the_tree(autojump_clock: MockClock) -> None:
    """WaitTimeout tells what was waited for."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(restart="transient")]) as tree:
        with pytest.raises(WaitTimeout, match=r"(?s)'stopped' of child 'a'.*a running"):
            await wait_state(tree, "a", "stopped", timeout=1.0)
        with pytest.raises(WaitTimeout):
            await wait_restarted(tree, "a", timeout=1.0)
        with pytest.raises(WaitTimeout):
            await wait_event(tree, lambda event: True, timeout=1.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_state, tree, "a", "stopped")
            await settle()
            a.end(Exit(Shutdown()))
        async with open_dynamic_supervisor() as pool:
            ref = await pool.start_child(a.spec(restart="temporary"))
            await wait_state(pool, ref, "running")


async def test_testing_wait_event_returns_the_event(autojump_clock: MockClock) -> None:
    """The first that fits."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree, trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(1)
            crash(tree, "a")

        nursery.start_soon(later)
        event = await wait_event(tree, lambda event: event.context == "progress")
        assert event.child.id == "a"
        assert event.restarts == 1
