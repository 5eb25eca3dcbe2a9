"""Stages as actors: the checklist's numbers about GenStage (R 182 to 189), with stages in tasks and in processes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kathikon_actors.actors.errors import NoSuchActor
from kathikon_actors.actors.ref import ActorRef
from kathikon_actors.actors.stages.consumer import Consumer
from kathikon_actors.actors.stages.dispatcher import SubscriptionRefused
from kathikon_actors.actors.stages.producer import Producer
from kathikon_actors.actors.system import ActorSystem, open_actor_system
from supervisors import Crash, ExitReason, Normal, Shutdown
from tests.stages.line import Collector, Crew, Doubler, Numbers, marks
from tests.support.waiting import eventually

ISOLATIONS = ["task", "process"]


@pytest.fixture
async def system() -> AsyncIterator[ActorSystem]:
    """An actor system that outlives any number of crashes."""
    async with open_actor_system(max_restarts=10**6) as system:
        yield system


@pytest.fixture(params=ISOLATIONS)
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """How the stages of a test run."""
    return {"isolation": request.param, "restart": "temporary"}


async def numbers_of(consumer: ActorRef[Collector]) -> list[int]:
    return [number for batch in await consumer.call(Collector.seen) for number in batch]


async def ended(ref: ActorRef[Any]) -> ExitReason:
    return (await ref.monitor().wait()).reason


async def test_r182_the_producer_is_asked_for_max_demand_first_and_then_for_what_falls_due(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """100 numbers, at most 10 on their way: no more is ever asked for than 10 beyond what was handled."""
    source = await system.start(Numbers, 100, **where)
    sink = await system.start(Collector, **where)
    await sink.call(Collector.subscribe, source, max_demand=10, min_demand=4)

    async def all_there() -> bool:
        return len(await numbers_of(sink)) == 100

    await eventually(all_there, "a hundred numbers arrive")
    assert await numbers_of(sink) == list(range(100))
    asked, _, _ = await source.call(Numbers.figures)
    assert asked[0] == 10
    assert all(6 <= ask <= 10 for ask in asked[1:])
    assert 100 < sum(asked) <= 110
    assert max(map(len, await sink.call(Collector.seen))) == 6


@pytest.mark.parametrize(("least", "sizes"), [(2, [8, 2]), (8, [2] * 5), (5, [5, 5])])
async def test_r183_ten_events_come_in_the_batches_of_genstage(
    system: ActorSystem, where: dict[str, Any], least: int, sizes: list[int]
) -> None:
    """max_demand 10; asks of the size that the specification gives."""
    source = await system.start(Numbers, 10, **where)
    sink = await system.start(Collector, **where)
    await sink.call(Collector.subscribe, source, max_demand=10, min_demand=least)

    async def all_there() -> bool:
        return len(await numbers_of(sink)) == 10

    await eventually(all_there, "ten numbers arrive")
    assert [len(batch) for batch in await sink.call(Collector.seen)] == sizes

    async def asked() -> bool:
        demands, _, _ = await source.call(Numbers.figures)
        return demands == [10, *([10 - least] * (10 // (10 - least)))]

    await eventually(asked, "the producer was asked again")


async def test_r184_what_nobody_asked_for_waits_in_order_and_the_oldest_goes_when_there_is_no_room(
    system: ActorSystem, caplog: pytest.LogCaptureFixture
) -> None:
    """A buffer of 5: of 8 numbers the last 5 arrive, and a warning tells of the 3."""
    source = await system.start(Numbers, 8, size=5)
    with caplog.at_level(logging.WARNING, "kathikon_actors"):
        assert await source.call(Numbers.push, 8) == 5
    assert "dropped 3 events" in caplog.text
    sink = await system.start(Collector)
    await sink.call(Collector.subscribe, source, max_demand=4)

    async def all_there() -> bool:
        return await numbers_of(sink) == [3, 4, 5, 6, 7]

    await eventually(all_there, "what was buffered arrives")


async def test_r185_events_sent_to_a_consumer_that_crashed_are_lost_and_later_ones_go_to_the_others(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """Nothing is sent twice."""
    source = await system.start(Numbers, 60, "demand", "accumulate", **where)
    bad = await system.start(Collector, poison=0, **where)
    good = await system.start(Collector, **where)
    await bad.call(Collector.subscribe, source, max_demand=10)
    assert (await source.call(Numbers.figures))[2] == 1
    await good.call(Collector.subscribe, source, max_demand=8)
    down = bad.monitor()
    await source.call(Numbers.set_demand, "forward")
    assert isinstance((await down.wait()).reason, Crash)

    async def rest_there() -> bool:
        return len(await numbers_of(good)) == 50

    await eventually(rest_there, "the other consumer gets the rest")
    assert await numbers_of(good) == list(range(10, 60))
    assert (await source.call(Numbers.figures))[2] == 1


@pytest.mark.parametrize(
    ("mode", "crash", "ends"),
    [
        ("permanent", False, True),
        ("permanent", True, True),
        ("transient", False, False),
        ("transient", True, True),
        ("temporary", False, False),
        ("temporary", True, False),
    ],
)
async def test_r186_what_the_end_of_the_producer_means_for_a_consumer(
    system: ActorSystem, where: dict[str, Any], mode: Any, crash: bool, ends: bool
) -> None:
    """Permanent: it ends with the producer's reason, even a normal one; transient: if that is abnormal."""
    source = await system.start(Numbers, 5, **where)
    sink = await system.start(Collector, **where)
    down = sink.monitor()
    await sink.call(Collector.subscribe, source, max_demand=10, cancel=mode)
    await source.call(Numbers.figures)
    source.cast(Numbers.crash if crash else Numbers.finish)
    if ends:
        reason = (await down.wait()).reason
        assert type(reason) is (Crash if crash else Normal)
        if isinstance(reason, Crash):
            assert "broken" in str(reason.exception)
    else:

        async def heard() -> bool:
            return [how for how, _ in await sink.call(Collector.how_it_ended)] == ["down"]

        await eventually(heard, "the consumer hears of it and lives")
        assert await numbers_of(sink) == list(range(5)), "what came before the end was handled"


