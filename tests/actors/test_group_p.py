"""Checklist P: timers."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from kathikon_actors import open_actor_system
from kathikon_actors.actors.recipe import Isolation
from tests.actors.cast import Diary, Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually


async def test_p167_send_after_delivers_once(stage: Stage, isolation: Isolation) -> None:
    """After its time; `cancel` tells the time that was left, and later False. Also set from inside a process."""
    ref = await stage.system.start(Player, isolation=isolation)
    began = trio.current_time()
    timer = stage.system.send_after(0.05, ref, "ding")
    cancelled = stage.system.send_after(30.0, ref, "never")
    left = cancelled.cancel()
    assert 20.0 < left <= 30.0
    assert cancelled.cancel() is False
    await stage.until("ding")
    assert trio.current_time() - began >= 0.05
    assert timer.cancel() is False
    await ref.call(Player.later_to, 0.02, ref, "dong")
    await stage.until("dong")
    await stage.settle(0.08)
    assert stage.lines == ["ding", "dong"]


async def test_p168_a_timer_to_the_dead_is_dropped_and_a_name_is_looked_up_late(
    stage: Stage, isolation: Isolation
) -> None:
    """Whoever holds the name when the time has come gets it."""
    dead = await stage.system.start(Player, isolation=isolation)
    stage.system.send_after(0.05, dead, "for the dead")
    await dead.stop()
    delay = 0.1
    while True:
        stage.lines.clear()
        timer = stage.system.send_after(delay, stage.system.ref("born later", Player), "for the next")
        born = await stage.system.start(Player, name="born later", isolation=isolation)
        if timer._scheduled.callback is not None:
            break
        # On a busy machine the time had come before the start was over: once more, with more of it.
        await born.stop()
        delay *= 2
    await stage.until("for the next")
    assert stage.lines == ["for the next"]


async def test_p169_a_timer_that_fired_cannot_be_taken_back(stage: Stage, isolation: Isolation) -> None:
    """The message is there all the same."""
    ref = await stage.system.start(Player, isolation=isolation)
    ref.cast(Player.sleep, 0.1)
    timer = stage.system.send_after(0.01, ref, "ding")
    await eventually(lambda: timer._scheduled.callback is None, "it has fired")
    assert timer.cancel() is False
    await stage.until("ding")


async def test_timers_come_in_order_and_cancelled_ones_are_forgotten(autojump_clock: MockClock) -> None:
    """10,000 of them, two of three taken back: to the tick, and no more of them are kept than are wanted."""
    async with open_actor_system() as system:
        await system.start(Diary, name="diary")
        ref = await system.start(Player)
        timers = [system.send_after(float(number), ref, number) for number in range(1, 10_001)]
        for timer in timers:
            if timer.message % 3:  # type: ignore[operator]
                assert timer.cancel() == pytest.approx(timer._scheduled.when)
        assert len(system.deadlines._heap) < 7_000
        await trio.sleep(10_001)
        lines = await system.ref("diary", Diary).call(Diary.read)
        assert lines == list(range(3, 10_001, 3))
