"""Checklist D: intensity."""

# ruff: noqa: PT012  (what raises is the block of the supervisor, which needs its body)

from __future__ import annotations

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from supervisors import ChildSpec, Crash, Exit, RestartLimitReached, Shutdown, open_supervisor, supervisor_spec
from tests.supervisors.tools import puppets, settle, watch


async def test_d34_fourth_crash_in_window_stops_supervisor(autojump_clock: MockClock) -> None:
    """max_restarts=3 in 5 s: three crashes survive, the next ends it with reason shutdown."""
    _, (a,) = puppets("a")
    with pytest.raises(RestartLimitReached):
        async with open_supervisor([a.spec()]) as tree:
            for number in range(3):
                await trio.sleep(1)
                a.end(ValueError(str(number)))
                await settle()
                assert a.lives == number + 2
            a.end(ValueError("last"))
            await trio.sleep_forever()
    assert isinstance(tree.exit_reason, Shutdown)
    assert a.lives == 4


async def test_d35_with_no_restarts_allowed_the_first_death_ends_it(autojump_clock: MockClock) -> None:
    """max_restarts=0."""
    _, (a,) = puppets("a")
    with pytest.raises(RestartLimitReached) as caught:
        async with open_supervisor([a.spec()], max_restarts=0):
            a.end()
            await trio.sleep_forever()
    assert caught.value.id == "a"
    assert a.lives == 1


@pytest.mark.parametrize(("gap", "survives"), [(5.0, False), (5.001, True), (6.0, True)])
async def test_d36_the_window_is_inclusive(autojump_clock: MockClock, gap: float, survives: bool) -> None:
    """A restart exactly max_seconds old still counts."""
    _, (a,) = puppets("a")
    outlived = False
    try:
        async with open_supervisor([a.spec()], max_restarts=1, max_seconds=5.0):
            a.end(ValueError("1"))
            await settle()
            await trio.sleep(gap)
            a.end(ValueError("2"))
            await settle()
            await trio.lowlevel.checkpoint()
            outlived = True
    except RestartLimitReached:
        outlived = False
    assert outlived is survives


async def test_d37_the_window_slides(autojump_clock: MockClock) -> None:
    """Crashes max_seconds + 1 apart go on for ever with max_restarts=1."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()], max_restarts=1, max_seconds=5.0):
        for number in range(50):
            a.end(ValueError("x"))
            await settle()
            assert a.lives == number + 2
            await trio.sleep(6)


async def test_d38_the_window_is_shared_by_all_children(autojump_clock: MockClock) -> None:
    """Two crashes of a and two of b exceed three."""
    _, (a, b) = puppets("ab")
    with pytest.raises(RestartLimitReached) as caught:
        async with open_supervisor([a.spec(), b.spec()]):
            for one in (a, b, a, b):
                one.end(ValueError("x"))
                await settle()
            await trio.sleep_forever()
    assert caught.value.id == "b"


async def test_d39_a_group_restart_counts_once(autojump_clock: MockClock) -> None:
    """Three children under one_for_all, max_restarts=1."""
    _diary, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(), c.spec()], strategy="one_for_all", max_restarts=1) as tree:
        b.end(ValueError("x"))
        await settle()
        assert tree.tree().restarts_in_window == 1
        assert (a.lives, b.lives, c.lives) == (2, 2, 2)


@pytest.mark.parametrize(("strategy", "counted"), [("one_for_all", 1), ("rest_for_one", 1), ("one_for_one", 2)])
async def test_d40_two_deaths_at_once_count_once_in_a_group(
    autojump_clock: MockClock, strategy: str, counted: int
) -> None:
    """A and b die before the supervisor runs."""
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), b.spec()], strategy=strategy) as tree:  # type: ignore[arg-type]
        # Their ends are queued while the supervisor is busy with a start.
        gate = trio.Event()

        async def slow(*, task_status: trio.TaskStatus[None]) -> None:
            await gate.wait()
            task_status.started()
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.start_child, ChildSpec("slow", slow, restart="temporary"))
            await settle()
            a.end(ValueError("a"))
            await settle()
            b.end(ValueError("b"))
            await settle()
            gate.set()
        await settle()
        assert tree.tree().restarts_in_window == counted
        assert (a.lives, b.lives) == (2, 2)


async def test_d41_restarts_by_hand_do_not_count(autojump_clock: MockClock) -> None:
    """Ten under max_restarts=0."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()], max_restarts=0) as tree:
        for _ in range(10):
            await tree.terminate_child("a")
            await tree.restart_child("a")
        assert a.lives == 11
        assert tree.which_child("a").restarts == 0


@pytest.mark.parametrize(("limit", "alive"), [(3, True), (2, False)])
async def test_d42_each_failed_start_at_a_restart_counts(autojump_clock: MockClock, limit: int, alive: bool) -> None:
    """A death and two failed starts use three."""
    _, (a,) = puppets("a")
    try:
        async with open_supervisor([a.spec()], max_restarts=limit) as tree:
            a.failures = [OSError("1"), OSError("2")]
            a.end(ValueError("x"))
            await settle()
            await trio.lowlevel.checkpoint()
            assert tree.tree().restarts_in_window == 3
            assert alive
    except RestartLimitReached:
        assert not alive
    assert a.starts == (4 if alive else 3)