async def test_a_subscription_to_the_dead_ends_at_once(system: ActorSystem, where: dict[str, Any]) -> None:
    """As noproc: a permanent consumer ends with `NoSuchActor`, a temporary one hears of it."""
    source = await system.start(Numbers, **where)
    await source.stop()
    sink = await system.start(Collector, **where)
    down = sink.monitor()
    await sink.call(Collector.subscribe, source)
    reason = (await down.wait()).reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, NoSuchActor)


async def test_r187_a_consumer_supervisor_never_has_more_children_than_max_demand(
    system: ActorSystem, where: dict[str, Any], tmp_path: Path
) -> None:
    """Twelve events, four at a time; each child fails once and holds its place while it is restarted."""
    source = await system.start(Numbers, 12, **where)
    crew = await system.start(Crew, str(tmp_path), "transient", fail=True, **where)
    await crew.call(Crew.subscribe, source, max_demand=4, min_demand=1)
    for done in range(4, 13):
        await eventually(lambda done=done: marks(tmp_path, "began") == list(range(done)), f"{done} children began")
        assert (await crew.call(Crew.count_children)).specs == 4
        (tmp_path / f"go-{done - 4}").touch()
    (tmp_path / "go").touch()
    await eventually(lambda: marks(tmp_path, "done") == list(range(12)), "all twelve are done")
    assert marks(tmp_path, "failed") == list(range(12))


async def test_a_consumer_supervisor_asks_when_min_demand_children_have_ended(
    system: ActorSystem, where: dict[str, Any], tmp_path: Path
) -> None:
    """max 4: with min 3 it asks for three after three ends."""
    source = await system.start(Numbers, **where)
    crew = await system.start(Crew, str(tmp_path), **where)
    await crew.call(Crew.subscribe, source, max_demand=4, min_demand=3)
    for number in range(3):
        (tmp_path / f"go-{number}").touch()

    async def asked() -> bool:
        return (await source.call(Numbers.figures))[0] == [4, 3]

    await eventually(asked, "three are asked for at once")
    (tmp_path / "go").touch()


async def test_r188_the_slowest_subscriber_sets_the_pace_of_a_broadcast(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """One takes 20 at a time, the other 5: the producer is asked for 5, and both get the same."""
    source = await system.start(Numbers, 40, "broadcast", "accumulate", **where)
    fast = await system.start(Collector, **where)
    slow = await system.start(Collector, **where)
    await fast.call(Collector.subscribe, source, max_demand=20)
    subscription = await slow.call(Collector.subscribe, source, manual=True)
    await source.call(Numbers.set_demand, "forward")
    assert (await source.call(Numbers.figures))[0] == []
    await slow.call(Collector.ask, subscription, 5)

    async def five() -> bool:
        return await numbers_of(slow) == await numbers_of(fast) == [0, 1, 2, 3, 4]

    await eventually(five, "both get five")
    await slow.call(Collector.cancel, subscription)

    async def all_there() -> bool:
        return len(await numbers_of(fast)) == 40

    await eventually(all_there, "without the slow one it goes on")
    assert await numbers_of(slow) == [0, 1, 2, 3, 4]


async def test_r189_a_consumer_supervisor_that_is_stopped_finishes_what_is_in_flight_and_takes_nothing_more(
    system: ActorSystem, where: dict[str, Any], tmp_path: Path
) -> None:
    """Ten children in flight are done when `stop` returns, and the producer has nobody left."""
    source = await system.start(Numbers, **where)
    crew = await system.start(Crew, str(tmp_path), shutdown=20.0, **where)
    await crew.call(Crew.subscribe, source, max_demand=10)
    await eventually(lambda: marks(tmp_path, "began") == list(range(10)), "ten children began")
    down = crew.monitor()
    crew.cast(Crew.count_children)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crew.stop, Shutdown())

        async def left() -> bool:
            return (await source.call(Numbers.figures))[2] == 0

        await eventually(left, "the intake is closed")
        assert down.down is None
        (tmp_path / "go").touch()
    assert marks(tmp_path, "done") == list(range(10))
    assert marks(tmp_path, "began") == list(range(10))


