"""The state table of a job: the one place that says which state may follow which.

The memory store, the SQL, the command line and the console derive from `TRANSITIONS`; nothing else in the
project knows a pair of states.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from kathikon_actors.jobs.errors import InvalidState

__all__ = [
    "ACTIONS",
    "CHANGEABLE_STATES",
    "DUE_STATES",
    "STATES",
    "TERMINAL_STATES",
    "TRANSITIONS",
    "Action",
    "State",
    "actions_for",
    "check_transition",
]

State = Literal[
    "scheduled", "blocked", "available", "executing", "retryable", "waiting", "completed", "cancelled", "discarded"
]
"""`scheduled` due later, `blocked` waits for other jobs, `available` ready, `executing` running, `retryable` failed
and due later, `waiting` its children run, `completed`, `cancelled`, `discarded` (the dead letters)."""

STATES: Final[tuple[State, ...]] = get_args(State)

TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    "scheduled": frozenset({"available", "cancelled", "discarded"}),
    "blocked": frozenset({"available", "scheduled", "cancelled", "discarded"}),
    "available": frozenset({"executing", "scheduled", "cancelled", "discarded"}),
    "executing": frozenset({"completed", "retryable", "scheduled", "waiting", "cancelled", "discarded", "available"}),
    "retryable": frozenset({"available", "scheduled", "executing", "cancelled", "discarded"}),
    "waiting": frozenset({"completed", "discarded", "cancelled"}),
    "completed": frozenset(),
    "cancelled": frozenset({"available", "scheduled"}),
    "discarded": frozenset({"available", "scheduled"}),
}

TERMINAL_STATES: Final[frozenset[State]] = frozenset({"completed", "cancelled", "discarded"})
"""A job in one of these is done, until an operator retries it."""

DUE_STATES: Final[frozenset[State]] = frozenset({"scheduled", "retryable"})
"""A job in one of these becomes available when its `scheduled_at` has come."""

CHANGEABLE_STATES: Final[frozenset[State]] = frozenset({"scheduled", "blocked", "available", "retryable"})
"""A job in one of these is not running, and an insert that meets it may overwrite some of it."""

Action = Literal["cancel", "discard", "retry", "rerun"]
"""What an operator may do to a job by hand."""

ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

_RETRYABLE_BY_HAND: Final[frozenset[State]] = frozenset({"retryable", "cancelled", "discarded"})


def check_transition(job_id: object, old: State, new: State) -> None:
    """Raise `InvalidState` unless `new` may follow `old`.

    Args:
        job_id: named in the error.
        old: the state the job is in.
        new: the state it is to take.

    Raises:
        InvalidState: with both states; the caller has changed nothing yet.
    """
    if new not in TRANSITIONS[old]:
        raise InvalidState(job_id, old, new, legal=sorted(TRANSITIONS[old]))


def actions_for(state: State) -> tuple[Action, ...]:
    """Give the actions that succeed on a job in `state`, in the order of `ACTIONS`."""
    legal = {
        "cancel": state not in TERMINAL_STATES and "cancelled" in TRANSITIONS[state],
        "discard": state not in TERMINAL_STATES and "discarded" in TRANSITIONS[state],
        "retry": state in _RETRYABLE_BY_HAND,
        "rerun": state in TERMINAL_STATES,
    }
    return tuple(action for action in ACTIONS if legal[action])
