"""How much work a process is given ahead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.queue.pace import AHEAD, MAX_AHEAD, Pace


def test_an_unknown_worker_is_expected_to_take_half_of_what_a_process_holds() -> None:
    """Two jobs of a new worker go ahead, not hundreds and not one."""
    assert Pace().expected("new") == AHEAD / 2


def test_the_first_run_counts_in_full() -> None:
    """One observation replaces the guess."""
    pace = Pace()
    pace.observe("charge", 0.001)
    assert pace.expected("charge") == 0.001
    assert pace.expected("other") == AHEAD / 2


def test_later_runs_move_the_average() -> None:
    """A fifth of the difference each time."""
    pace = Pace()
    pace.observe("charge", 0.001)
    pace.observe("charge", 0.002)
    assert pace.expected("charge") == pytest.approx(0.0012)


def test_a_long_run_counts_in_full_at_once() -> None:
    """What was short may have become long: nothing more is queued behind it; the way back is slow."""
    pace = Pace()
    for _ in range(50):
        pace.observe("charge", 0.0001)
    pace.observe("charge", 3.0)
    assert pace.expected("charge") == 3.0
    pace.observe("charge", 0.0001)
    assert pace.expected("charge") == pytest.approx(2.40002)


@given(runs=st.lists(st.floats(0, 1000), min_size=1))
def test_the_expectation_stays_between_the_shortest_and_the_longest_run(runs: list[float]) -> None:
    """It never allows more than `MAX_AHEAD` jobs ahead, and never exceeds what was seen."""
    pace = Pace()
    for seconds in runs:
        pace.observe("charge", seconds)
    shortest = AHEAD / MAX_AHEAD
    assert max(min(runs), shortest) - 1e-12 <= pace.expected("charge") <= max(*runs, shortest) + 1e-9
