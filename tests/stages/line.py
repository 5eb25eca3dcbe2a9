"""Stages for the tests, importable by other processes."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from kathikon_actors.actors.ref import ActorRef
from kathikon_actors.actors.stages.consumer import Consumer
from kathikon_actors.actors.stages.consumer_supervisor import ConsumerSupervisor
from kathikon_actors.actors.stages.dispatcher import Dispatcher
from kathikon_actors.actors.stages.dispatchers import BroadcastDispatcher, DemandDispatcher, PartitionDispatcher
from kathikon_actors.actors.stages.messages import Subscription
from kathikon_actors.actors.stages.producer import DemandMode, Producer
from kathikon_actors.actors.stages.producer_consumer import ProducerConsumer
from supervisors import ChildSpec, ExitReason


class Numbers(Producer[int]):
    """Counts upwards as far as it is asked, up to `stop`."""

    def __init__(
        self, stop: int = 10**9, rule: str = "demand", mode: DemandMode = "forward", size: int = 10_000
    ) -> None:
        self.stop_at = stop
        self.next = 0
        self.asked: list[int] = []
        self.rule = rule
        self.demand_mode = mode
        self.buffer_size = size

    def dispatcher(self) -> Dispatcher:
        if self.rule == "partition":
            return PartitionDispatcher(2)
        return BroadcastDispatcher() if self.rule == "broadcast" else DemandDispatcher()

    async def handle_demand(self, demand: int) -> list[int]:
        self.asked.append(demand)
        numbers = list(range(self.next, min(self.next + demand, self.stop_at)))
        self.next += len(numbers)
        return numbers

    async def push(self, count: int) -> int:
        """Emit without being asked."""
        self.emit(range(self.next, self.next + count))
        self.next += count
        return self.buffered

    async def figures(self) -> tuple[list[int], int, int]:
        """Every demand so far, what is buffered, how many are subscribed."""
        return self.asked, self.buffered, len(self.subscriptions)

    async def finish(self) -> None:
        self.stop()

    async def crash(self) -> None:
        raise ValueError("broken")


class Collector(Consumer[int]):
    """Keeps what it gets, batch by batch; waits for `go` before each if it is `gated`."""

    def __init__(self, gated: bool = False, poison: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.ended: list[tuple[str, ExitReason]] = []
        self.gated = gated
        self.poison = poison

    async def handle_events(self, events: list[int]) -> None:
        if self.poison in events:
            raise ValueError(f"poison {self.poison}")
        self.batches.append(events)

    async def handle_cancel(self, subscription: Subscription, how: str, reason: ExitReason) -> None:
        self.ended.append((how, reason))

    async def seen(self) -> list[list[int]]:
        return self.batches

    async def how_it_ended(self) -> list[tuple[str, ExitReason]]:
        return self.ended


class Doubler(ProducerConsumer[int, int]):
    """Each number twice."""

    async def handle_events(self, events: list[int]) -> list[int]:
        return [number for number in events for _ in range(2)]

    async def waiting(self) -> tuple[int, int]:
        return self.buffered, len(self._inbox)


async def work(directory: str, number: int, fail: bool) -> None:
    """One event: leave a mark of its begin, wait until told, leave a mark of its end."""
    path = trio.Path(directory)
    await (path / f"began-{number}-{os.getpid()}").write_text("")
    while not (await (path / f"go-{number}").exists() or await (path / "go").exists()):
        await trio.sleep(0.002)
    if fail and not await (path / f"failed-{number}").exists():
        await (path / f"failed-{number}").write_text("")
        raise ValueError("once")
    await (path / f"done-{number}").write_text("")


class Crew(ConsumerSupervisor[int]):
    """A child for each number."""

    def __init__(self, directory: str, restart: str = "temporary", fail: bool = False) -> None:
        self.directory = directory
        self.restart = restart
        self.fail = fail
        self.max_restarts = 1000

    def child_spec(self, event: int) -> ChildSpec:
        return ChildSpec("work", work, args=(self.directory, event, self.fail), restart=self.restart)  # type: ignore[arg-type]


def marks(directory: Path, kind: str) -> list[int]:
    """The numbers that left a mark of this kind."""
    return sorted({int(path.name.split("-")[1]) for path in directory.glob(f"{kind}-*")})


Source = ActorRef[Numbers]
