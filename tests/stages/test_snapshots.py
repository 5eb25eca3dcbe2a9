"""Actors that come back with their last snapshot, in tasks and in processes."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from kathikon_actors import (
    Actor,
    ActorRef,
    MemorySnapshots,
    NoSnapshotMethods,
    Snapshot,
    SnapshotEvent,
    SnapshotLost,
    SnapshotRejected,
    StoredSnapshot,
    open_actor_system,
)
from kathikon_actors.actors.system import ActorSystem
from kathikon_actors.jobs.errors import LeaseLost, StoreUnavailable
from supervisors import InvalidSpec
from tests.stages.states import Choosy, Counter, Opaque
from tests.support.waiting import eventually

ISOLATIONS = ["task", "process"]


class Sink(MemorySnapshots):
    """A sink that tells how often it was used, and fails when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: Exception | None = None
        self.saves = 0
        self.tries = 0

    async def save(self, actor: str, snapshot: StoredSnapshot) -> int:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        self.saves += 1
        return await super().save(actor, snapshot)


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
async def system(sink: Sink) -> AsyncIterator[ActorSystem]:
    async with open_actor_system(max_restarts=10**6, store=sink) as system:
        yield system


@pytest.fixture(params=ISOLATIONS)
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the actors of a test run."""
    return {"isolation": request.param}


async def crash(ref: ActorRef[Any]) -> None:
    """Crash an actor, and return when it is back."""
    down = ref.monitor()
    ref.cast(Counter.crash)
    await down.wait()
    await eventually(lambda: ref.alive, "the actor is back")


async def test_state_after_a_crash_is_the_last_snapshot(system: ActorSystem, where: dict[str, Any]) -> None:
    """Every third message: seven additions leave the state after the sixth."""
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=3, interval=math.inf), **where)
    for _ in range(7):
        await counter.call(Counter.add, 1)
    await crash(counter)
    assert await counter.call(Counter.add, 0) == 6


async def test_a_kill_loses_no_more_than_a_crash(system: ActorSystem, where: dict[str, Any]) -> None:
    """`ref.kill()`, and the next life goes on."""
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=1), **where)
    assert await counter.call(Counter.add, 5) == 5
    await eventually(lambda: kept(system, "counter", 1), "the snapshot has arrived")
    down = counter.monitor()
    counter.kill()
    await down.wait()
    await eventually(lambda: counter.alive, "it is back")
    assert await counter.call(Counter.add, 1) == 6


async def kept(system: ActorSystem, name: str, versions: int) -> bool:
    return len(await system.snapshots.load(name)) >= versions


async def test_a_state_is_taken_after_its_interval_without_another_message(
    system: ActorSystem, sink: Sink, where: dict[str, Any]
) -> None:
    """One message, then nothing; and no second snapshot where nothing was handled since."""
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=100, interval=0.05), **where)
    await counter.call(Counter.add, 5)
    await eventually(lambda: sink.saves == 1, "it is kept")
    await trio.sleep(0.12)
    assert sink.saves == 1
    await crash(counter)
    assert await counter.call(Counter.add, 0) == 5


async def test_an_actor_that_ends_in_order_leaves_its_very_last_state(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """Stopped after a message that no snapshot was due for; its next start goes on with it."""
    options = Snapshot(every=100, interval=math.inf)
    counter = await system.start(Counter, name="counter", snapshot=options, **where)
    await counter.call(Counter.add, 5)
    await counter.stop()
    again = await system.start(Counter, name="counter", snapshot=options, **where)
    assert await again.call(Counter.add, 1) == 6


async def test_deleted_snapshots_let_the_next_life_begin_from_scratch(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """`system.snapshots.delete(name)`."""
    options = Snapshot(every=1)
    counter = await system.start(Counter, name="counter", snapshot=options, **where)
    await counter.call(Counter.add, 5)
    await counter.stop()
    await system.snapshots.delete("counter")
    again = await system.start(Counter, name="counter", snapshot=options, **where)
    assert await again.call(Counter.add, 1) == 1


async def test_a_restore_that_raises_means_a_start_from_scratch_and_an_event(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """With a new object: nothing of the half that was taken stays."""
    events: list[SnapshotEvent] = []
    system.snapshots.subscribe(events.append)
    counter = await system.start(Choosy, name="counter", snapshot=Snapshot(every=1), **where)
    await counter.call(Counter.add, 5)
    await eventually(lambda: kept(system, "counter", 1), "the snapshot has arrived")
    await crash(counter)
    assert await counter.call(Counter.add, 1) == 1
    assert await counter.call(Choosy.names) == []
    [event] = events
    assert isinstance(event, SnapshotRejected)
    assert (event.actor, event.version, type(event.error)) == ("counter", 1, LookupError)


async def test_a_snapshot_that_cannot_be_read_makes_room_for_the_one_before(
    system: ActorSystem, sink: Sink, where: dict[str, Any]
) -> None:
    """And an event tells of it."""
    events: list[SnapshotEvent] = []
    system.snapshots.subscribe(events.append)
    good = StoredSnapshot("msgpack", b"\x82\xa5value\x07\xa5names\x90")
    await sink.save("counter", good)
    await sink.save("counter", StoredSnapshot("msgpack", good.state[:-3]))
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(), **where)
    assert await counter.call(Counter.add, 0) == 7
    assert [(type(event), event.actor) for event in events] == [(SnapshotRejected, "counter")]


async def test_a_state_that_cannot_be_written_is_told_and_the_actor_lives(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """`SnapshotLost`, with what is wrong; once a message that was due."""
    events: list[SnapshotEvent] = []
    system.snapshots.subscribe(events.append)
    counter = await system.start(Opaque, name="counter", snapshot=Snapshot(every=1), **where)
    assert await counter.call(Counter.add, 1) == 1
    assert await counter.call(Counter.add, 1) == 2
    await eventually(lambda: events, "it is told")
    assert isinstance(events[0], SnapshotLost)
    assert "msgpack" in str(events[0].error)


async def test_while_the_store_is_away_the_newest_state_waits_and_no_actor_does(
    system: ActorSystem, sink: Sink, where: dict[str, Any]
) -> None:
    """A hundred messages are answered; a crash meanwhile finds the state that waits; at last one save is enough."""
    sink.failure = StoreUnavailable("cut")
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=1), **where)
    for _ in range(100):
        await counter.call(Counter.add, 1)

    async def waits() -> bool:
        return b"d" in b"".join(one.state for one in await system.snapshots.load("counter"))

    await eventually(waits, "the newest waits")
    await crash(counter)
    assert await counter.call(Counter.add, 0) == 100
    sink.failure = None
    await eventually(lambda: sink.saves > 0, "it is kept once the store is back")
    assert sink.saves <= 2


async def test_a_state_of_the_past_is_dropped_and_told(system: ActorSystem, sink: Sink) -> None:
    """Fenced: another life of the node has the name; nothing is tried again for ever."""
    events: list[SnapshotEvent] = []
    system.snapshots.subscribe(events.append)
    sink.failure = LeaseLost("n", 3)
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=1))
    await counter.call(Counter.add, 1)
    await eventually(lambda: events, "it is told")
    assert isinstance(events[0], SnapshotLost)
    assert isinstance(events[0].error, LeaseLost)
    assert sink.tries == 1


async def test_what_an_actor_with_snapshots_needs_is_said_before_anything_starts(system: ActorSystem) -> None:
    """A name, the two methods, and a `Snapshot`."""
    with pytest.raises(InvalidSpec, match="name="):
        await system.start(Counter, snapshot=Snapshot())
    with pytest.raises(InvalidSpec, match="every="):
        await system.start(Counter, name="a", snapshot=100)  # type: ignore[arg-type]
    with pytest.raises(NoSnapshotMethods, match="take_snapshot"):
        await system.start(Actor, name="a", snapshot=Snapshot())


async def test_a_hundred_crashes_each_find_the_state_of_the_message_before(system: ActorSystem) -> None:
    """A snapshot after every message, and a crash after each: nothing is lost or counted twice. 100 rounds."""
    counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=1))
    for number in range(1, 101):
        assert await counter.call(Counter.add, 1) == number
        await crash(counter)


async def test_the_end_of_a_system_keeps_every_last_state(sink: Sink) -> None:
    """Leaving the block: ten actors, none of whose states was due."""
    async with open_actor_system(store=sink) as system:
        for number in range(10):
            options = Snapshot(every=10**6, interval=math.inf)
            await (await system.start(Counter, name=f"c{number}", snapshot=options)).call(Counter.add, number)
    async with open_actor_system(store=sink) as system:
        for number in range(10):
            counter = await system.start(Counter, name=f"c{number}", snapshot=Snapshot())
            assert await counter.call(Counter.add, 0) == number
