"""An app whose jobs use actors and whose actors insert jobs; run as a program it is a node that counts until killed."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

import trio

from kathikon_actors import (
    Actor,
    ActorDied,
    App,
    CallTimeout,
    Job,
    NoSuchActor,
    Queue,
    Snapshot,
    actor_spec,
    actor_system,
    blocking_actor_system,
    constant,
    open_node,
    worker,
)


@dataclass
class Visits:
    count: int = 0
    seen: list[int] = field(default_factory=list)


class Counter(Actor):
    """Counts visits; its state says the same thing twice, so that a half of it would show."""

    def __init__(self) -> None:
        self.visits = Visits()

    def take_snapshot(self) -> Visits:
        return self.visits

    def restore_snapshot(self, state: Visits) -> None:
        assert state.count == len(state.seen)
        self.visits = state

    async def add(self, by: int) -> int:
        for _ in range(by):
            self.visits.count += 1
            self.visits.seen.append(self.visits.count)
        return self.visits.count

    async def fail(self) -> None:
        raise LookupError("no such visit")

    async def hang(self) -> None:
        await trio.sleep_forever()

    async def echo(self, value: Any) -> Any:
        return value

    async def order(self, count: int) -> list[str]:
        """Insert jobs into the node that this actor lives in."""
        first = await self.system.node.insert(add_plain.new(1))
        second = await self.system.node.insert("add_async", {"by": 1}, priority=3)
        many = await self.system.node.insert_many(add_plain.new(1) for _ in range(count))
        return [str(one) for one in (first.id, second.id, *many.ids)]

    async def pid(self) -> int:
        return os.getpid()


NAME = "visits"


@worker(queue="plain")
def add_plain(by: int) -> int:
    counter = blocking_actor_system().whereis(NAME)
    assert counter is not None
    return counter.call(Counter.add, by)


@worker(queue="async")
async def add_async(by: int) -> int:
    counter = actor_system().whereis(NAME)
    assert counter is not None
    return await counter.call(Counter.add, by)


@worker(queue="inside")
async def add_inside(by: int) -> int:
    """Runs in the node's own loop."""
    counter = actor_system().whereis(NAME)
    assert counter is not None
    return await counter.call(Counter.add, by)


@worker(queue="plain")
def look_plain() -> dict[str, Any]:
    """Everything that a plain job can do with actors."""
    system = blocking_actor_system()
    told: dict[str, Any] = {"nobody": system.whereis("nobody") is None, "names": system.names()}
    counter = system.ref(NAME, Counter)
    told["alive"] = counter.alive
    counter.cast(Counter.add, 2)
    told["after cast"] = counter.call(Counter.add, 0)
    told["large"] = len(counter.call(Counter.echo, b"x" * 3_000_000))
    try:
        system.ref("fragile", Counter).call(Counter.fail)
    except ActorDied as error:
        told["error"] = str(error)
    try:
        system.ref("nobody", Counter).call(Counter.add, 1)
    except NoSuchActor as error:
        told["no such"] = str(error)
    try:
        system.ref("stuck", Counter).call_within(0.05, Counter.hang)
    except CallTimeout as error:
        told["timeout"] = str(error)
    told["inserted"] = str(system.insert(add_async.new(1)).id)
    return told


@worker(queue="async")
async def look_async() -> dict[str, Any]:
    """Everything that an async job can do with actors."""
    system = actor_system()
    told: dict[str, Any] = {"nobody": system.whereis("nobody") is None, "names": system.names()}
    counter = system.ref(NAME, Counter)
    told["alive"] = counter.alive
    counter.cast(Counter.add, 2)
    told["after cast"] = await counter.call(Counter.add, 0)
    told["large"] = len(await counter.call(Counter.echo, b"x" * 3_000_000))
    try:
        await system.ref("fragile", Counter).call(Counter.fail)
    except ActorDied as error:
        told["error"] = str(error)
    try:
        await system.ref("nobody", Counter).call(Counter.add, 1)
    except NoSuchActor as error:
        told["no such"] = str(error)
    started = await system.start(Counter, name="helper")
    told["started"] = await started.call(Counter.add, 7)
    monitor = started.monitor()
    await started.stop()
    told["down"] = type((await monitor.wait()).reason).__name__
    told["inserted"] = str((await system.node.insert(add_plain.new(1))).id)
    return told


@worker(queue="plain", max_attempts=2, timeout=0.5, backoff=constant(600))
def wait_for_ever(job: Job) -> int:
    """At its first attempt waits for an actor that does not answer: the timeout has to reach it there."""
    counter = blocking_actor_system().ref("stuck", Counter)
    if job.attempt == 1:
        counter.call_within(60.0, Counter.hang)
    return counter.call(Counter.add, 0)


def make_app(isolation: Any = "task") -> App:
    return App(
        queues=[
            Queue("plain", processes=2, concurrency=2),
            Queue("async", concurrency=8),
            Queue("inside", isolation="task"),
        ],
        workers=[add_plain, add_async, add_inside, look_plain, look_async, wait_for_ever],
        children=[
            actor_spec(Counter, name=NAME, isolation=isolation, snapshot=Snapshot(every=1)),
            actor_spec(Counter, name="stuck", isolation=isolation, shutdown=0.1),
            actor_spec(Counter, name="fragile", isolation=isolation, restart="temporary"),
        ],
    )


async def main(store: str, isolation: str) -> None:
    """Print where the counter begins, then every count."""
    async with open_node(make_app(isolation), store=store, name="n1", lease=5.0) as node:
        counter = node.system.ref(NAME, Counter)
        print(await counter.call(Counter.add, 0), flush=True)
        while True:
            print(await counter.call(Counter.add, 1), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
