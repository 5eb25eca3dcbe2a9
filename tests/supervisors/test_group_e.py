"""Checklist E: strategies and order."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import open_supervisor
from tests.supervisors.tools import puppets, settle, watch


async def test_e47_one_for_one_leaves_the_siblings_alone(autojump_clock: MockClock) -> None:
    """Only b is new."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(), c.spec()]):
        b.end(ValueError("x"))
        await settle()
        assert (a.lives, b.lives, c.lives) == (1, 2, 1)
        assert diary == ["+a", "+b", "+c", "!b", "+b"]


async def test_e48_one_for_all_stops_in_reverse_and_starts_in_order(autojump_clock: MockClock) -> None:
    """Stop c, stop a, start a, b, c."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(), c.spec()], strategy="one_for_all"):
        diary.take()
        b.end(ValueError("x"))
        await settle()
        assert diary == ["!b", "-c", "-a", "+a", "+b", "+c"]


async def test_e49_one_for_all_waits_until_each_sibling_is_dead(autojump_clock: MockClock) -> None:
    """A slow cleanup of c delays the stop of a and every start."""
    diary, (a, b, c) = puppets("abc")
    c.cleanup = a.cleanup = 2
    async with open_supervisor([a.spec(), b.spec(), c.spec()], strategy="one_for_all"):
        diary.take()
        b.end(ValueError("x"))
        await trio.sleep(1)
        assert diary == ["!b"]
        await trio.sleep(2)
        assert diary == ["!b", "-c"]
        await trio.sleep(2)
        assert diary == ["!b", "-c", "-a", "+a", "+b", "+c"]


async def test_e50_one_for_all_also_starts_the_stopped_and_the_finished(autojump_clock: MockClock) -> None:
    """One stopped by hand, and a transient that had returned."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(restart="transient"), c.spec()], strategy="one_for_all") as tree:
        await tree.terminate_child("a")
        b.end()
        await settle()
        diary.take()
        c.end(ValueError("x"))
        await settle()
        assert diary == ["!c", "+a", "+b", "+c"]


async def test_e51_rest_for_one_takes_the_later_ones(autojump_clock: MockClock) -> None:
    """B of a, b, c, d: stop d, c; start b, c, d."""
    diary, (a, b, c, d) = puppets("abcd")
    async with open_supervisor([one.spec() for one in (a, b, c, d)], strategy="rest_for_one"):
        diary.take()
        b.end(ValueError("x"))
        await settle()
        assert diary == ["!b", "-d", "-c", "+b", "+c", "+d"]


async def test_e52_rest_for_one_leaves_earlier_stopped_ones_down(autojump_clock: MockClock) -> None:
    """a, stopped by hand, stays so; d, stopped by hand, is started."""
    diary, (a, b, c, d) = puppets("abcd")
    async with open_supervisor([one.spec() for one in (a, b, c, d)], strategy="rest_for_one") as tree:
        await tree.terminate_child("a")
        await tree.terminate_child("d")
        diary.take()
        c.end(ValueError("x"))
        await settle()
        assert diary == ["!c", "+c", "+d"]
        assert tree.which_child("a").state == "stopped"


async def test_e53_an_added_child_is_the_last(autojump_clock: MockClock) -> None:
    """A crash of a under rest_for_one takes it down too."""
    diary, (a, b) = puppets("ab")
    async with open_supervisor([a.spec()], strategy="rest_for_one") as tree:
        await tree.start_child(b.spec())
        diary.take()
        a.end(ValueError("x"))
        await settle()
        assert diary == ["!a", "-b", "+a", "+b"]


async def test_e54_restart_keeps_the_place_and_a_new_start_takes_the_last(autojump_clock: MockClock) -> None:
    """restart_child against delete_child and start_child."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(), c.spec()]) as tree:
        await tree.terminate_child("a")
        await tree.restart_child("a")
        assert [info.id for info in tree.which_children()] == ["c", "b", "a"]
        await tree.terminate_child("a")
        await tree.delete_child("a")
        await tree.start_child(a.spec())
        assert [info.id for info in tree.which_children()] == ["a", "c", "b"]


async def test_e55_a_sibling_that_crashed_at_the_same_moment_is_folded_in(autojump_clock: MockClock) -> None:
    """It is reported as a shutdown error with its crash, and restarted once."""
    diary, (a, b, c) = puppets("abc")
    c.cleanup = 1
    async with open_supervisor([a.spec(), b.spec(), c.spec()], strategy="one_for_all") as tree:
        seen = watch(tree)
        diary.take()
        b.end(ValueError("b"))
        await settle()
        a.end(OSError("a"))
        await trio.sleep(2)
        assert seen == [
            ("child_terminated", "b", "crash: ValueError: b"),
            ("shutdown_error", "a", "crash: OSError: a"),
        ]
        assert diary == ["!b", "!a", "-c", "+a", "+b", "+c"]
        assert tree.tree().restarts_in_window == 1


async def test_e56_a_sibling_that_ignores_the_stop_is_killed_in_time(autojump_clock: MockClock) -> None:
    """Then the group restart goes on."""
    diary, (a, b) = puppets("ab")
    b.cleanup = 100
    async with open_supervisor([a.spec(), b.spec(shutdown=0.2)], strategy="one_for_all") as tree:
        seen = watch(tree)
        diary.take()
        began = trio.current_time()
        a.end(ValueError("x"))
        await trio.sleep(1)
        assert diary == ["!a", "-b", "+a", "+b"]
        assert seen[1] == ("shutdown_error", "b", "killed")
        started_at = tree.which_child("a").started_at
        assert started_at is not None
        assert started_at - began == pytest.approx(0.2)


async def test_e57_children_are_listed_newest_first(autojump_clock: MockClock) -> None:
    """As OTP does."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec()]) as tree:
        await tree.start_child(c.spec())
        assert [info.id for info in tree.which_children()] == ["c", "b", "a"]
        assert [node.id for node in tree.tree().children] == ["a", "b", "c"]
