"""Checklist O, what it means for the names of actors; the registry itself is tested with `supervisors`."""

from __future__ import annotations

import pytest

from kathikon_actors.actors.recipe import Isolation
from supervisors import AlreadyStarted
from tests.actors.cast import Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually


async def test_o159_a_name_has_one_holder(stage: Stage, isolation: Isolation) -> None:
    """A second start fails before `__init__` runs, and gives the reference of the holder."""
    ref = await stage.system.start(Player, name="a", isolation=isolation)
    for kind in ("task", "process"):
        with pytest.raises(AlreadyStarted) as caught:
            await stage.system.start(Player, name="a", isolation=kind, on_start="raise in __init__")
        assert caught.value.info == ref
    assert stage.system.whereis("a") == ref


async def test_o160_the_name_of_a_killed_one_can_be_taken_at_once(stage: Stage, isolation: Isolation) -> None:
    """As soon as its end is seen."""
    for _ in range(20):
        ref = await stage.system.start(Player, name="a", isolation=isolation, restart="temporary")
        assert stage.system.whereis("a") is ref
        monitor = ref.monitor()
        ref.kill()
        await monitor.wait()
        assert stage.system.whereis("a") is None


async def test_o162_an_end_frees_the_name_for_everybody(stage: Stage, isolation: Isolation) -> None:
    """Also as seen from inside another process."""
    asker = await stage.system.start(Player, isolation=isolation)
    ref = await stage.system.start(Player, name="a", isolation=isolation, restart="temporary")
    assert await asker.call(Player.ask, "a", 1) == (True, ref.pid, 1)
    await ref.stop()
    assert await asker.call(Player.ask, "a", 1) is None


async def test_o165_whereis_never_shows_the_dead(stage: Stage, isolation: Isolation) -> None:
    """It shows the restarted one by the same reference."""
    ref = await stage.system.start(Player, name="a", isolation=isolation)
    for _ in range(20):
        monitor = ref.monitor()
        ref.kill()
        await monitor.wait()
        await eventually(lambda: not (found := stage.system.whereis("a")) or found.alive, "what it shows lives")
        await eventually(lambda: stage.system.whereis("a") == ref and ref.alive, "it is back")
        assert await ref.call(Player.echo, 1) == 1
