"""GenStage's arithmetic on the producer's side: dispatchers, buffer, demand."""

from collections import Counter, defaultdict
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.actors.stages.buffer import Buffer
from kathikon_actors.actors.stages.dispatcher import Dispatcher, SubscriptionRefused
from kathikon_actors.actors.stages.dispatchers import BroadcastDispatcher, DemandDispatcher, PartitionDispatcher
from kathikon_actors.actors.stages.outlet import Outlet


def outlet(dispatcher: Dispatcher, *keys: str, size: int | None = None, keep: str = "last") -> Outlet:
    made = Outlet(dispatcher, Buffer(size, keep))  # type: ignore[arg-type]
    for key in keys:
        options = {"partition": int(key[1:])} if isinstance(dispatcher, PartitionDispatcher) else {}
        made.subscribe(key, key, options)
    return made


def test_r184_surplus_waits_in_order_and_the_oldest_is_dropped_when_there_is_no_room() -> None:
    """A buffer of 3 keeps the last three of five; they go out first when somebody asks."""
    stage = outlet(DemandDispatcher(), "a", size=3)
    stage.emit([1, 2, 3, 4, 5])
    assert (stage.buffered, stage.dropped, stage.take_deliveries()) == (3, 2, [])
    assert stage.ask("a", 2) == 0
    assert stage.ask("a", 4) == 3
    assert stage.take_deliveries() == [("a", [3, 4]), ("a", [5])]


def test_a_buffer_that_keeps_the_first_drops_what_comes_last() -> None:
    """`keep="first"`."""
    stage = outlet(DemandDispatcher(), "a", size=3, keep="first")
    stage.emit([1, 2])
    stage.emit([3, 4, 5])
    stage.ask("a", 10)
    assert stage.take_deliveries() == [("a", [1, 2, 3])]
    assert stage.dropped == 2


def test_the_largest_demand_is_served_first() -> None:
    """DemandDispatcher: to whoever waits for most; among equals to the one that waits longer."""
    stage = outlet(DemandDispatcher(), "a", "b", "c")
    assert [stage.ask(key, count) for key, count in (("a", 2), ("b", 5), ("c", 2))] == [2, 5, 2]
    stage.emit([1, 2, 3])
    stage.emit([4, 5, 6])
    assert stage.take_deliveries() == [("b", [1, 2, 3]), ("a", [4, 5]), ("c", [6])]


def test_demand_of_a_cancelled_consumer_is_used_up_by_those_who_ask_next() -> None:
    """The producer is not asked twice for the same events."""
    stage = outlet(DemandDispatcher(), "a", "b")
    assert stage.ask("a", 10) == 10
    assert stage.cancel("a") == 0
    assert (stage.ask("b", 4), stage.ask("b", 8), stage.ask("b", 1)) == (0, 2, 1)


def test_what_came_for_a_consumer_that_left_is_not_forgotten_in_the_buffer() -> None:
    """It was asked for by one and is taken by the next; then the producer is asked again."""
    stage = outlet(DemandDispatcher(), "a", "b")
    stage.ask("a", 10)
    stage.cancel("a")
    stage.emit(list(range(10)))
    assert stage.ask("b", 4) == 0
    assert stage.ask("b", 8) == 2
    assert stage.take_deliveries() == [("b", [0, 1, 2, 3]), ("b", [4, 5, 6, 7, 8, 9])]


def test_what_came_for_a_partition_that_left_does_not_count_for_the_others() -> None:
    """Events that came for it and belong to the other partition wait; its consumer's next asks are met and heard."""
    stage = outlet(PartitionDispatcher(2), "p0", "p1")
    stage.ask("p0", 5)
    stage.cancel("p0")
    stage.emit([1, 3, 5, 7, 9])
    assert stage.ask("p1", 5) == 0
    assert stage.take_deliveries() == [("p1", [1, 3, 5, 7, 9])]
    assert stage.ask("p1", 3) == 3


