"""GenStage's arithmetic on the consumer's side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.actors.stages.demand import Demand, check_demand


def batches_of(max_demand: int, min_demand: int | None, events: int) -> tuple[list[int], list[int]]:
    demand = Demand[int](max_demand, min_demand)
    demand.begin()
    batches, excess = demand.receive(range(events))
    assert excess == 0
    return [len(batch.events) for batch in batches], [batch.ask for batch in batches if batch.ask]


@pytest.mark.parametrize(
    ("max_demand", "min_demand", "batches", "asks"),
    [(10, 2, [8, 2], [8]), (10, 8, [2] * 5, [2] * 5), (10, None, [5, 5], [5, 5]), (1, None, [1] * 10, [1] * 10)],
)
def test_r183_ten_events_are_cut_and_asked_for_anew_as_genstage_does(
    max_demand: int, min_demand: int | None, batches: list[int], asks: list[int]
) -> None:
    """The figures of the specification; with max 1 each event is asked for by itself."""
    if max_demand == 1:
        demand = Demand[int](1)
        for number in range(10):
            assert demand.begin() == 1
            cut, _ = demand.receive([number])
            assert [(batch.events, batch.ask) for batch in cut] == [([number], 1)]
        return
    assert batches_of(max_demand, min_demand, 10) == (batches, asks)


@given(st.data(), st.integers(1, 50))
def test_r182_outstanding_never_exceeds_max_and_more_is_asked_for_only_at_min(data: st.DataObject, most: int) -> None:
    """Whatever sizes a producer delivers in, within what it was asked for."""
    least = data.draw(st.integers(0, most - 1))
    demand = Demand[int](most, least)
    on_the_way = demand.begin()
    given_so_far = 0
    for _ in range(data.draw(st.integers(1, 20))):
        size = data.draw(st.integers(0, on_the_way))
        batches, excess = demand.receive(range(given_so_far, given_so_far + size))
        assert excess == 0
        assert [event for batch in batches for event in batch.events] == list(range(given_so_far, given_so_far + size))
        given_so_far += size
        for batch in batches:
            assert 1 <= len(batch.events) <= most - least
            on_the_way -= len(batch.events)
            assert (batch.ask > 0) == (on_the_way <= least)
            on_the_way += batch.ask
            assert on_the_way <= most
        assert demand.outstanding == on_the_way


@given(st.integers(1, 20), st.integers(0, 60))
def test_events_in_excess_are_handled_and_counted_but_meet_no_demand(most: int, size: int) -> None:
    """A producer that pushes more than it was asked for does not get its credit twice."""
    demand = Demand[int](most)
    demand.begin()
    batches, excess = demand.receive(range(size))
    assert sum(len(batch.events) for batch in batches) == size
    assert excess == max(0, size - most)
    assert sum(batch.ask for batch in batches) <= most


@pytest.mark.parametrize(("most", "least"), [(0, None), (-1, None), (True, None), (1.5, None), (5, 5), (5, -1)])
def test_demands_that_cannot_be_are_refused_with_what_would_fit(most: int, least: int | None) -> None:
    """min_demand is at most max_demand - 1."""
    with pytest.raises(ValueError, match="a whole number"):
        check_demand(most, least)
