"""What the type checkers must say of calls to actors: an error in the lines marked so, and in no other.

`# error` is for both checkers; `# error: basedpyright` where mypy cannot see it (a parameter beside a ParamSpec).
Never run, only read by the checkers.
"""

from __future__ import annotations

from kathikon_actors import Actor, ActorRef, CallResults, actor_spec, call_many, open_actor_system


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    async def add(self, by: int) -> int:
        self.value += by
        return self.value

    async def label(self, text: str, *, upper: bool = False) -> str:
        return text.upper() if upper else text


class Special(Counter):
    async def double(self) -> int:
        return self.value * 2


class Stranger(Actor):
    async def hello(self) -> None:
        return None


async def right() -> None:
    async with open_actor_system() as system:
        counter: ActorRef[Counter] = await system.start(Counter, 10, name="c", isolation="process")
        number: int = await counter.call(Counter.add, 5)
        number = await counter.call(Counter.add, by=5)
        number = await counter.call(Counter.add, 5, timeout=1.0)
        text: str = await counter.call(Counter.label, "x", upper=True, timeout=0.5)
        counter.cast(Counter.add, 5)
        counter.cast(Counter.label, "x", upper=True)
        special = await system.start(Special)
        number = await special.call(Special.double)
        number = await special.call(Counter.add, 1)
        results: CallResults[int] = await call_many([counter], Counter.add, 1, timeout=2.0)
        by_name: ActorRef[Counter] = system.ref("c", Counter)
        actor_spec(Counter, 10, id="x", name="c", restart="transient")
        print(number, text, results, by_name)


async def wrong() -> None:
    async with open_actor_system() as system:
        counter = await system.start(Counter)
        await counter.call(Counter.add, "5")  # error
        await counter.call(Counter.add)  # error
        await counter.call(Counter.add, 1, 2)  # error
        await counter.call(Counter.add, to=1)  # error
        await counter.call(Counter.label, "x", uper=True)  # error
        text: str = await counter.call(Counter.add, 1)  # error
        await counter.call(Stranger.hello)  # error
        await counter.call(Special.double)  # error
        await counter.call("add", 1)  # error
        await counter.call(Counter.add, 1, timeout="soon")  # error
        await counter.call(Counter.add, "5", timeout=1.0)  # error: basedpyright
        text = await counter.call(Counter.add, 5, timeout=1.0)  # error
        counter.cast(Counter.add, "5")  # error
        counter.cast(Counter.add)  # error
        counter.cast(Stranger.hello)  # error
        await call_many([counter], Counter.add, "x")  # error
        await call_many([counter], Stranger.hello)  # error
        await system.start(Counter, "10")  # error: basedpyright
        await system.start(Counter, name=3)  # error
        await system.start(Counter, isolation="thread")  # error
        actor_spec(Counter, "10")  # error: basedpyright
        print(text)
