"""What nodes and clients share: filters from arguments, jobs from iterables, what `insert_many` reports."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from copy import copy
from dataclasses import dataclass, field
from uuid import UUID

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import raw_id
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Job
from kathikon_actors.store.protocol import MAX_PAGE, Page

__all__ = ["InsertedMany", "job_of", "new_jobs", "page_of"]


@dataclass(frozen=True)
class InsertedMany:
    """What `insert_many` stored.

    Attributes:
        inserted: how many.
        ids: of those, in input order.
        errors: `(index in the whole input, error)` of those that were refused.
        conflicts: `(index in the whole input, id)` of those that met a unique job, with the id of that one.
    """

    inserted: int
    ids: list[UUID]
    errors: list[tuple[int, KathikonError | TypeError]]
    conflicts: list[tuple[int, UUID]] = field(default_factory=list)


def job_of(answer: Answer) -> Job:
    """Give the job of a composed insert, or raise why it was refused."""
    if answer.error is not None:
        raise answer.error
    assert answer.record is not None
    return Job(copy(answer.record), conflict=answer.conflict)


def page_of(wanted: Filter, after: UUID | str | None, newest_first: bool, limit: int) -> Page:
    """Give the page that the arguments of `list` mean.

    Raises:
        ValueError: a limit out of range.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise ValueError(f"limit is {limit}; give 1 to 10,000 and go on with after=")
    return Page(wanted, None if after is None else raw_id(after), newest_first, limit)


async def new_jobs(jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> AsyncIterator[NewJob]:
    """Give the jobs of an iterable or an async iterable one by one."""
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