def test_events_that_belong_to_no_partition_use_nobodys_demand() -> None:
    """`hash` gives None: the event is dropped, and another one is asked for."""
    stage = Outlet(PartitionDispatcher(2, hash=lambda event: None if event < 0 else event % 2), Buffer(None))
    stage.subscribe("p0", "p0", {"partition": 0})
    assert stage.ask("p0", 2) == 2
    assert stage.emit([-1, 2]) == 1
    assert stage.take_deliveries() == [("p0", [2])]


def test_what_is_buffered_goes_out_before_what_is_still_owed() -> None:
    """A consumer left, the producer gave one of two: the next consumer gets that one first."""
    stage = outlet(DemandDispatcher(), "a", "b")
    assert stage.ask("a", 2) == 2
    stage.cancel("a")
    stage.emit([0])
    assert stage.ask("b", 1) == 0
    stage.emit([1])
    assert stage.ask("b", 1) == 0
    assert stage.take_deliveries() == [("b", [0]), ("b", [1])]


def test_r188_the_slowest_subscriber_of_a_broadcast_sets_the_pace() -> None:
    """Everybody gets the same events, no sooner than everybody asked for them."""
    stage = outlet(BroadcastDispatcher(), "fast", "slow")
    assert stage.ask("fast", 10) == 0
    assert stage.ask("slow", 2) == 2
    stage.emit([1, 2, 3])
    assert stage.take_deliveries() == [("fast", [1, 2]), ("slow", [1, 2])]
    assert stage.buffered == 1
    assert stage.ask("slow", 3) == 2
    assert stage.take_deliveries() == [("fast", [3]), ("slow", [3])]


def test_when_the_slowest_leaves_a_broadcast_the_others_go_on() -> None:
    """Its leaving makes demand."""
    stage = outlet(BroadcastDispatcher(), "fast", "slow")
    stage.ask("fast", 10)
    assert stage.cancel("slow") == 10
    stage.emit([1])
    assert stage.take_deliveries() == [("fast", [1])]


def test_who_joins_a_broadcast_later_does_not_hold_back_what_was_asked_for() -> None:
    """It gets those events too, and they count against its own demand."""
    stage = outlet(BroadcastDispatcher(), "a")
    assert stage.ask("a", 5) == 5
    stage.subscribe("b", "b", {})
    assert stage.ask("b", 5) == 0
    stage.emit([1, 2])
    assert stage.take_deliveries() == [("a", [1, 2]), ("b", [1, 2])]


def test_events_that_a_selector_left_out_are_made_good() -> None:
    """Whoever does not want an event has one more to come."""
    stage = outlet(BroadcastDispatcher(), "all")
    stage.subscribe("even", "even", {"selector": lambda event: event % 2 == 0})
    stage.ask("all", 4)
    assert stage.ask("even", 4) == 4
    assert stage.emit([1, 2, 3, 4]) == 0
    assert stage.take_deliveries() == [("all", [1, 2, 3, 4]), ("even", [2, 4])]
    assert stage.ask("all", 4) == 2, "two of `even` are still to come"


def test_a_partition_gets_its_events_and_one_that_lags_holds_back_the_others() -> None:
    """Events of a partition that has not asked wait in its queue and use up the common demand."""
    stage = outlet(PartitionDispatcher(2), "p0", "p1")
    assert stage.ask("p0", 3) == 3
    stage.emit([0, 1, 3, 2])
    assert stage.take_deliveries() == [("p0", [0])]
    assert stage.buffered == 1, "three were asked for; the fourth is surplus"
    assert stage.ask("p1", 2) == 1
    assert stage.take_deliveries() == [("p1", [1, 3]), ("p0", [2])]


def test_a_partition_that_is_left_drops_its_queue_and_the_producer_makes_up_for_it() -> None:
    """As many others are asked for."""
    stage = outlet(PartitionDispatcher(2), "p0", "p1")
    stage.ask("p0", 3)
    stage.emit([1, 3])
    assert stage.cancel("p1") == 2
    stage.subscribe("again", "x", {"partition": 1})
    stage.ask("again", 1)
    stage.emit([5])
    assert stage.take_deliveries() == [("again", [5])]


