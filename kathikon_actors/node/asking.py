"""Waiting for the nodes to carry out what was asked of them, for programs on trio and on asyncio alike."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import InvalidState, JobNotFound, KathikonError, OwnedElsewhere, StoreUnavailable
from kathikon_actors.jobs.ids import as_uuid, raw_id
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.runtime import check_percent
from kathikon_actors.store.commands import DONE, NOT_FOUND, NOT_MEANT, error_of

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = ["ANSWER_TIMEOUT", "Asking", "ask_owner", "await_answers", "check_percent", "report_progress"]

ANSWER_TIMEOUT: Final = 40.0
"""Seconds to wait for an answer: longer than a run may take to give way, and than the lease of a node that died."""

POLL: Final = (0.005, 0.2)
"""Seconds between two looks for answers: the first, and the longest."""

TAKE_UP: Final = 1.0
"""Seconds after which the one who waits carries the command out itself, if no live node owns the job any more."""

AT_ONCE: Final = 1_000
"""Answers that are looked for at once."""


class Asking(Protocol):
    """What is needed of a store."""

    async def carry_out(self, number: int) -> bool:
        """See `CommandStore.carry_out`."""
        ...

    async def read_answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """See `CommandStore.read_answers`."""
        ...


class AskingOne(Asking, Protocol):
    """What is needed of a store to ask for one job."""

    async def ask(self, job_id: bytes, change: Change) -> int:
        """See `CommandStore.ask`."""
        ...

    async def get(self, job_id: bytes) -> Record | None:
        """See `Store.get`."""
        ...


async def ask_owner(
    store: AskingOne, change: Change, owned: OwnedElsewhere, sleep: Callable[[float], Awaitable[None]]
) -> Job:
    """Have the live node that owns a job change it; give the job as that left it.

    Args:
        store: where the command goes.
        change: what is wanted.
        owned: names the job and its owner.
        sleep: of the program's event loop.

    Raises:
        JobNotFound, InvalidState: it is not possible (any more).
        OwnedElsewhere: no answer in time; the command stays.
    """
    raw = raw_id(str(owned.job_id))
    number = await store.ask(raw, change)
    answers = await await_answers(store, {number: raw}, change, sleep, ANSWER_TIMEOUT, owned.node)
    error = answers[raw]
    if error is not None:
        raise error
    record = await store.get(raw)
    if record is None:
        raise JobNotFound(owned.job_id)
    return Job(record)


async def await_answers(
    store: Asking,
    asked: Mapping[int, bytes],
    change: Change,
    sleep: Callable[[float], Awaitable[None]],
    timeout: float,
    owner: str = "its owner",
) -> dict[bytes, KathikonError | None]:
    """Wait for the answers to commands; give the error of each job, `None` where it was carried out.

    A job that was not meant, as its owner knows better, is left out.

    Args:
        store: where the commands are.
        asked: ids of the jobs by the numbers of their commands.
        change: what was asked for.
        sleep: of the program's event loop.
        timeout: seconds without any answer at all after which the rest counts as `OwnedElsewhere`.
        owner: name of the node, for that error.
    """
    answers: dict[bytes, KathikonError | None] = {}
    left = dict(asked)
    pause, longest = POLL
    end = time.monotonic() + timeout
    take_up = time.monotonic() + TAKE_UP
    while left:
        looked_at = list(left)[:AT_ONCE]
        try:
            given = await store.read_answers(looked_at)
            if not given and time.monotonic() > take_up:
                take_up = time.monotonic() + TAKE_UP
                for number in looked_at:
                    if not await store.carry_out(number):
                        break
        except StoreUnavailable:
            given = {}
        for number, answer in given.items():
            job_id = left.pop(number)
            if answer != NOT_MEANT:
                answers[job_id] = error_of(job_id, change, answer)
        if given:
            pause, end = POLL[0], time.monotonic() + timeout
            continue
        if time.monotonic() > end:
            break
        await sleep(pause)
        pause = min(pause * 1.5, longest)
    for job_id in left.values():
        answers[job_id] = OwnedElsewhere(as_uuid(job_id), owner)
    return answers


class AskingProgress(Asking, Protocol):
    """What is needed of a store to tell how far a job is."""

    async def progress(self, job_id: bytes, percent: int) -> str | None:
        """See `CommandStore.progress`."""
        ...

    async def ask_progress(self, job_id: bytes, percent: int) -> int:
        """See `CommandStore.ask_progress`."""
        ...


async def report_progress(
    store: AskingProgress, job_id: bytes, percent: int, sleep: Callable[[float], Awaitable[None]]
) -> None:
    """Note how far a job is, wherever it is.

    Raises:
        JobNotFound: there is none with this id.
        InvalidState: it has ended.
        OwnedElsewhere: its owner did not answer in time.
    """
    answer = await store.progress(job_id, percent)
    if answer is None:
        number = await store.ask_progress(job_id, percent)
        change = Change("cancel", 0)  # of the error of a job that ended meanwhile; see below
        error = (await await_answers(store, {number: job_id}, change, sleep, ANSWER_TIMEOUT))[job_id]
        if isinstance(error, InvalidState):
            answer = error.old
        elif error is not None:
            raise error
        else:
            return
    if answer == NOT_FOUND:
        raise JobNotFound(as_uuid(job_id))
    if answer != DONE:
        problem = "it has ended, and its progress stays as it is"
        raise InvalidState(as_uuid(job_id), answer, "executing", problem=problem)
