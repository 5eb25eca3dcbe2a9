"""How long a failed job waits."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.backoff import MAX_DELAY, constant, default_backoff, exponential, linear, usable_delay

ERROR = ValueError("no")


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [
        (1, 0.0, 1.0),
        (1, 0.5, 16.0),
        (2, 0.0, 16.0),
        (3, 0.1, 84.0),
        (6, 0.9, 1323.0),
        (7, 0.0, 1800.0),
        (500, 0.9, 1800.0),
    ],
)
def test_the_default_is_the_fourth_power_and_a_chance_up_to_half_an_hour(
    attempt: int, chance: float, seconds: float
) -> None:
    """`min(attempt**4 + 30 * chance, 1800)`."""
    assert default_backoff(attempt, chance) == pytest.approx(seconds)


@given(attempt=st.integers(1, 10**9), chance=st.floats(0, 1, exclude_max=True))
def test_the_default_is_bounded_for_every_attempt(attempt: int, chance: float) -> None:
    """No attempt number overflows, and none waits longer than 1,800 s."""
    assert 1.0 <= default_backoff(attempt, chance) <= 1800.0


def test_constant_and_linear() -> None:
    """The same each time; a step more each time, up to the maximum."""
    assert [constant(7)(n, ERROR) for n in (1, 2, 9)] == [7, 7, 7]
    assert [linear(10, maximum=35)(n, ERROR) for n in (1, 2, 3, 4, 100)] == [10, 20, 30, 35, 35]


def test_exponential_without_jitter() -> None:
    """`base * factor ** (attempt - 1)`, at most the maximum, and no overflow at any attempt."""
    backoff = exponential(2, factor=3, maximum=100, jitter=0)
    assert [backoff(n, ERROR) for n in (1, 2, 3, 4, 5, 10**6)] == [2, 6, 18, 54, 100, 100]


@given(attempt=st.integers(1, 200))
def test_exponential_jitter_only_adds_and_at_most_its_share(attempt: int) -> None:
    """Jitter spreads upwards within its share."""
    exact = min(2.0 ** min(attempt - 1, 64), 1800.0)
    assert exact <= exponential(jitter=0.25)(attempt, ERROR) <= exact * 1.25


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5, MAX_DELAY])
def test_a_usable_delay_comes_back_in_seconds(value: float) -> None:
    """Any number from 0 to the longest delay."""
    assert usable_delay(value) == float(value)


@pytest.mark.parametrize(
    "value", [-1, -0.001, math.nan, math.inf, -math.inf, True, None, "5", [], MAX_DELAY + 1, 10**400]
)
def test_a_delay_of_no_use_is_none(value: Any) -> None:
    """Negative, endless, too long, or no number: the default is taken instead."""
    assert usable_delay(value) is None
