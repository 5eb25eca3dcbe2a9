"""Look at every job of a store and say whether each was done honestly: none lost, none completed twice.

What is judged comes from the jobs' own rows: history, attempts, errors. So it holds after any crash, of whatever.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.states import STATES, TERMINAL_STATES, TRANSITIONS, State

__all__ = ["AuditFailed", "Auditable", "Verdict", "audit", "problems_of"]

SHOWN: Final = 20
"""Problems that a verdict's text lists."""

PAGE: Final = 5_000
LOOK_AGAIN: Final = 0.05

UNSETTLED: Final[tuple[State, ...]] = tuple(
    state for state in STATES if state not in TERMINAL_STATES and state != "scheduled"
)
"""States that end by themselves in a node that works."""


class Auditable(Protocol):
    """What can be audited: a `Node` or a `Client`."""

    async def list(
        self,
        *,
        state: State | Iterable[State] | None = None,
        after: UUID | str | None = None,
        newest_first: bool = True,
        limit: int = 100,
    ) -> Sequence[Job]:
        """Give one page of jobs."""
        ...


class AuditFailed(AssertionError):
    """The verdict was not clean.

    Attributes:
        verdict: all of it.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


@dataclass
class Verdict:
    """What `audit` found.

    Attributes:
        jobs: how many were looked at.
        by_state: how many are in each state.
        retries: attempts beyond the first, of all jobs.
        lost: acknowledged ids that the store does not have.
        twice: jobs that were completed more than once.
        unfinished: jobs that had not ended, and are not scheduled for later, when patience was over.
        problems: everything that is not as it should be, those above included: a job's id and a sentence.
    """

    jobs: int = 0
    by_state: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    lost: list[UUID] = field(default_factory=list)
    twice: list[UUID] = field(default_factory=list)
    unfinished: list[UUID] = field(default_factory=list)
    problems: list[tuple[UUID, str]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def check(self) -> Verdict:
        """Give the verdict itself when it is clean.

        Raises:
            AuditFailed: it is not.
        """
        if self.problems:
            raise AuditFailed(self)
        return self

    def __str__(self) -> str:
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(self.by_state.items())) or "none"
        lines = [
            f"audit: {'clean' if self.ok else f'{len(self.problems)} PROBLEMS'}",
            f"  jobs            {self.jobs:,} ({states})",
            f"  run again       {self.retries:,}",
            f"  lost            {len(self.lost):,}",
            f"  completed twice {len(self.twice):,}",
            f"  not finished    {len(self.unfinished):,}",
        ]
        lines += [f"  {job_id}: {problem}" for job_id, problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"  ... and {len(self.problems) - SHOWN} more")
        return "\n".join(lines)


async def audit(where: Auditable, *, acknowledged: Iterable[UUID | str] = (), patience: float = 30.0) -> Verdict:
    """Wait until what can end has ended, then look at every job and judge.

    Each job's history must be an unbroken chain of legal transitions that ends in its present state, completed at most
    once, with as many attempts as starts that were not given back and one error for each that failed.

    Args:
        where: a `Node` or a `Client`.
        acknowledged: ids that `insert` returned: each must be there.
        patience: seconds that jobs have to end, and that the store may be cut off; jobs scheduled for later are not
            waited for.

    Raises:
        StoreUnavailable: the store did not answer, for as long as `patience`.

    Example:
        ```python
        verdict = await audit(node, acknowledged=ids)
        print(verdict)
        verdict.check()
        ```
    """
    deadline = trio.current_time() + patience
    while await _page(where, deadline, state=UNSETTLED, limit=1) and trio.current_time() < deadline:
        await trio.sleep(LOOK_AGAIN)
    verdict = Verdict()
    wanted = {UUID(str(job_id)) for job_id in acknowledged}
    last: UUID | None = None
    while page := await _page(where, deadline, after=last, newest_first=False, limit=PAGE):
        for job in page:
            if job.id == last:
                _note(verdict, verdict.twice, job.id, "is stored twice, as a live row and as a finished one")
            last = job.id
            wanted.discard(job.id)
            _judge(verdict, job, patience)
    for job_id in sorted(wanted):
        _note(verdict, verdict.lost, job_id, "was acknowledged and is not in the store")
    return verdict


def problems_of(job: Job) -> list[str]:
    """Judge one job by its own row; each problem is a sentence without its subject."""
    problems: list[str] = []
    history = job.history
    state: str | None = None
    attempts = 0
    for entry in history:
        event, old, new = entry["event"], entry["from"], entry["to"]
        if old != state:
            problems.append(f'has a history with a gap: "{event}" from {old}, but it was {state}')
        legal = event in ("inserted", "rerun") or _is_legal(old, new)
        if not legal:
            problems.append(f'went from {old} to {new} ("{event}"), which the state table does not know')
        attempts += {"started": 1, "snoozed": -1, "taken back": -1}.get(event, 0)
        state = new
    if state != job.state:
        problems.append(f"is {job.state}, but its history ends with {state}")
    if attempts != job.attempt:
        problems.append(f"says attempt {job.attempt}, but its history counts {attempts}")
    completed = sum(entry["event"] == "completed" for entry in history)
    if completed > 1:
        problems.append(f"completed {completed} times")
    failed = sum(entry["event"] == "failed" for entry in history)
    if failed > len(job.errors):
        problems.append(f"failed {failed} times, but keeps {len(job.errors)} errors")
    if (
        job.is_terminal
        and {"completed": job.completed_at, "cancelled": job.cancelled_at}.get(job.state, job.discarded_at) is None
    ):
        problems.append(f"is {job.state}, but does not say when")
    return problems


def _is_legal(old: Any, new: Any) -> bool:
    return old in TRANSITIONS and new in TRANSITIONS[old]


def _note(verdict: Verdict, group: list[UUID], job_id: UUID, problem: str) -> None:
    group.append(job_id)
    verdict.problems.append((job_id, problem))


def _judge(verdict: Verdict, job: Job, patience: float) -> None:
    verdict.jobs += 1
    verdict.by_state[job.state] += 1
    verdict.retries += max(0, job.attempt - 1)
    if job.state in UNSETTLED:
        _note(verdict, verdict.unfinished, job.id, f"is still {job.state} after {patience:g} s")
    for problem in problems_of(job):
        if problem.startswith("completed "):
            _note(verdict, verdict.twice, job.id, problem)
        else:
            verdict.problems.append((job.id, problem))


async def _page(where: Auditable, deadline: float, **wanted: Any) -> Sequence[Job]:
    """Give a page; a node that heals from its last wound may be cut off from its store for a moment."""
    while True:
        try:
            return await where.list(**wanted)
        except StoreUnavailable:
            if trio.current_time() >= deadline:
                raise
            await trio.sleep(LOOK_AGAIN)
