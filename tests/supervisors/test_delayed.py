"""The faults that others had with delayed restarts, (a) to (h), and the pure Backoff."""

# ruff: noqa: PT012  (what raises is the block of the supervisor, which needs its body)

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisors import Backoff, ChildNotFound, FailedToStart, InvalidSpec, RestartLimitReached, open_supervisor
from supervisors.testing import wait_restarted
from tests.supervisors.tools import puppets, settle, watch


def fixed(**options: Any) -> Backoff:
    return Backoff(**{"min": 1.0, "max": 8.0, "jitter": 0.0, **options})


def test_delayed_delays_grow_to_the_maximum_and_jitter_adds_its_share() -> None:
    """Pure: chance is a parameter."""
    backoff = fixed()
    assert [backoff.delay(attempt) for attempt in range(5)] == [1, 2, 4, 8, 8]
    assert Backoff(1.0, 8.0, jitter=0.5).delay(1, lambda: 1.0) == 3.0
    assert Backoff(0.5, 60.0).delay(100_000, lambda: 0.0) == 60.0
    assert (backoff.resets(7.9), backoff.resets(8.0)) == (False, True)
    assert fixed(reset_after=1.0).resets(1.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("min", -1), ("max", 0.5), ("factor", 0.9), ("jitter", -0.1), ("reset_after", -1), ("max_attempts", 0)],
)
def test_delayed_a_bad_backoff_names_the_field(field: str, value: float) -> None:
    """As for specs."""
    with pytest.raises(InvalidSpec) as caught:
        fixed(**{field: value})
    assert caught.value.field == field


async def test_delayed_a_during_the_delay_the_child_shows_restarting(autojump_clock: MockClock) -> None:
    """And it is started when the delay is over."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(backoff=fixed())]) as tree:
        a.end(ValueError("x"))
        await settle()
        await trio.sleep(0.9)
        assert (tree.which_child("a").state, tree.count_children().active, a.lives) == ("restarting", 0, 1)
        await trio.sleep(0.2)
        assert (tree.which_child("a").state, a.lives) == ("running", 2)


async def test_delayed_b_terminate_during_the_delay_cancels_the_timer(autojump_clock: MockClock) -> None:
    """After it, delete works, and nothing comes later."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(backoff=fixed())]) as tree:
        a.end(ValueError("x"))
        await settle()
        await tree.terminate_child("a")
        assert tree.which_child("a").state == "stopped"
        await tree.delete_child("a")
        await trio.sleep(100)
        assert a.starts == 1
        with pytest.raises(ChildNotFound):
            tree.which_child("a")


async def test_delayed_c_a_failed_delayed_start_is_planned_again(autojump_clock: MockClock) -> None:
    """With the next delay."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(backoff=fixed())]) as tree:
        a.failures = [OSError("1"), OSError("2")]
        began = trio.current_time()
        a.end(ValueError("x"))
        await settle()
        await trio.sleep(20)
        info = tree.which_child("a")
        assert (info.state, a.starts) == ("running", 4)
        assert info.started_at == pytest.approx(began + 1 + 2 + 4)


async def test_delayed_d_delayed_restarts_count_by_max_attempts_only(autojump_clock: MockClock) -> None:
    """Not in the shared window; max_attempts in a row is where the supervisor gives up."""
    _, (a, b) = puppets("ab")
    with pytest.raises(RestartLimitReached) as caught:
        async with open_supervisor([a.spec(backoff=fixed(max_attempts=6)), b.spec()], max_restarts=0) as tree:
            seen = watch(tree)
            for number in range(6):
                a.end(ValueError("x"))
                await settle()
                await trio.sleep(10 if number > 2 else 4.1)
                assert a.lives == number + 2
                assert tree.tree().restarts_in_window == 0
                if number > 2:
                    break
            a.failures = [OSError("x") for _ in range(10)]
            a.end(ValueError("x"))
            await trio.sleep_forever()
    assert caught.value.id == "a"
    assert ("shutdown", "a", "crash: OSError: x") in seen
    assert b.lives == 1


async def test_delayed_e_the_delay_does_not_block_the_supervisor(autojump_clock: MockClock) -> None:
    """Calls are answered at once, and siblings are restarted."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(backoff=fixed(min=5.0)), b.spec()]) as tree:
        a.end(ValueError("x"))
        await settle()
        began = trio.current_time()
        await tree.start_child(c.spec())
        b.end(ValueError("x"))
        await settle()
        assert (b.lives, c.lives, trio.current_time()) == (2, 1, began)
        assert tree.which_child("a").state == "restarting"


