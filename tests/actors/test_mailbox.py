"""Bounded mailboxes, statistics, calls to many, what a start refuses."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from kathikon_actors import (
    Actor,
    ActorDied,
    ActorIgnored,
    CallTimeout,
    Mailbox,
    MailboxFull,
    NoActorSystem,
    NoSuchActor,
    NotInACall,
    actor_spec,
    call_many,
    defer_reply,
    open_actor_system,
)
from kathikon_actors.actors.recipe import Isolation
from supervisors import IGNORE, FailedToStart, InvalidSpec, RestartLimitReached, open_supervisor
from tests.actors.cast import Counter, Gate, Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually


@pytest.mark.parametrize("on_full", ["drop_newest", "drop_oldest"])
async def test_a_full_mailbox_does_what_was_said(stage: Stage, isolation: Isolation, on_full: Any) -> None:
    """Casts give way, calls are refused, nobody waits; stop requests and signals always fit."""
    ref = await stage.system.start(Player, isolation=isolation, mailbox=Mailbox(3, on_full), restart="temporary")
    ref.cast(Player.sleep, 0.2)
    await eventually(lambda: ref.statistics().busy and ref.statistics().length == 0, "it sleeps")
    for number in range(10):
        ref.cast(Player.say, number)
    with pytest.raises(MailboxFull) as caught:
        await ref.call(Player.echo, 1)
    assert caught.value.limit == 3
    await ref.stop()
    kept = [0, 1, 2] if on_full == "drop_newest" else [7, 8, 9]
    assert stage.lines == [*kept, ("terminate", "normal")]


async def test_statistics_count_and_time(stage: Stage, isolation: Isolation) -> None:
    """Length without the one at hand, age of the oldest, processed, busy, dropped."""
    gate = await stage.system.start(Gate, name="gate")
    ref = await stage.system.start(Player, isolation=isolation, mailbox=Mailbox(3))
    ref.cast(Player.wait_at_gate)
    await eventually(lambda: ref.statistics().busy and ref.statistics().length == 0, "it is at work")
    for number in range(5):
        ref.cast(Player.echo, number)
    await eventually(lambda: (now := ref.statistics()).dropped == 2 and now.length == 3, "two too many")
    assert ref.statistics().processed == 0
    await eventually(lambda: ref.statistics().oldest > 0.01, "they age")
    await gate.call(Gate.open)
    await eventually(lambda: ref.statistics().processed == 4, "all are handled")
    assert 0.0 < ref.statistics().busy < 1.0
    assert ref.statistics().length == 0
    await ref.stop()
    with pytest.raises(NoSuchActor):
        ref.statistics()


async def test_call_many_collects_replies_and_failures(stage: Stage, isolation: Isolation) -> None:
    """One that is dead, one that is slow and one that fails spoil nothing."""
    counters = [await stage.system.start(Counter, number, isolation=isolation) for number in range(4)]
    await counters[3].stop()
    results = await call_many([*counters, counters[0]], Counter.add, 1)
    assert list(results.replies.values()) == [1, 2, 3]
    assert isinstance(results.failed[counters[3]], NoSuchActor)
    players = [await stage.system.start(Player, isolation=isolation, restart="temporary") for _ in range(2)]
    late = await call_many(players, Player.later, timeout=0.02)
    assert {type(error) for error in late.failed.values()} == {CallTimeout}


class Shy(Actor):
    async def init(self) -> Any:
        return IGNORE

    async def not_a_call(self) -> None:
        defer_reply()


async def test_a_start_says_what_is_wrong_with_it(stage: Stage, isolation: Isolation) -> None:
    """Before anything runs, where that can be known."""
    start: Any = stage.system.start
    with pytest.raises(ActorIgnored):
        await start(Shy, isolation=isolation)
    with pytest.raises(InvalidSpec, match="Actor"):
        await start(int, isolation=isolation)
    with pytest.raises(InvalidSpec, match="link"):
        await start(Counter, link=True, isolation=isolation)
    with pytest.raises(FailedToStart) as caught:
        await start(Counter, 1, 2, isolation=isolation)
    assert isinstance(caught.value.__cause__, TypeError)
    for wrong in ({"name": 3}, {"isolation": "thread"}, {"mailbox": 5}):
        with pytest.raises(InvalidSpec):
            actor_spec(Counter, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidSpec, match="limit"):
        Mailbox(0)
    with pytest.raises(NotInACall):
        defer_reply()


async def test_an_actor_needs_a_system() -> None:
    """And the error says how to get one."""
    with pytest.raises(FailedToStart) as caught:
        async with open_supervisor([actor_spec(Counter)]):
            pass
    assert isinstance(caught.value.__cause__, NoActorSystem)


async def test_too_many_deaths_end_the_system() -> None:
    """Bare, after the ordered stop of all others."""

    async def until_the_end() -> None:
        async with open_actor_system(max_restarts=2, max_seconds=60.0) as system:
            ref = await system.start(Player, name="mortal")
            for _ in range(3):
                await eventually(lambda: ref.alive, "it is back")
                with pytest.raises(ActorDied):
                    await ref.call(Player.fail, ValueError("x"))
            await trio.sleep_forever()

    with pytest.raises(RestartLimitReached):
        await until_the_end()
