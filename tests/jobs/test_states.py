"""The state table, and the actions derived from it."""

import itertools
from copy import copy

import pytest

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.errors import InvalidState
from kathikon_actors.jobs.states import (
    ACTIONS,
    DUE_STATES,
    STATES,
    TERMINAL_STATES,
    TRANSITIONS,
    Action,
    State,
    actions_for,
    check_transition,
)
from tests.jobs.make import NOW, record

LEGAL: dict[str, str] = {
    "scheduled": "available cancelled discarded",
    "blocked": "available scheduled cancelled discarded",
    "available": "executing scheduled cancelled discarded",
    "executing": "completed retryable scheduled waiting cancelled discarded available",
    "retryable": "available scheduled executing cancelled discarded",
    "waiting": "completed discarded cancelled",
    "completed": "",
    "cancelled": "available scheduled",
    "discarded": "available scheduled",
}
PAIRS = list(itertools.product(STATES, STATES))


@pytest.mark.parametrize(("old", "new"), [(o, n) for o, n in PAIRS if n in LEGAL[o].split()])
def test_a_legal_pair_passes(old: State, new: State) -> None:
    """Each pair of the contract's table is accepted."""
    check_transition("job", old, new)


@pytest.mark.parametrize(("old", "new"), [(o, n) for o, n in PAIRS if n not in LEGAL[o].split()])
def test_every_other_pair_is_refused_with_both_states(old: State, new: State) -> None:
    """A pair outside of the table raises `InvalidState`, which carries from and to and says what is legal."""
    with pytest.raises(InvalidState) as raised:
        check_transition("job-1", old, new)
    error = raised.value
    assert (error.job_id, error.old, error.new) == ("job-1", old, new)
    assert f"{old} -> {new}" in str(error)
    for legal in LEGAL[old].split():
        assert legal in str(error)
    if not LEGAL[old]:
        assert f"{old} is final" in str(error)


CHANGES = {
    "promote": (lambda r: machine.promote(r, NOW), "available"),
    "begin": (lambda r: machine.begin(r, NOW), "executing"),
    "complete": (lambda r: machine.complete(r, NOW, b"1"), "completed"),
    "fail": (lambda r: machine.fail(r, NOW, machine.quote_error(NOW, 1, "fail", "no"), 5.0), "retryable"),
    "snooze": (lambda r: machine.snooze(r, NOW, 5.0), "scheduled"),
    "take_back": (lambda r: machine.take_back(r, NOW, "stopped"), "available"),
    "cancel": (lambda r: machine.cancel(r, NOW, "no", error=b"{}"), "cancelled"),
    "discard": (lambda r: machine.discard(r, NOW, "no", error=b"{}"), "discarded"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_machine_happens_or_leaves_everything_untouched(change: str, state: State) -> None:
    """Each machine function follows the table; refused, it has changed no field, and the history least of all."""
    apply, target = CHANGES[change]
    job = record(state=state, attempt=1, history=b'[1,"inserted",null,"available"]')
    before = copy(job)
    if target in LEGAL[state].split():
        apply(job)
        assert job.state == target
        assert job.history.startswith(before.history + b",")
    else:
        with pytest.raises(InvalidState):
            apply(job)
        assert job == before


@pytest.mark.parametrize("state", STATES)
def test_an_action_is_offered_exactly_where_it_succeeds(state: State) -> None:
    """`actions_for` agrees with the table: what it offers is legal, and what it leaves out is not wanted there."""
    targets: dict[Action, tuple[State, ...]] = {
        "cancel": ("cancelled",),
        "discard": ("discarded",),
        "retry": ("available", "scheduled"),
    }
    offered = actions_for(state)
    for action, states in targets.items():
        if action in offered:
            for target in states:
                check_transition("job", state, target)
    live = state not in TERMINAL_STATES
    assert ("cancel" in offered) == live
    assert ("discard" in offered) == live
    assert ("retry" in offered) == (state in ("retryable", "cancelled", "discarded"))
    assert ("rerun" in offered) == (not live)
    assert list(offered) == [action for action in ACTIONS if action in offered]


def test_the_table_names_every_state_once() -> None:
    """Every state has a row, every target is a state, and the two groups are states too."""
    assert set(TRANSITIONS) == set(STATES) == set(LEGAL)
    assert {new for row in TRANSITIONS.values() for new in row} <= set(STATES)
    assert frozenset({"completed", "cancelled", "discarded"}) == TERMINAL_STATES
    assert frozenset({"scheduled", "retryable"}) == DUE_STATES
