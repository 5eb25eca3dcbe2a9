"""Rates and limits as they are declared, and the algorithm that spaces starts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors import BadConfiguration
from kathikon_actors.jobs.gcra import NS, Pacing, reserve
from kathikon_actors.jobs.limits import Limit, Rate


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Rate(0), "Rate: n is 0"),
        (lambda: Rate(1.5), "Rate: n is 1.5"),  # type: ignore[arg-type]
        (lambda: Rate(True), "Rate: n is True"),
        (lambda: Rate(5, per=0), "Rate: per is 0"),
        (lambda: Rate(5, per=float("nan")), "Rate: per is nan"),
        (lambda: Rate(5, per="1"), "Rate: per is '1'"),  # type: ignore[arg-type]
        (lambda: Rate(5, burst=0), "Rate: burst is 0"),
        (lambda: Rate(5, by="arg.x"), "Rate: by is 'arg.x'"),
        (lambda: Limit(0), "Limit: n is 0"),
        (lambda: Limit(2, by="x"), "Limit: by is 'x'"),
    ],
)
def test_what_cannot_be_is_refused_where_it_is_declared(make: Any, problem: str) -> None:
    """The error names the field, the value and what is legal."""
    with pytest.raises(BadConfiguration, match=problem):
        make()


def test_a_hundred_a_minute_are_six_tenths_of_a_second_apart() -> None:
    """And a burst of ten may come nine intervals early."""
    assert Rate(100, per=60).pacing == Pacing(NS * 6 // 10, 0)
    assert Rate(100, per=60, burst=10).pacing == Pacing(NS * 6 // 10, NS * 54 // 10)
    assert Rate(3, per=1).pacing.interval == 333_333_334


PACINGS = st.builds(
    lambda n, per, burst: Rate(n, per=per, burst=burst).pacing,
    st.integers(1, 50),
    st.floats(0.01, 100),
    st.integers(1, 8),
)


@given(
    pacing=PACINGS,
    requests=st.lists(st.tuples(st.integers(0, 5 * NS), st.integers(0, 20), st.integers(0, NS)), max_size=30),
)
def test_no_window_sees_more_starts_than_the_limit_allows(pacing: Pacing, requests: list[tuple[int, int, int]]) -> None:
    """However slots are reserved, in whatever batches: k + burst + 1 starts in a row take k intervals at least."""
    now, tat, starts = 1000 * NS, 0, []
    for pause, wanted, horizon in requests:
        now += pause
        slots = reserve(pacing, tat, now, wanted, horizon)
        assert 0 <= slots.count <= wanted
        tat = slots.tat
        begins = [max(now, slots.first + i * pacing.interval) for i in range(slots.count)]
        assert all(begin <= now + horizon for begin in begins)
        starts += begins
    assert starts == sorted(starts)
    burst = pacing.tolerance // pacing.interval + 1
    for number, begin in enumerate(starts):
        for later in range(number + burst, len(starts)):
            assert starts[later] - begin >= (later - number - burst + 1) * pacing.interval


@given(pacing=PACINGS, wanted=st.integers(1, 40))
def test_all_that_may_start_is_let_through(pacing: Pacing, wanted: int) -> None:
    """A limit that rested gives its burst at once, and then one an interval: not less."""
    now = 1000 * NS
    at_once = reserve(pacing, 0, now, wanted, 0)
    burst = pacing.tolerance // pacing.interval + 1
    assert at_once.count == min(wanted, burst)
    rest = reserve(pacing, at_once.tat, now, wanted, 3 * pacing.interval)
    assert rest.count == min(wanted, 3 + burst - at_once.count)


@given(pacing=PACINGS, cuts=st.lists(st.integers(1, 5), max_size=8))
def test_one_request_and_many_small_ones_give_the_same_starts(pacing: Pacing, cuts: list[int]) -> None:
    """What a node takes ahead in a batch is what it would have got one by one."""
    now, horizon = 1000 * NS, 100 * pacing.interval
    whole = reserve(pacing, 0, now, sum(cuts), horizon)
    tat, starts = 0, []
    for cut in cuts:
        part = reserve(pacing, tat, now, cut, horizon)
        starts += [part.first + i * pacing.interval for i in range(part.count)]
        tat = part.tat
    assert starts == [whole.first + i * pacing.interval for i in range(whole.count)]
    assert all(b - a == pacing.interval for a, b in pairwise(starts))
