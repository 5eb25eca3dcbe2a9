"""The circuit breaker: when it opens, how long it rests, how it closes again."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors import BadConfiguration
from kathikon_actors.jobs.breaker import Breaker, Circuit


def ran(circuit: Circuit, *outcomes: bool | None, now: float = 0.0) -> Circuit:
    for outcome in outcomes:
        circuit.end(outcome, now, probe=circuit.start())
    return circuit


def test_half_of_at_least_five_failed_opens_it_for_thirty_seconds() -> None:
    """The defaults of the contract."""
    circuit = ran(Circuit(Breaker()), False, False, True, True)
    assert circuit.room(0.0) is None
    assert ran(circuit, False).state == "open"
    assert circuit.room(29.9) == 0
    assert circuit.room(30.0) == 3


def test_less_than_half_of_the_last_twenty_keep_it_closed() -> None:
    """What has left the window does not count any more."""
    circuit = ran(Circuit(Breaker()), *[True] * 20, *[False] * 9)
    assert circuit.state == "closed"
    assert ran(circuit, *[True] * 20, *[False] * 9).state == "closed"
    assert ran(circuit, False).state == "open"


def test_three_probes_that_succeed_close_it() -> None:
    """Not more than three run at once, and the count begins anew."""
    circuit = ran(Circuit(Breaker()), *[False] * 5)
    assert circuit.room(30) == 3
    probes = [circuit.start() for _ in range(3)]
    assert circuit.room(30) == 0
    for probe in probes:
        circuit.end(True, 31, probe=probe)
    assert circuit.room(31) is None
    assert ran(circuit, *[False] * 4).state == "closed"


def test_one_probe_that_fails_opens_it_again() -> None:
    """For another whole rest; probes that end later say nothing."""
    circuit = ran(Circuit(Breaker()), *[False] * 5)
    circuit.room(30)
    first, second = circuit.start(), circuit.start()
    circuit.end(False, 33, probe=first)
    circuit.end(True, 34, probe=second)
    assert circuit.room(62.9) == 0
    assert circuit.room(63) == 3


def test_a_probe_that_says_nothing_gives_its_place_back() -> None:
    """Snoozed, cancelled or taken back: another one is tried."""
    circuit = ran(Circuit(Breaker()), *[False] * 5)
    assert circuit.room(30) == 3
    ran(circuit, None, None, None, now=31)
    assert circuit.room(31) == 3


def test_a_probe_that_ends_after_another_rest_does_not_count() -> None:
    """Neither for the place it had, nor for what it says."""
    circuit = ran(Circuit(Breaker()), *[False] * 5)
    circuit.room(30)
    first, second, third = (circuit.start() for _ in range(3))
    circuit.end(False, 31, probe=first)
    assert circuit.room(61) == 3
    circuit.start()
    circuit.end(None, 62, probe=second)
    circuit.end(False, 62, probe=third)
    assert (circuit.state, circuit.room(62)) == ("half open", 2)


def test_runs_from_before_the_rest_do_not_count_as_probes() -> None:
    """They began before it opened."""
    circuit = Circuit(Breaker())
    early = [circuit.start() for _ in range(8)]
    for probe in early[:5]:
        circuit.end(False, 0, probe=probe)
    assert circuit.room(30) == 3
    for probe in early[5:]:
        circuit.end(True, 31, probe=probe)
    assert circuit.state == "half open"


@given(outcomes=st.lists(st.booleans(), max_size=80), window=st.integers(1, 8), least=st.integers(1, 8))
def test_it_opens_exactly_when_the_window_says_so(outcomes: list[bool], window: int, least: int) -> None:
    """Against a plain list of the last runs."""
    least = min(least, window)
    circuit = Circuit(Breaker(window=window, least=least))
    last: deque[bool] = deque(maxlen=window)
    for outcome in outcomes:
        ran(circuit, outcome)
        last.append(outcome)
        should = len(last) >= least and last.count(False) * 2 >= len(last)
        assert (circuit.state == "open") == should
        if should:
            return


@given(st.lists(st.sampled_from(["start", True, False, None, "wait"]), max_size=60))
def test_it_is_never_stuck(steps: list[Any]) -> None:
    """Whatever happened: once all runs have ended and a rest is over, something may start."""
    circuit, now, running = Circuit(Breaker(window=4, least=2, rest=5, probes=2)), 0.0, []
    for step in steps:
        if step == "start":
            if circuit.room(now) != 0:
                running.append(circuit.start())
        elif step == "wait":
            now += 2
        elif running:
            circuit.end(step, now, probe=running.pop())
    for probe in running:
        circuit.end(None, now, probe=probe)
    assert circuit.room(now + 5) != 0


@pytest.mark.parametrize("bad", [{"window": 0}, {"least": 21}, {"failures": 0}, {"failures": 1.1}, {"rest": -1}])
def test_a_breaker_that_cannot_work_is_refused(bad: dict[str, Any]) -> None:
    """With the field named."""
    with pytest.raises(BadConfiguration, match=f"Breaker: {next(iter(bad))} is"):
        Breaker(**bad)
