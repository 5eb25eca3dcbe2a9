"""`jobs [FILTER...]`: list or count jobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from kathikon_actors.cli.filter_words import FilterWords, parse_filter
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_store, run_async

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Job
    from kathikon_actors.store.postgres import PostgresStore

__all__ = ["jobs"]

_PAGE = 1_000
_WIDEST_ARGS = 60


@click.command()
@click.argument("words", metavar="[FILTER]...", nargs=-1)
@click.option("--count", is_flag=True, help="Print how many there are, not the jobs.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most jobs to list.")
@common_options
@click.pass_obj
def jobs(session: Session, words: tuple[str, ...], count: bool, limit: int) -> None:
    r"""List jobs, newest first.

    \b
    FILTER words, all of which must hold:
      state:completed    several: any of these
      queue:billing
      worker:charge
      tag:vip            several: all of these
      args.user.id:7
    """
    wanted = parse_filter(words)
    output = session.output
    if count:
        number = run_async(_count, session, wanted)
        if output.json:
            output.data({"count": number})
        else:
            output.line(str(number))
        return
    found = run_async(_list, session, wanted, limit + 1)
    shown = found[:limit]
    if output.json:
        output.data([job.to_dict() for job in shown])
    elif shown:
        output.table(
            ("id", "state", "queue", "worker", "attempt", "priority", "inserted", "args"), [_row(job) for job in shown]
        )
    else:
        output.say("no such jobs" if words else "no jobs")
    if len(found) > limit:
        output.say(f"the newest {limit} of more; --limit shows more, --count counts them")


async def _list(session: Session, wanted: FilterWords, limit: int) -> list[Job]:
    found: list[Job] = []
    async with (
        open_store(session.url) as store,
        aclosing(_matching(store, wanted, page=min(limit, _PAGE))) as matching,
    ):
        async for job in matching:
            found.append(job)
            if len(found) == limit:
                break
    return found


async def _count(session: Session, wanted: FilterWords) -> int:
    async with open_store(session.url) as store:
        if wanted.only_queue_and_state:
            return sum(
                number
                for counts in await store.counts()
                for state, number in counts.by_state.items()
                if wanted.queue in (None, counts.queue) and (not wanted.states or state in wanted.states)
            )
        if not wanted.only_for_us:
            return await store.count_meeting(wanted.to_filter())
        number = 0
        async for _ in _matching(store, wanted, page=_PAGE):
            number += 1
        return number


async def _matching(store: PostgresStore, wanted: FilterWords, page: int) -> AsyncGenerator[Job, None]:
    from kathikon_actors.jobs.record import Job
    from kathikon_actors.store.protocol import Page

    meant = wanted.to_filter()
    after: bytes | None = None
    while True:
        records = await store.find(Page(meant, after, limit=page))
        for record in records:
            job = Job(record)
            if not wanted.args or _takes(wanted, job):
                yield job
        if not records:
            return
        after = records[-1].id


def _takes(wanted: FilterWords, job: Job) -> bool:
    """Whether the arguments fit; those that cannot be read fit nothing."""
    from kathikon_actors.jobs.sealing import CannotOpen

    try:
        return wanted.takes_args(job.args)
    except (CannotOpen, ValueError, RecursionError):
        return False


def _row(job: Job) -> tuple[object, ...]:
    import json

    found = job.to_dict()["args"]
    args = found if isinstance(found, str) else json.dumps(found)  # what cannot be read is its raw text
    if len(args) > _WIDEST_ARGS:
        args = args[: _WIDEST_ARGS - 3] + "..."
    inserted = job.inserted_at.isoformat(timespec="seconds")
    attempt = f"{job.attempt}/{job.max_attempts}"
    return job.id, job.state, job.queue, job.worker, attempt, job.priority, inserted, args
