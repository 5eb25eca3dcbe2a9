"""The life of a tree in broad strokes; the numbered checklist has the details."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    ChildSpec,
    Crash,
    FailedToStart,
    Normal,
    RestartLimitReached,
    Shutdown,
    dynamic_supervisor_spec,
    open_dynamic_supervisor,
    open_supervisor,
    supervisor_spec,
)
from supervisors.testing import crash, wait_restarted, wait_state


@pytest.fixture
def clock() -> MockClock:
    return MockClock(autojump_threshold=0)


async def forever(log: list[str], name: str, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
    log.append(f"+{name}")
    task_status.started(name)
    try:
        await trio.sleep_forever()
    finally:
        log.append(f"-{name}")


def child(log: list[str], name: str, **options: object) -> ChildSpec:
    return ChildSpec(name, forever, args=(log, name), **options)  # type: ignore[arg-type]


async def test_children_start_in_order_and_stop_in_reverse(clock: MockClock) -> None:
    """Leaving the block stops the last child first."""
    log: list[str] = []
    async with open_supervisor([child(log, name) for name in "abc"]) as tree:
        assert log == ["+a", "+b", "+c"]
    assert log == ["+a", "+b", "+c", "-c", "-b", "-a"]
    assert tree.exit_reason == Normal()


async def test_a_crash_restarts_the_child_and_the_info_is_new(clock: MockClock) -> None:
    """An injected crash is a crash like any other."""
    log: list[str] = []
    async with open_supervisor([child(log, "a"), child(log, "b")]) as tree:
        error = OSError("disk")
        crash(tree, "a", error)
        await wait_restarted(tree, "a", 1)
        info = tree.which_child("a")
        assert (info.state, info.restarts, info.last_exit, info.info) == ("running", 1, Crash(error), "a")
        assert log == ["+a", "+b", "-a", "+a"]


async def test_giving_up_is_raised_bare_after_the_ordered_stop(clock: MockClock) -> None:
    """The fourth crash within the window ends the supervisor and cancels its block."""
    log: list[str] = []

    async def bad() -> None:
        await trio.sleep(0.1)
        raise ValueError("bad")

    with pytest.raises(RestartLimitReached) as caught:
        async with open_supervisor([child(log, "a"), ChildSpec("bad", bad)]) as tree:
            await trio.sleep_forever()
    assert caught.value.id == "bad"
    assert log == ["+a", "-a"]
    assert isinstance(tree.exit_reason, Shutdown)


async def test_a_failed_start_stops_what_was_started(clock: MockClock) -> None:
    """The real cause is the `__cause__`."""
    log: list[str] = []

    async def bad(*, task_status: trio.TaskStatus[None]) -> None:
        raise ValueError("no")

    with pytest.raises(FailedToStart) as caught:
        async with open_supervisor([child(log, "a"), child(log, "b"), ChildSpec("c", bad)]):
            raise AssertionError("the block must not run")
    assert caught.value.id == "c"
    assert isinstance(caught.value.__cause__, ValueError)
    assert log == ["+a", "+b", "-b", "-a"]


async def test_outer_cancellation_gives_the_ordered_stop_and_goes_on(clock: MockClock) -> None:
    """Children see their stop one after the other, though the whole block is cancelled at once."""
    log: list[str] = []
    with trio.move_on_after(1) as scope:
        async with open_supervisor(
            [child(log, "a"), supervisor_spec("in", [child(log, "b"), child(log, "c")]), child(log, "d")]
        ):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert log[4:] == ["-d", "-c", "-b", "-a"]


async def test_an_error_in_the_block_is_raised_bare_after_the_stop(clock: MockClock) -> None:
    """No exception group round it."""
    log: list[str] = []
    with pytest.raises(KeyError, match="mine"):
        async with open_supervisor([child(log, "a")]):
            raise KeyError("mine")
    assert log == ["+a", "-a"]


async def test_nested_and_dynamic_supervisors_show_in_the_tree(clock: MockClock) -> None:
    """tree() and format_tree() show every level; a crash deep down is healed there."""
    log: list[str] = []
    async with open_supervisor(
        [supervisor_spec("pool", [child(log, "w")]), dynamic_supervisor_spec("dyn")], name="root"
    ) as tree:
        dynamic = tree.which_child("dyn").info
        ref = await dynamic.start_child(child(log, "x"))
        crash(tree, ["pool", "w"])
        await wait_restarted(tree, ["pool", "w"], 1)
        crash(tree, ["dyn", "x"])
        await wait_restarted(tree, ["dyn", ref], 1)
        text = tree.format_tree()
        assert "├── pool (one_for_one, 1/3 restarts) running" in text
        assert "    └── x running 0.0s restarted 1x" in text
        assert dynamic.name == "root/dyn"


async def test_a_dynamic_child_that_ends_is_forgotten(clock: MockClock) -> None:
    """A reference outlives its child."""

    async def short() -> None:
        await trio.sleep(1)

    async with open_dynamic_supervisor() as pool:
        ref = await pool.start_child(ChildSpec("short", short, restart="temporary"))
        await wait_state(pool, ref, "stopped")
        assert pool.which_children() == []
        assert ref.last_exit == Normal()