async def test_delayed_f_a_group_waits_down_for_the_longest_delay(autojump_clock: MockClock) -> None:
    """All affected are stopped first; a further crash is folded into the pending restart, and counts once more."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor(
        [a.spec(backoff=fixed(min=2.0)), b.spec(backoff=fixed(min=6.0)), c.spec()], strategy="rest_for_one"
    ) as tree:
        diary.take()
        b.end(ValueError("x"))
        await settle()
        assert diary.take() == ["!b", "-c"]
        assert [info.state for info in tree.which_children()] == ["restarting", "restarting", "running"]
        await trio.sleep(1)
        a.end(ValueError("x"))
        await settle()
        assert diary.take() == ["!a"]
        assert tree.count_children().active == 0
        await trio.sleep(4.9)
        assert diary == []
        await trio.sleep(0.2)
        assert diary == ["+a", "+b", "+c"]


async def test_delayed_f_one_member_taken_out_leaves_the_restart_to_the_others(autojump_clock: MockClock) -> None:
    """terminate_child of the one that died, during the delay of its group."""
    diary, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(), b.spec(backoff=fixed()), c.spec()], strategy="one_for_all") as tree:
        diary.take()
        b.end(ValueError("x"))
        await settle()
        await tree.terminate_child("b")
        await trio.sleep(2)
        assert diary == ["!b", "-c", "-a", "+a", "+c"]
        assert tree.which_child("b").state == "stopped"
        c.end(ValueError("x"))
        await settle()
        assert tree.which_child("b").state == "running"


async def test_delayed_g_a_shutdown_during_a_delay_is_immediate(autojump_clock: MockClock) -> None:
    """The timer is gone with it."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(backoff=fixed(min=8.0))]):
        a.end(ValueError("x"))
        await settle()
        began = trio.current_time()
    assert (trio.current_time(), a.starts) == (began, 1)


async def test_delayed_h_the_delay_is_reset_only_by_running_long_enough(autojump_clock: MockClock) -> None:
    """Attempts count before success; reset_after of running makes the next delay the first."""
    _, (a,) = puppets("a")
    waits: list[float] = []
    async with open_supervisor([a.spec(backoff=fixed(reset_after=10.0))]) as tree:
        for ran in (0.0, 9.0, 9.0, 10.0, 0.0):
            await trio.sleep(ran)
            before = trio.current_time()
            a.end(ValueError("x"))
            await wait_restarted(tree, "a", len(waits) + 1, timeout=20.0)
            waits.append((tree.which_child("a").started_at or 0.0) - before)
    assert waits == pytest.approx([1, 2, 4, 1, 2], abs=0.1)


async def test_delayed_a_member_taken_out_stays_out_when_its_restart_by_hand_fails(autojump_clock: MockClock) -> None:
    """restart_child promises no retry, so the pending restart of the group does not start it either."""
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(backoff=fixed()), b.spec()], strategy="one_for_all") as tree:
        a.end(ValueError("x"))
        await settle()
        await tree.terminate_child("b")
        b.failures = [OSError("no")]
        with pytest.raises(FailedToStart):
            await tree.restart_child("b")
        await trio.sleep(2)
        assert (a.lives, tree.which_child("b").state, b.starts) == (2, "stopped", 2)
