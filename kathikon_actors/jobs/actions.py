"""What an operator does to one job by hand, as a value that a node and every store apply alike."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Final

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.errors import InvalidState
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import Action, State, actions_for

__all__ = ["MAX_DELAY", "Change", "NotMeant", "check_delay", "check_seconds", "check_timeout"]

MAX_DELAY: Final = 100 * 365 * 86_400.0
"""Seconds: no retry is put off further."""

_LONGEST_SHOWN: Final = 80

_EVENTS: Final[dict[Action, bytes]] = {"cancel": b"cancelled", "discard": b"discarded", "retry": b"retried"}


class NotMeant(Exception):
    """The job is in none of the states that were asked for, though it looked so in the store; nothing was changed."""


@dataclass(frozen=True)
class Change:
    """One action on one job.

    Attributes:
        now: microseconds since 1970.
        delay: seconds, of a retry.
        new_id: 16 bytes, of the job that a rerun makes.
        states: only a job in one of these is meant; empty: in any. What the store shows of a job that a node has may be
            older than what the node knows, so whoever carries it out looks again.
    """

    action: Action
    now: int
    delay: float = 0.0
    new_id: bytes = b""
    states: tuple[State, ...] = ()

    @property
    def target(self) -> State:
        """The state that the job, or its rerun, is to take."""
        match self.action:
            case "cancel":
                return "cancelled"
            case "discard":
                return "discarded"
            case "retry":
                return "scheduled" if self.delay > 0 else "available"
            case "rerun":
                return "available"

    def is_done(self, record: Record) -> bool:
        """Whether this very change was applied already: its line, of its time, is in the history."""
        event = _EVENTS.get(self.action)
        return event is not None and b'[%d,"%b"' % (self.now, event) in record.history

    def is_fulfilled_by(self, state: str) -> bool:
        """Whether a job that is found in `state` is where this change was to bring it."""
        return self.action in ("cancel", "discard") and state == self.target

    def check(self, record: Record) -> None:
        """Look whether the job's state offers the action.

        Raises:
            NotMeant: it is in none of `states`, nor where this change was to bring it.
            InvalidState: it does not.
        """
        if self.states and record.state not in self.states and not self.is_fulfilled_by(record.state):
            raise NotMeant
        if self.action not in actions_for(record.state):
            raise self.refused(as_uuid(record.id), record.state)

    def refused(self, job_id: object, state: State) -> InvalidState:
        """Give the error of a job that is in a state which does not offer the action."""
        return InvalidState(job_id, state, self.target, action=self.action, legal=actions_for(state))

    def apply(self, record: Record) -> Record | None:
        """Change the record; give the new one that a rerun makes.

        Raises:
            InvalidState, NotMeant: see `check`; nothing was changed.
        """
        self.check(record)
        match self.action:
            case "cancel":
                machine.cancel(record, self.now)
            case "discard":
                machine.discard(record, self.now)
            case "retry":
                machine.retried(record, self.now, self.delay)
            case "rerun":
                return machine.rerun(record, self.now, self.new_id)
        return None


def check_delay(delay: object) -> float:
    """Give the delay of a retry in seconds.

    Raises:
        ValueError: it is no number from 0 to 100 years.
    """
    if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= MAX_DELAY:
        raise ValueError(f"delay is {_shown(delay)}; give seconds from 0, at most 100 years")
    return float(delay)


def check_seconds(name: str, value: object, most: float = MAX_DELAY, at_most: str = "100 years") -> float:
    """Give a length of time in seconds.

    Args:
        name: of the argument.
        value: what was given.
        most: seconds.
        at_most: the same in words.

    Raises:
        ValueError: it is no number above 0, or above `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ValueError(f"{name} is {_shown(value)}; give seconds above 0, at most {at_most}")
    return float(value)


def check_timeout(timeout: object) -> float:
    """Give how long to wait in seconds; `inf` is for ever.

    Raises:
        ValueError: it is no number from 0.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise ValueError(f"timeout is {_shown(timeout)}; give seconds from 0")
    return float(timeout) if timeout <= MAX_DELAY else inf


def _shown(value: object) -> str:
    """Give what was given for a sentence; Python does not print every whole number."""
    try:
        text = repr(value)
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
