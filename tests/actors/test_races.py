"""Everything at once: calls while the actor is killed, links and unlinks while peers die."""

from __future__ import annotations

import random
from collections import Counter as Tally

import pytest
import trio

from kathikon_actors import ActorDied, NoSuchActor, open_actor_system
from kathikon_actors.actors.recipe import Isolation
from tests.actors.cast import Counter, Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually, run_within


async def test_calls_during_kills_answer_or_fail_and_never_hang(stage: Stage, isolation: Isolation) -> None:
    """Eight callers, 40 kills at random moments: every call ends well before its timeout."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    ref = await stage.system.start(Counter, name="target", isolation=isolation)
    outcomes: Tally[str] = Tally()
    over = trio.Event()

    async def keep_calling() -> None:
        while not over.is_set():
            try:
                with trio.fail_after(20):
                    await ref.call(Counter.add, 1, timeout=30.0)
                outcomes["answered"] += 1
            except (ActorDied, NoSuchActor) as error:
                outcomes[type(error).__name__] += 1
                await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(keep_calling)
        for number in range(40):
            answered = outcomes["answered"]
            await trio.sleep(dice.random() * 0.004)
            if number % 10 == 0:
                await eventually(lambda: outcomes["answered"] > answered, "this life answers")  # noqa: B023
            ref.kill()
            await eventually(lambda: ref.alive, "a next life")
        over.set()
    assert outcomes["ActorDied"] > 0
    await eventually(lambda: ref.alive, "it lives")
    assert not any(stage.system.deadlines._buckets.values())


async def test_links_to_the_dying_are_signals_or_nothing(stage: Stage, isolation: Isolation) -> None:
    """60 peers that die while they are linked and unlinked: one signal each at most, none after the unlink."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    watcher = await stage.system.start(Player, trap=True, isolation=isolation)
    for number in range(60):
        peer = await stage.system.start(Counter, name=f"peer{number}", restart="temporary")
        moment = dice.choice(["before", "between", "after"])
        if moment == "before":
            peer.kill()
        watcher.cast(Player.link_to, peer)
        if moment == "between":
            await trio.sleep(dice.random() * 0.002)
            peer.kill()
        unlinked = dice.random() < 0.5
        if unlinked:
            await watcher.call(Player.unlink_from, peer)
            await watcher.call(Player.say, "unlinked")  # what was in the mailbox before is handled now
            await stage.until("unlinked")
            stage.lines.clear()
        peer.kill()
        await peer.monitor().wait()
        await watcher.call(Player.say, number)
        await stage.until(number)
        exits = [line[1] for line in stage.lines if line != number]
        assert exits in ([], [peer.name])
        if unlinked:
            assert exits == []
        stage.lines.clear()


@pytest.mark.parametrize("steps", range(6))
def test_a_system_that_is_cancelled_before_it_opens_ends_at_once(steps: int) -> None:
    """Cancelled before its first step, or a step or two later."""

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel_after(count: int) -> None:
                    for _ in range(count):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                if steps == 0:
                    scope.cancel()
                else:
                    nursery.start_soon(cancel_after, steps - 1)
                async with open_actor_system():
                    await trio.sleep_forever()
        assert scope.cancelled_caught

    run_within(20, main)
