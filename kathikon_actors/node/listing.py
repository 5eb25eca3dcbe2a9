"""What nodes and clients share: filters from arguments, jobs from iterables, what `insert_many` reports."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from uuid import UUID

from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.jobs.ids import raw_id
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.states import STATES, State
from kathikon_actors.store.protocol import Filter

__all__ = ["InsertedMany", "filter_of", "new_jobs"]


@dataclass(frozen=True)
class InsertedMany:
    """What `insert_many` stored.

    Attributes:
        inserted: how many.
        ids: of those, in input order.
        errors: `(index in the whole input, error)` of those that were refused.
    """

    inserted: int
    ids: list[UUID]
    errors: list[tuple[int, KathikonError | TypeError]]


def filter_of(
    worker: str | None,
    queue: str | None,
    state: State | Iterable[State] | None,
    tags: Iterable[str],
    after: UUID | str | None,
    newest_first: bool,
    limit: int,
) -> Filter:
    """Give the filter that the arguments of `list` mean.

    Raises:
        ValueError: a state that does not exist, or a limit out of range.
    """
    states = (state,) if isinstance(state, str) else tuple(state or ())
    for name in states:
        if name not in STATES:
            raise ValueError(f'no state is called "{name}" (known: {", ".join(STATES)})')
    if not 1 <= limit <= 10_000:
        raise ValueError(f"limit is {limit}; give 1 to 10,000 and go on with after=")
    return Filter(
        worker=worker,
        queue=queue,
        states=states,
        tags=tuple(tags),
        after=None if after is None else raw_id(after),
        newest_first=newest_first,
        limit=limit,
    )


async def new_jobs(jobs: Iterable[NewJob] | AsyncIterable[NewJob]) -> AsyncIterator[NewJob]:
    """Give the jobs of an iterable or an async iterable one by one."""
    if isinstance(jobs, AsyncIterable):
        async for job in jobs:
            yield job
    else:
        for job in jobs:
            yield job
