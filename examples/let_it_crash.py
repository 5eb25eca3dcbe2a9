"""Let it crash: a counter that loses its state when it dies, and one that keeps it by snapshots.

Run it: `python examples/let_it_crash.py`. Both counters count to five and then meet a message that breaks them. Their
supervisor starts them again, as Erlang's would: the first counts from zero, the second from its last snapshot. Then a
third lives in a process of its own and is killed by SIGKILL; it comes back as well.
"""

from __future__ import annotations

import trio

from kathikon_actors import (
    Actor,
    ActorDied,
    ActorRef,
    ActorSystem,
    CallTimeout,
    NoSuchActor,
    Snapshot,
    open_actor_system,
)


class Counter(Actor):
    """Counts; a broken message kills it."""

    def __init__(self) -> None:
        self.value = 0

    async def add(self, by: int) -> int:
        """Count on; `by` must be a number."""
        self.value += by
        return self.value

    def take_snapshot(self) -> int:
        """Give what is to outlive a crash."""
        return self.value

    def restore_snapshot(self, state: int) -> None:
        """Take it back after one."""
        self.value = state


async def count_and_crash(counter: ActorRef[Counter], name: str) -> None:
    """Count to five, break the counter, and see what it says afterwards."""
    for _ in range(5):
        value = await counter.call(Counter.add, 1)
    print(f"{name}: counted to {value}")
    try:
        await counter.call(Counter.add, "one")  # type: ignore[arg-type] the bug that kills it
    except ActorDied as death:
        print(f"{name}: died of it ({death.reason})")
    print(f"{name}: back, and says {await ask_when_back(counter)}")


async def ask_when_back(counter: ActorRef[Counter]) -> int:
    """A reference by name reaches the next life as soon as there is one."""
    while True:
        try:
            return await counter.call(Counter.add, 0)
        except (NoSuchActor, ActorDied, CallTimeout):
            await trio.sleep(0.001)


async def in_a_process(system: ActorSystem) -> None:
    """The same class, in an operating system's process of its own."""
    counter = await system.start(
        Counter, name="far", isolation="process", restart="permanent", snapshot=Snapshot(every=1)
    )
    print(f"process: counted to {await counter.call(Counter.add, 5)}")
    counter.kill()
    print(f"process: killed by SIGKILL, back, and says {await ask_when_back(counter)}")


async def main() -> None:
    """Tell the three stories."""
    async with open_actor_system() as system:
        forgetful = await system.start(Counter, name="forgetful", restart="permanent")
        await count_and_crash(forgetful, "forgetful")
        careful = await system.start(Counter, name="careful", restart="permanent", snapshot=Snapshot(every=1))
        await count_and_crash(careful, "careful")
        await in_a_process(system)


if __name__ == "__main__":
    trio.run(main)
