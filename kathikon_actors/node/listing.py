"""What nodes and clients share: filters from arguments, jobs from iterables, what `insert_many` reports."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from copy import copy
from uuid import UUID

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import raw_id
from kathikon_actors.jobs.inserted import InsertedMany
from kathikon_actors.jobs.new_job import NewJob, check_jobs
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.store.protocol import MAX_PAGE, Page

__all__ = ["InsertedMany", "decided", "job_of", "new_jobs", "page_of"]


def job_of(answer: Answer) -> Job:
    """Give the job of a composed insert, or raise why it was refused."""
    record, conflict = decided(answer)
    return Job(copy(record), conflict=conflict)


def decided(answer: Answer) -> tuple[Record, bool]:
    """Give the job of a composed insert and whether it is another one, or raise why it was refused."""
    if answer.error is not None:
        raise answer.error
    assert answer.record is not None
    return answer.record, answer.conflict


def page_of(wanted: Filter, after: UUID | str | None, newest_first: bool, limit: int) -> Page:
    """Give the page that the arguments of `list` mean.

    Raises:
        ValueError: a limit out of range.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"limit is {limit}; give 1 to 10,000 and go on with after=")
    return Page(wanted, None if after is None else raw_id(after), newest_first, limit)


async def new_jobs(jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> AsyncGenerator[NewJob, None]:
    """Give the jobs of an iterable or an async iterable one by one."""
    check_jobs(jobs)
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