async def test_d43_giving_up_stops_the_rest_in_reverse(autojump_clock: MockClock) -> None:
    """The failed child is not started again, and the reason is shutdown, not the crash."""
    diary, (a, b, c) = puppets("abc")
    with pytest.raises(RestartLimitReached) as caught:
        async with open_supervisor([a.spec(), b.spec(), c.spec()], max_restarts=0) as tree:
            b.end(ValueError("x"))
            await trio.sleep_forever()
    assert diary[3:] == ["!b", "-c", "-a"]
    assert tree.exit_reason == Shutdown(caught.value)
    assert isinstance(caught.value.reason, Crash)


@pytest.mark.parametrize("restart", ["transient", "permanent"])
async def test_d44_an_inner_supervisor_that_gave_up_ended_with_shutdown(
    autojump_clock: MockClock, restart: str
) -> None:
    """Transient, it stays down and the parent reports nothing; permanent, it is restarted."""
    _diary, (a, b) = puppets("ab")
    inner = supervisor_spec("inner", [a.spec()], restart=restart, max_restarts=0, name="inner")  # type: ignore[arg-type]
    async with open_supervisor([inner, b.spec()], name="root") as tree:
        by_root: list[str] = []
        tree.subscribe(lambda event: by_root.append(event.context) if event.supervisor == "root" else None)
        a.end(ValueError("x"))
        await settle()
        state = tree.which_child("inner").state
        if restart == "transient":
            assert (state, by_root, a.lives) == ("stopped", [], 1)
        else:
            assert (state, by_root, a.lives) == ("running", ["child_terminated", "progress"], 2)
        assert b.lives == 1


async def test_d45_a_restarted_supervisor_has_its_first_children_only(autojump_clock: MockClock) -> None:
    """An added child is gone, a deleted one is back."""
    _diary, (a, b, c) = puppets("abc")
    async with open_supervisor([supervisor_spec("inner", [a.spec(), b.spec()], max_restarts=0)]) as tree:
        inner = tree.which_child("inner").info
        await inner.start_child(c.spec())
        await inner.terminate_child("b")
        await inner.delete_child("b")
        a.end(ValueError("x"))
        await settle()
        again = tree.which_child("inner").info
        assert again is not inner
        assert [info.id for info in again.which_children()] == ["b", "a"]


async def test_d46_giving_up_in_a_group_restart_stops_each_sibling_once(autojump_clock: MockClock) -> None:
    """B cannot start again under one_for_all: a is up by then, c is not."""
    diary, (a, b, c) = puppets("abc")
    with pytest.raises(RestartLimitReached):
        async with open_supervisor([a.spec(), b.spec(), c.spec()], strategy="one_for_all", max_restarts=1):
            b.failures = [OSError("1"), OSError("2")]
            diary.take()
            b.end(ValueError("x"))
            await trio.sleep_forever()
    assert diary == ["!b", "-c", "-a", "+a", "?b", "-a"]


@pytest.mark.parametrize("on_exceed", ["pause", "drop"])
async def test_d_on_exceed_pauses_or_drops_instead_of_giving_up(autojump_clock: MockClock, on_exceed: str) -> None:
    """pause: restarting for max_seconds, then up with clean books; drop: that child is stopped."""
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), b.spec()], max_restarts=1, on_exceed=on_exceed) as tree:  # type: ignore[arg-type]
        seen = watch(tree)
        for _ in range(2):
            a.end(ValueError("x"))
            await settle()
        assert ("shutdown", "a", "crash: ValueError: x") in seen
        if on_exceed == "drop":
            assert tree.which_child("a").state == "stopped"
        else:
            assert tree.which_child("a").state == "restarting"
            await trio.sleep(4.9)
            assert a.lives == 2
            await trio.sleep(0.2)
            assert (a.lives, tree.which_child("a").state) == (3, "running")
            assert tree.tree().restarts_in_window == 0
        assert b.lives == 1


async def test_d_drop_in_a_group_starts_the_rest_of_it(autojump_clock: MockClock) -> None:
    """rest_for_one, b cannot start again and is dropped: c comes up without it."""
    _diary, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(), b.spec(), c.spec()], strategy="rest_for_one", max_restarts=1, on_exceed="drop"
    ) as tree:
        b.failures = [OSError("1"), OSError("2"), OSError("3")]
        b.end(ValueError("x"))
        await settle()
        await trio.sleep(0.1)
        states = {info.id: info.state for info in tree.which_children()}
        assert states == {"a": "running", "b": "stopped", "c": "running"}


async def test_d_child_intensity_is_a_limit_of_its_own(autojump_clock: MockClock) -> None:
    """One restart in ten seconds for a, though the supervisor would allow many."""
    _, (a,) = puppets("a")
    with pytest.raises(RestartLimitReached):
        async with open_supervisor([a.spec(child_intensity=(1, 10.0))], max_restarts=100):
            a.end(ValueError("x"))
            await settle()
            await trio.sleep(9)
            a.end(Exit(Shutdown()))
            await trio.sleep_forever()
    assert a.lives == 2