async def test_a_stage_between_asks_only_for_what_is_asked_of_it(system: ActorSystem, where: dict[str, Any]) -> None:
    """Demand travels up the line: the last asks for 4, the middle takes one batch of 3 (six numbers), and no more."""
    source = await system.start(Numbers, **where)
    middle = await system.start(Doubler, **where)
    last = await system.start(Collector, **where)
    await middle.call(Doubler.subscribe, source, max_demand=6, min_demand=3)
    subscription = await last.call(Collector.subscribe, middle, manual=True)

    async def six_have_come() -> bool:
        return await middle.call(Doubler.waiting) == (0, 2)

    await eventually(six_have_come, "two batches wait")
    await last.call(Collector.ask, subscription, 4)

    async def there() -> bool:
        return await numbers_of(last) == [0, 0, 1, 1]

    await eventually(there, "what was asked for")

    async def one_batch_was_replaced() -> bool:
        return await middle.call(Doubler.waiting) == (2, 2)

    await eventually(one_batch_was_replaced, "one batch was handled, and another has come")
    assert (await source.call(Numbers.figures))[0] == [6, 3]
    await last.call(Collector.ask, subscription, 3)

    async def more_there() -> bool:
        return await numbers_of(last) == [0, 0, 1, 1, 2, 2, 3]

    await eventually(more_there, "the buffer first, then the next batch")


async def test_what_came_before_the_end_of_its_producer_a_stage_between_hands_on(
    system: ActorSystem, where: dict[str, Any]
) -> None:
    """A permanent stage ends only after that, and so does who follows it."""
    source = await system.start(Numbers, 10, **where)
    middle = await system.start(Doubler, **where)
    await middle.call(Doubler.subscribe, source, max_demand=100)
    await source.call(Numbers.finish)
    last = await system.start(Collector, **where)
    down = middle.monitor()
    await last.call(Collector.subscribe, middle, max_demand=7, cancel="temporary")
    assert isinstance((await down.wait()).reason, Normal)

    async def there() -> bool:
        return bool(await numbers_of(last))

    await eventually(there, "some arrived")
    got = await numbers_of(last)
    assert got == [number for number in range(10) for _ in range(2)][: len(got)]


async def test_partitions_get_their_own_events(system: ActorSystem, where: dict[str, Any]) -> None:
    """Even numbers to one, odd to the other; a third consumer of a partition is refused with its reason."""
    source = await system.start(Numbers, 100, "partition", **where)
    even, odd, third = [await system.start(Collector, **where) for _ in range(3)]
    await even.call(Consumer.subscribe, source, max_demand=10, partition=0)
    await odd.call(Consumer.subscribe, source, max_demand=10, partition=1)

    async def all_there() -> bool:
        return len(await numbers_of(even)) + len(await numbers_of(odd)) == 100

    await eventually(all_there, "all arrive")
    assert await numbers_of(even) == list(range(0, 100, 2))
    assert await numbers_of(odd) == list(range(1, 100, 2))
    down = third.monitor()
    await third.call(Consumer.subscribe, source, partition=1)
    reason = (await down.wait()).reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, SubscriptionRefused)


async def test_a_restarted_producer_does_not_know_its_old_consumers(system: ActorSystem) -> None:
    """By name: the consumer that stays hears of the end once, and subscribes anew."""
    source = await system.start(Numbers, 5, name="source")
    sink = await system.start(Collector)
    await sink.call(Collector.subscribe, source, max_demand=10, cancel="temporary")
    await eventually(lambda: numbers_are(sink, [0, 1, 2, 3, 4]), "five numbers")
    source.kill()

    async def heard() -> bool:
        return len(await sink.call(Collector.how_it_ended)) == 1

    await eventually(heard, "the consumer hears")
    await eventually(lambda: source.alive, "the producer is back")
    await sink.call(Collector.subscribe, source, max_demand=10, cancel="temporary")
    await eventually(lambda: numbers_are(sink, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]), "five more")


async def numbers_are(sink: ActorRef[Collector], wanted: list[int]) -> bool:
    return await numbers_of(sink) == wanted


async def test_a_stage_without_its_methods_says_which_is_missing(system: ActorSystem) -> None:
    """The names of the class and of the method."""
    source = await system.start(Producer, restart="temporary")
    sink = await system.start(Collector, restart="temporary")
    down = source.monitor()
    await sink.call(Collector.subscribe, source, cancel="temporary")
    reason = (await down.wait()).reason
    assert "Producer has no handle_demand" in str(reason)
