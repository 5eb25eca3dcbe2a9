"""`job show ID`: one job, whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import click

from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_store, run_async

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Job

__all__ = ["job"]


@click.group()
def job() -> None:
    """Look at one job."""


@job.command()
@click.argument("job_id", metavar="ID")
@common_options
@click.pass_obj
def show(session: Session, job_id: str) -> None:
    """Show a job with its arguments, result, history and errors."""
    found = run_async(_get, session, job_id)
    output = session.output
    if output.json:
        output.data(found.to_dict())
        return
    fields = found.to_dict()
    history, errors = fields.pop("history"), fields.pop("errors")
    width = max(map(len, fields))
    for name, value in fields.items():
        if value is not None:
            output.line(f"{name.ljust(width)}  {value if isinstance(value, str) else json.dumps(value)}")
    output.line("history")
    for entry in history:
        meta = f"  {json.dumps(entry['meta'])}" if entry["meta"] else ""
        output.line(f"  {entry['at']}  {entry['event']}: {entry['from'] or 'new'} -> {entry['to']}{meta}")
    if errors:
        output.line("errors")
    for entry in errors:
        output.line(f"  {entry['at']}  attempt {entry['attempt']}: {entry['kind']}: {entry['message']}")
        for line in (entry["traceback"] or "").splitlines():
            output.line(f"    {line}")


async def _get(session: Session, job_id: str) -> Job:
    from kathikon_actors.jobs.errors import JobNotFound
    from kathikon_actors.jobs.record import Job

    try:
        uuid = UUID(job_id)
    except ValueError:
        raise JobNotFound(f'"{job_id}" (an id is a UUID)') from None
    async with open_store(session.url) as store:
        record = await store.get(uuid.bytes)
    if record is None:
        raise JobNotFound(uuid)
    return Job(record)
