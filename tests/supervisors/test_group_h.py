"""Checklist H: auto_shutdown."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import Normal, Shutdown, open_supervisor
from tests.supervisors.tools import puppets, settle


async def test_h86_a_significant_end_stops_everything_in_reverse(autojump_clock: MockClock) -> None:
    """any_significant, a transient that returns: the block ends silently, with reason shutdown."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(), b.spec(restart="transient", significant=True), c.spec()], auto_shutdown="any_significant"
    ) as tree:
        diary.take()
        b.end()
        await trio.sleep_forever()
    assert diary == ["!b", "-c", "-a"]
    assert tree.exit_reason == Shutdown()


async def test_h87_a_significant_transient_that_crashes_is_restarted(autojump_clock: MockClock) -> None:
    """No shutdown."""
    _, (a,) = puppets("a")
    async with open_supervisor(
        [a.spec(restart="transient", significant=True)], auto_shutdown="any_significant"
    ) as tree:
        a.end(ValueError("x"))
        await settle()
        assert tree.which_child("a").restarts == 1
    assert tree.exit_reason == Normal()


async def test_h88_a_significant_temporary_that_crashes_ends_the_supervisor(autojump_clock: MockClock) -> None:
    """Any end of it does."""
    diary, (a, b) = puppets("ab")
    async with open_supervisor(
        [a.spec(restart="temporary", significant=True), b.spec()], auto_shutdown="any_significant"
    ):
        a.end(ValueError("x"))
        await trio.sleep_forever()
    assert diary == ["+a", "+b", "!a", "-b"]


async def test_h89_stopping_a_significant_child_by_hand_does_nothing(autojump_clock: MockClock) -> None:
    """Only its own end counts."""
    _, (a, b) = puppets("ab")
    async with open_supervisor(
        [a.spec(restart="transient", significant=True), b.spec()], auto_shutdown="any_significant"
    ) as tree:
        await tree.terminate_child("a")
        await settle()
        assert tree.which_child("b").state == "running"
    assert tree.exit_reason == Normal()


async def test_h90_a_significant_temporary_stopped_for_a_sibling_does_nothing(autojump_clock: MockClock) -> None:
    """A group restart drops it."""
    _, (a, b) = puppets("ab")
    async with open_supervisor(
        [a.spec(), b.spec(restart="temporary", significant=True)],
        auto_shutdown="any_significant",
        strategy="one_for_all",
    ) as tree:
        a.end(ValueError("x"))
        await settle()
        assert [(info.id, info.state) for info in tree.which_children()] == [("a", "running")]
    assert tree.exit_reason == Normal()


async def test_h91_all_significant_waits_for_the_last(autojump_clock: MockClock) -> None:
    """The first of two ends: alive; the second: over."""
    _, (a, b, c) = puppets("abc")
    ended = False
    async with open_supervisor(
        [
            a.spec(restart="transient", significant=True),
            b.spec(restart="temporary", significant=True),
            c.spec(),
        ],
        auto_shutdown="all_significant",
    ) as tree:
        a.end()
        await settle()
        assert tree.which_child("c").state == "running"
        ended = True
        b.end()
        await trio.sleep_forever()
    assert ended
    assert tree.exit_reason == Shutdown()


@pytest.mark.parametrize("by_hand_first", [True, False])
async def test_h92_the_last_trigger_must_be_an_own_end(autojump_clock: MockClock, by_hand_first: bool) -> None:
    """One of two stopped by hand, the other ends by itself: over. The other way round: alive."""
    _, (a, b) = puppets("ab")
    alive = False
    async with open_supervisor(
        [one.spec(restart="transient", significant=True) for one in (a, b)], auto_shutdown="all_significant"
    ) as tree:
        if by_hand_first:
            await tree.terminate_child("a")
            b.end()
        else:
            b.end()
            await settle()
            await tree.terminate_child("a")
        await settle()
        await trio.sleep(1)
        alive = True
    assert alive is not by_hand_first


async def test_h93_an_insignificant_end_does_nothing(autojump_clock: MockClock) -> None:
    """Of whatever restart type."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(restart="transient"), b.spec(restart="temporary"), c.spec()], auto_shutdown="any_significant"
    ) as tree:
        a.end()
        b.end(ValueError("x"))
        await settle()
        assert tree.which_child("c").state == "running"
    assert tree.exit_reason == Normal()


async def test_h_a_restarting_significant_child_counts_as_there(autojump_clock: MockClock) -> None:
    """all_significant does not end while one of them is on its way back."""
    _, (a, b) = puppets("ab")
    async with open_supervisor(
        [one.spec(restart="transient", significant=True) for one in (a, b)],
        auto_shutdown="all_significant",
        max_restarts=0,
        on_exceed="pause",
    ) as tree:
        a.end(ValueError("x"))
        await settle()
        assert tree.which_child("a").state == "restarting"
        b.end()
        await settle()
        await trio.sleep(6)
        assert tree.which_child("a").state == "running"
    assert tree.exit_reason == Normal()
