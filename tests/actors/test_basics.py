"""What the public page promises first: start, call, cast, names, restarts."""

from __future__ import annotations

import pytest

from kathikon_actors import Actor, ActorDied, NoSuchActor, open_actor_system
from tests.support.waiting import eventually


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    async def add(self, by: int) -> int:
        self.value += by
        return self.value

    async def fail(self, error: Exception) -> None:
        raise error


async def test_the_first_example() -> None:
    """Start, call, cast; a crash is the caller's to see and the supervisor's to repair."""
    async with open_actor_system() as system:
        counter = await system.start(Counter, 10, name="counter")
        assert await counter.call(Counter.add, 5) == 15
        counter.cast(Counter.add, 1)
        assert await counter.call(Counter.add, 0) == 16
        with pytest.raises(ActorDied) as caught:
            await counter.call(Counter.fail, ValueError("no"))
        assert isinstance(caught.value.__cause__, ValueError)
        await eventually(lambda: counter.alive, "it is back")
        assert await counter.call(Counter.add, 0) == 10
        await counter.stop()
        assert not counter.alive
        with pytest.raises(NoSuchActor):
            await counter.call(Counter.add, 1)
