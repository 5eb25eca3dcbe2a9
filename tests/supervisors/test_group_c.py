"""Checklist C: restart types."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import Crash, Exit, Killed, Normal, Shutdown, open_supervisor, self_pid
from supervisors._child import Child
from supervisors._life import Life
from tests.supervisors.tools import puppets, settle, watch


async def test_c22_permanent_that_returns_is_restarted(autojump_clock: MockClock) -> None:
    """And the end is reported."""
    diary, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        seen = watch(tree)
        a.end()
        await settle()
        assert diary == ["+a", "!a", "+a"]
        assert seen == [("child_terminated", "a", "normal")]


@pytest.mark.parametrize("reason", [Shutdown(), Shutdown("x")])
async def test_c23_permanent_that_shuts_itself_down_is_restarted(autojump_clock: MockClock, reason: Shutdown) -> None:
    """Shutdown is not special for a permanent child."""
    diary, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        a.end(Exit(reason))
        await settle()
        assert diary == ["+a", "!a", "+a"]
        assert tree.which_child("a").last_exit == reason


@pytest.mark.parametrize("outcome", [None, Exit(Shutdown()), Exit(Shutdown("x")), Exit(Normal())])
async def test_c24_transient_that_ends_cleanly_stays_down(
    autojump_clock: MockClock, outcome: BaseException | None
) -> None:
    """Its spec stays and restart_child works later."""
    _diary, (a,) = puppets("a")
    async with open_supervisor([a.spec(restart="transient")]) as tree:
        seen = watch(tree)
        a.end(outcome)
        await settle()
        assert tree.which_child("a").state == "stopped"
        assert seen == []
        assert await tree.restart_child("a") == "a2"


async def test_c25_transient_that_crashes_is_restarted(autojump_clock: MockClock) -> None:
    """A crash is abnormal."""
    diary, (a,) = puppets("a")
    async with open_supervisor([a.spec(restart="transient")]):
        a.end(ValueError("x"))
        await settle()
        assert diary == ["+a", "!a", "+a"]


async def test_c26_transient_that_was_killed_is_restarted(autojump_clock: MockClock) -> None:
    """Killed is abnormal, from whoever it came."""
    _, (a,) = puppets("a")
    pids = []

    async def telling(*, task_status: trio.TaskStatus[object]) -> None:
        pids.append(self_pid())
        await a.live(task_status=task_status)

    from supervisors import ChildSpec

    async with open_supervisor([ChildSpec("a", telling, restart="transient")]) as tree:
        pids[0].kill()
        await settle()
        info = tree.which_child("a")
        assert (info.state, info.restarts, info.last_exit) == ("running", 1, Killed())
        assert not pids[0].alive
        assert pids[1].alive


@pytest.mark.parametrize("outcome", [None, ValueError("x"), Exit(Shutdown()), Exit(Killed())])
async def test_c27_temporary_is_never_restarted_and_forgotten(
    autojump_clock: MockClock, outcome: BaseException | None
) -> None:
    """The same id can be started anew."""
    _diary, (a,) = puppets("a")
    async with open_supervisor([a.spec(restart="temporary")]) as tree:
        a.end(outcome)
        await settle()
        assert tree.which_children() == []
        assert await tree.start_child(a.spec()) == "a2"


async def test_c28_an_end_without_restart_leaves_the_group_alone(autojump_clock: MockClock) -> None:
    """Under one_for_all: a transient that returns, a temporary that crashes."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(restart="transient"), b.spec(restart="temporary"), c.spec()], strategy="one_for_all"
    ):
        diary.take()
        a.end()
        b.end(ValueError("x"))
        await settle()
        assert sorted(diary) == ["!a", "!b"]


async def test_c29_a_temporary_stopped_for_its_sibling_is_dropped(autojump_clock: MockClock) -> None:
    """Under one_for_all it is not started again."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(restart="temporary"), c.spec()], strategy="one_for_all") as tree:
        diary.take()
        a.end(ValueError("x"))
        await settle()
        assert diary == ["!a", "-c", "-b", "+a", "+c"]
        assert [info.id for info in tree.which_children()] == ["c", "a"]


async def test_c30_an_end_without_restart_does_not_count(autojump_clock: MockClock) -> None:
    """With max_restarts=0 the supervisor survives it."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(restart="transient"), b.spec(restart="temporary"), c.spec()], max_restarts=0
    ) as tree:
        a.end()
        b.end(ValueError("x"))
        await settle()
        assert tree.which_child("c").state == "running"
        assert tree.tree().restarts_in_window == 0


async def test_c31_a_restarted_child_is_new_and_has_its_old_arguments(autojump_clock: MockClock) -> None:
    """Another pid, the same args."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(args=(1, "x"))]) as tree:
        a.end(ValueError("x"))
        await settle()
        assert a.args == [(1, "x"), (1, "x")]
        assert tree.which_child("a").restarts == 1


async def test_c32_the_end_of_an_old_life_restarts_nothing(autojump_clock: MockClock) -> None:
    """Its notice may arrive when the child was replaced already."""
    diary, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        engine = tree._engine
        child = engine.find("a")
        old = child.life
        assert old is not None
        a.end(ValueError("x"))
        await settle()
        engine._send.send_nowait(old)
        await settle()
        assert diary == ["+a", "!a", "+a"]
        assert child.restarts == 1


async def test_c33_the_end_of_a_stranger_is_ignored(autojump_clock: MockClock) -> None:
    """Nothing is restarted, and the supervisor goes on serving."""
    diary, (a, b) = puppets("ab")
    async with open_supervisor([a.spec()]) as tree:
        engine = tree._engine
        engine._send.send_nowait(Life(Child(b.spec()), engine.reporter, lambda _: None))
        await settle()
        assert await tree.start_child(b.spec()) == "b1"
        assert diary == ["+a", "+b"]


async def test_c_restart_if_decides_by_the_reason(autojump_clock: MockClock) -> None:
    """False leaves the child stopped, with a report; one that raises restarts."""
    _diary, (a, b) = puppets("ab")

    def only_value_errors(reason: object) -> bool:
        return isinstance(reason, Crash) and isinstance(reason.exception, ValueError)

    def broken(reason: object) -> bool:
        raise RuntimeError("broken")

    async with open_supervisor([a.spec(restart_if=only_value_errors), b.spec(restart_if=broken)]) as tree:
        a.end(ValueError("x"))
        b.end(ValueError("x"))
        await settle()
        assert (a.lives, b.lives) == (2, 2)
        seen = watch(tree)
        a.end(OSError("y"))
        await settle()
        assert tree.which_child("a").state == "stopped"
        assert seen == [("child_terminated", "a", "crash: OSError: y")]
