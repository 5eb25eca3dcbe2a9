"""Checklist I: the API of a static supervisor."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    SupervisorStopped,
    open_supervisor,
    supervisor_spec,
)
from tests.supervisors.tools import puppets, settle


async def test_i94_start_child_of_a_known_id(autojump_clock: MockClock) -> None:
    """Running: already started; stopped: already present."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        with pytest.raises(AlreadyStarted):
            await tree.start_child(a.spec())
        await tree.terminate_child("a")
        with pytest.raises(AlreadyPresent):
            await tree.start_child(a.spec())


async def test_i95_terminate_child_is_idempotent_and_returns_after_the_death(autojump_clock: MockClock) -> None:
    """Unknown ids are told."""
    diary, (a,) = puppets("a")
    a.cleanup = 2
    async with open_supervisor([a.spec()]) as tree:
        await tree.terminate_child("a")
        assert diary == ["+a", "-a"]
        await tree.terminate_child("a")
        with pytest.raises(ChildNotFound):
            await tree.terminate_child("b")
        with pytest.raises(ChildNotFound):
            await tree.terminate_child([])


async def test_i96_delete_child(autojump_clock: MockClock) -> None:
    """Running: refused; stopped: gone; unknown: told; restarting: refused."""
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), b.spec()], max_restarts=0, on_exceed="pause") as tree:
        with pytest.raises(ChildRunning):
            await tree.delete_child("a")
        await tree.terminate_child("a")
        await tree.delete_child("a")
        with pytest.raises(ChildNotFound):
            await tree.delete_child("a")
        with pytest.raises(ChildNotFound):
            tree.get_childspec("a")
        b.end(ValueError("x"))
        await settle()
        with pytest.raises(ChildRestarting):
            await tree.delete_child("b")


async def test_i97_restart_child(autojump_clock: MockClock) -> None:
    """Running: refused; unknown: told, as is a temporary one after its death."""
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), b.spec(restart="temporary")]) as tree:
        with pytest.raises(ChildRunning):
            await tree.restart_child("a")
        with pytest.raises(ChildNotFound):
            await tree.restart_child("c")
        await tree.terminate_child("b")
        with pytest.raises(ChildNotFound):
            await tree.restart_child("b")


async def test_i98_count_children(autojump_clock: MockClock) -> None:
    """A stopped permanent child counts as spec and worker, not as active."""
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec(), b.spec(), supervisor_spec("s", [])]) as tree:
        await tree.terminate_child("a")
        counts = tree.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (3, 2, 1, 2)


async def test_i99_changing_calls_are_served_one_after_another(autojump_clock: MockClock) -> None:
    """One that comes while a start takes 0.3 s is answered after it; reading ones answer at once."""
    diary, (a, b) = puppets("ab")
    b.start_time = 0.3
    async with open_supervisor([a.spec()]) as tree, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(tree.start_child, b.spec())
        await settle()
        assert tree.count_children().specs == 1
        assert trio.current_time() == began
        await tree.terminate_child("a")
        assert trio.current_time() - began == pytest.approx(0.3)
        assert diary == ["+a", "+b", "-a"]


async def test_i100_of_two_starts_of_one_id_one_wins(autojump_clock: MockClock) -> None:
    """The other is told that the child runs."""
    _, (a,) = puppets("a")
    outcomes: list[object] = []
    async with open_supervisor() as tree:

        async def start() -> None:
            try:
                outcomes.append(await tree.start_child(a.spec()))
            except AlreadyStarted as exc:
                outcomes.append(exc.info)
                outcomes.append("told")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(start)
            nursery.start_soon(start)
        assert outcomes == ["a1", "a1", "told"]
        assert a.starts == 1


async def test_i101_calls_to_a_finished_supervisor_fail_at_once(autojump_clock: MockClock) -> None:
    """Each that would change something; reading shows the last state."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        pass
    for call in (
        lambda: tree.start_child(a.spec()),
        lambda: tree.terminate_child("a"),
        lambda: tree.restart_child("a"),
        lambda: tree.delete_child("a"),
        tree.stop,
    ):
        with pytest.raises(SupervisorStopped):
            await call()
    assert [info.state for info in tree.which_children()] == ["stopped"]
    assert tree.tree().state == "stopped"
    assert "a stopped" in tree.format_tree()