def test_dispatchers_refuse_what_they_cannot_serve_and_name_what_fits() -> None:
    """An unknown option, a taken or unknown partition, the same consumer twice."""
    partitions = outlet(PartitionDispatcher(["eu", "us"]))
    partitions.subscribe("k", "consumer", {"partition": "eu"})
    for options, told in (({}, "partition="), ({"partition": "eu"}, "already"), ({"partition": "asia"}, "'eu', 'us'")):
        with pytest.raises(SubscriptionRefused, match=told):
            partitions.subscribe("other", "other", options)
    with pytest.raises(SubscriptionRefused, match="no subscription option 'partition'"):
        outlet(DemandDispatcher()).subscribe("k", "c", {"partition": 1})
    with pytest.raises(SubscriptionRefused, match="once"):
        outlet(BroadcastDispatcher(), "a").subscribe("b", "a", {})


KEYS = ["p0", "p1", "p2"]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(KEYS), st.integers(1, 6)),
        st.tuples(st.just("emit"), st.integers(0, 8), st.just(0)),
        st.tuples(st.just("cancel"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.just("subscribe"), st.sampled_from(KEYS), st.just(0)),
    ),
    max_size=40,
)
MAKERS = {
    "demand": DemandDispatcher,
    "broadcast": BroadcastDispatcher,
    "partition": lambda: PartitionDispatcher(3),
}


@pytest.mark.parametrize("honest", [True, False], ids=["producer gives what it is asked for", "producer pushes"])
@pytest.mark.parametrize("rule", MAKERS)
@given(steps=STEPS)
def test_nobody_gets_more_than_it_asked_for_nothing_is_lost_nothing_stalls_and_order_holds(
    rule: str, honest: bool, steps: list[tuple[str, object, int]]
) -> None:
    """Over any mix of asks, events, joins and leaves, whether the producer gives what it is asked for or pushes."""
    stage = Outlet(MAKERS[rule](), Buffer(None))
    lives: Counter[str] = Counter()
    asked: Counter[Hashable] = Counter()
    got: dict[Hashable, list[int]] = defaultdict(list)
    emitted = demanded = 0

    def deliver() -> None:
        for to, events in stage.take_deliveries():
            assert events
            got[to] += events

    for what, one, count in steps:
        if what == "emit":
            assert isinstance(one, int)
            size = min(one, demanded) if honest else one
            demanded -= min(size, demanded)
            stage.emit(list(range(emitted, emitted + size)))
            emitted += size
        else:
            assert isinstance(one, str)
            key = (one, lives[one])
            if what == "subscribe" and key not in stage:
                lives[one] += 1
                options = {"partition": int(one[1:])} if rule == "partition" else {}
                stage.subscribe((one, lives[one]), one, options)
            elif what == "ask" and key in stage:
                asked[key] += count
                demanded += stage.ask(key, count)
            elif what == "cancel":
                demanded += stage.cancel(key)
        deliver()
    stage.emit(list(range(emitted, emitted + demanded)))
    emitted += demanded
    deliver()
    for key, events in got.items():
        assert len(events) <= asked[key]
        assert events == sorted(set(events)), "in order, each once"
        if rule == "partition":
            assert all(event % 3 == int(key[0][1:]) for event in events)  # type: ignore[index]
    if rule == "demand":
        everything = sorted(event for events in got.values() for event in events)
        assert len(everything) + stage.buffered == emitted
        assert everything == list(range(len(everything))), "the oldest go out first"
    unmet = [asked[(one, life)] - len(got[(one, life)]) for one, life in lives.items() if (one, life) in stage]
    if rule != "partition" and unmet:
        assert (min(unmet) if rule == "broadcast" else max(unmet)) == 0, "all that was asked for has come"


def test_a_buffer_or_keep_that_cannot_be_is_refused() -> None:
    """Zero events, or neither first nor last."""
    with pytest.raises(ValueError, match="buffer_size"):
        Buffer(0)
    with pytest.raises(ValueError, match="buffer_keep"):
        Buffer(1, "middle")  # type: ignore[arg-type]
