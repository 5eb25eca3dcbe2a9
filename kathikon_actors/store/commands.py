"""What operators want of many jobs, and of jobs that a live node owns.

A row that no live node owns is changed at once. For one that a live node owns a command is stored in the same
transaction, and told to the nodes; it stays until it is carried out, so that a node that was away does it when it is
back, and whoever takes its jobs over does it otherwise. A command is carried out once: the change writes a line of
history with the command's own time, by which a second try knows that the first one was committed.

A question to a node goes the same way. It is about no job, and changes nothing: it may be answered twice, and it is
gone when its answer was taken or nobody waits for it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from kathikon_actors.jobs.errors import JobNotFound, KathikonError, UniqueConflict
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.states import STATES, TERMINAL_STATES, State, actions_for

if TYPE_CHECKING:
    from kathikon_actors.jobs.actions import Change
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.store.protocol import Membership

__all__ = [
    "COMMANDS",
    "DONE",
    "HELD",
    "NOT_FOUND",
    "NOT_MEANT",
    "Command",
    "CommandStore",
    "Question",
    "Requested",
    "error_of",
    "wanted_states",
]

DONE: Final = "done"
"""The answer to a command that was carried out."""

NOT_FOUND: Final = "not found"
"""The answer to a command for a job that is not there."""

NOT_MEANT: Final = "not meant"
"""The answer to a command for a job that is in none of the states that were asked for."""

HELD: Final = "key held by "
"""The answer to a command to retry a job whose unique key another job has; its id follows."""

COMMANDS: Final = "commands"
"""The topic of a notice that there are commands."""


@dataclass(frozen=True)
class Command:
    """What an operator wants of one job.

    Attributes:
        number: grows with every command.
        job_id: 16 bytes.
        change: with the time at which it was asked for; `None` when it is about progress.
        percent: how far the job is.
    """

    number: int
    job_id: bytes
    change: Change | None
    percent: int = 0


@dataclass(frozen=True)
class Question:
    """What somebody outside wants to know of a node.

    Attributes:
        number: of the same row as that of a command.
        what: one of those that a node can answer.
    """

    number: int
    what: str


@dataclass
class Requested:
    """What became of a change that was wanted of several jobs.

    Attributes:
        done: ids of those that were changed at once.
        asked: by number, the ids of those for whose owner a command was stored.
        errors: by id, of those that were not changed and never will be.
    """

    done: list[bytes] = field(default_factory=list)
    asked: dict[int, bytes] = field(default_factory=dict)
    errors: dict[bytes, KathikonError] = field(default_factory=dict)


class CommandStore(Protocol):
    """The part of a store that carries what operators want to the owners of jobs."""

    async def ask(self, job_id: bytes, change: Change) -> int:
        """Store a command for the owner of a job and tell the nodes; give its number."""
        ...

    async def progress(self, job_id: bytes, percent: int) -> str | None:
        """Note how far a job is that no live node owns; `None` when a live node owns it.

        Gives `DONE`, `NOT_FOUND`, or the state in which it has ended.
        """
        ...

    async def ask_progress(self, job_id: bytes, percent: int) -> int:
        """Store a command for the owner of a job to note how far it is; give its number."""
        ...

    async def request(self, wanted: Filter, change: Change) -> Requested:
        """Apply a change to each job that meets a filter, in one transaction; see the module's text.

        A filter that names no state means those in which the action is possible. The change itself has the states that
        were named: by them its owner judges a job, of which the store knows less.
        """
        ...

    async def open_commands(self, membership: Membership, after: int, limit: int) -> list[Command | Question]:
        """Give commands that nobody has answered, for jobs of this node and for jobs that nobody owns; and questions.

        Those are to this node, and somebody still waits for the answer.
        """
        ...

    async def ask_node(self, node: str, what: str, seconds: float) -> int | None:
        """Store a question to a node, for whose answer one waits so long; give its number, `None` without such a node.

        It is answered with `give_answers`, in JSON.
        """
        ...

    async def take_answer(self, number: int) -> str | None:
        """Give the answer to a question and forget it; `None` while there is none."""
        ...

    async def withdraw(self, number: int) -> None:
        """Forget a question, for whose answer nobody waits any more."""

    async def carry_out(self, number: int) -> bool:
        """Carry out a command if no live node owns its job; tell whether it is answered now."""
        ...

    async def give_answers(self, answers: Sequence[tuple[int, str]]) -> None:
        """Answer commands: `DONE`, `NOT_FOUND`, `NOT_MEANT`, or the state in which it is not possible."""
        ...

    async def read_answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """Give the answers that there are."""
        ...

    async def purge(self, ids: Sequence[bytes]) -> set[bytes]:
        """Remove finished jobs for good; give the ids of those that were there."""
        ...

    async def purge_meeting(self, wanted: Filter) -> int:
        """Remove the finished jobs that meet a filter for good, in one transaction; give how many."""
        ...

    async def count_meeting(self, wanted: Filter) -> int:
        """Count the jobs that meet a filter."""
        ...

    async def listen_control(self, topic: str, wake: Callable[[], None]) -> None:
        """Call `wake` when something of this topic is told, or may have been missed; call this again now and then."""


def wanted_states(wanted: Filter, action: str) -> tuple[State, ...]:
    """Give the states that a filter means for an action; where it names none, those in which it is possible."""
    if wanted.states:
        return wanted.states
    if action == "purge":
        return tuple(state for state in STATES if state in TERMINAL_STATES)
    return tuple(state for state in STATES if action in actions_for(state))


def error_of(job_id: bytes, change: Change, answer: str) -> KathikonError | None:
    """Give the error that an answer means, or `None` when the command was carried out."""
    if answer == DONE:
        return None
    if answer.startswith(HELD):
        return UniqueConflict(as_uuid(job_id), UUID(answer.removeprefix(HELD)), change.action)
    if answer not in STATES:
        return JobNotFound(as_uuid(job_id))
    state: State = next(state for state in STATES if state == answer)
    return change.refused(as_uuid(job_id), state)
