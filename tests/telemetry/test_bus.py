"""The bus by itself: who emits never waits, and one bad subscriber is its own problem only."""

from __future__ import annotations

import threading

import pytest
import trio

from kathikon_actors import BadConfiguration
from kathikon_actors.telemetry import Bus, Event, NodeChanged, QueueChanged, StoreFlushed
from tests.support.waiting import eventually


async def test_a_bus_that_nobody_listens_to_is_not_active() -> None:
    """What emitters ask before they make an event."""
    bus = Bus("n1")
    assert not bus.active
    assert not bus.wants(QueueChanged)
    bus.emit(QueueChanged(queue="mail", action="paused"))
    subscription = bus.subscribe(print)
    assert bus.active
    assert bus.wants(QueueChanged)
    subscription.close()
    subscription.close()
    assert not bus.active
    assert not bus.wants(QueueChanged)


async def test_events_come_in_order_with_the_node_and_the_time_filled_in() -> None:
    """A handler gets what it asked for and nothing else."""
    bus = Bus("n1", clock=lambda: 12.5)
    heard: list[Event] = []
    bus.subscribe(heard.append, QueueChanged)
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.serve)
        for index in range(1_200):
            bus.emit(QueueChanged(queue=f"q{index}", action="scaled", value=index))
            bus.emit(NodeChanged(action="leading"))
        await eventually(lambda: len(heard) == 1_200, "all have come")
        nursery.cancel_scope.cancel()
    assert [event.value for event in heard] == list(range(1_200))  # type: ignore[attr-defined]
    assert {(event.node, event.at) for event in heard} == {("n1", 12.5)}
    assert heard[0].to_dict() == {
        "event": "QueueChanged", "at": "1970-01-01T00:00:12.500000+00:00", "node": "n1", "queue": "q0",
        "action": "scaled", "value": 0, "reason": None,
    }  # fmt: skip


async def test_a_handler_that_blocks_holds_up_neither_the_emitter_nor_the_other_handlers() -> None:
    """Its own buffer fills up, and what comes on top is dropped and counted."""
    bus, release, heard = Bus("n1"), threading.Event(), []  # type: ignore[var-annotated]
    stuck = bus.subscribe(lambda _event: release.wait(20), buffer=10)
    bus.subscribe(heard.append)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(bus.serve)
            bus.emit(NodeChanged(action="started"))
            await eventually(lambda: len(heard) == 1, "the other handler hears it")
            for _ in range(50):
                bus.emit(NodeChanged(action="leading"))
            await eventually(lambda: len(heard) == 51, "the other handler hears all")
            assert stuck.dropped == 40
            nursery.cancel_scope.cancel()
    finally:
        release.set()


async def test_a_handler_that_raises_stays_subscribed() -> None:
    """Each failure is counted; the next event comes all the same."""
    bus = Bus("n1")
    heard: list[str] = []

    def handler(event: Event) -> None:
        assert isinstance(event, NodeChanged)
        heard.append(event.action)
        if event.action == "bad":
            raise SystemExit("handlers end nothing")

    subscription = bus.subscribe(handler)
    async with trio.open_nursery() as nursery:
        await nursery.start(bus.serve)
        for action in ("bad", "good", "bad"):
            bus.emit(NodeChanged(action=action))
        await eventually(lambda: subscription.delivered == 3, "all three were handed over")
        nursery.cancel_scope.cancel()
    assert heard == ["bad", "good", "bad"]
    assert subscription.errors == 2


async def test_what_is_buffered_when_the_server_of_handlers_stops_is_flushed_at_the_end() -> None:
    """Nothing that happens while the tree stops is lost, and a handler that hangs delays the end by the limit only."""
    bus, heard, release = Bus("n1"), [], threading.Event()  # type: ignore[var-annotated]
    bus.subscribe(heard.append)
    bus.subscribe(lambda _event: release.wait(20))
    bus.emit(NodeChanged(action="stopped"))
    begun = trio.current_time()
    await bus.flush(0.2)
    assert trio.current_time() - begun < 5
    with trio.fail_after(20):
        while not heard:  # its thread had not begun within the limit, on a busy machine: what is buffered is kept
            await bus.flush(0.2)
    assert [event.action for event in heard] == ["stopped"]
    release.set()


async def test_a_stream_begins_when_it_is_made_and_ends_with_the_bus() -> None:
    """For `async for`; what came between the making and the first look is there."""
    bus = Bus("n1")
    stream = bus.stream(StoreFlushed)
    bus.emit(StoreFlushed(lane="inserts", rows=3, seconds=0.1))
    async with stream as events:
        first = await events.__anext__()
        assert isinstance(first, StoreFlushed)
        assert first.rows == 3
        bus.close()
        assert [event async for event in events] == []
    assert not bus.active


@pytest.mark.parametrize(("kinds", "buffer"), [((int,), 10), ((), 0), ((), True), (("JobTransition",), 10)])
async def test_what_cannot_be_subscribed_to_is_refused(kinds: tuple[object, ...], buffer: int) -> None:
    """With a word about what is wrong; nothing is subscribed."""
    bus = Bus("n1")
    with pytest.raises(BadConfiguration, match="subscribe"):
        bus.subscribe(print, *kinds, buffer=buffer)  # type: ignore[arg-type]
    assert not bus.active
