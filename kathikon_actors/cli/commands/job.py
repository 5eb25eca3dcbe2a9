"""`job show|cancel|retry|rerun|discard ID`: look at single jobs, and change them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from kathikon_actors.cli.failures import tell_failures
from kathikon_actors.cli.seconds import Seconds
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, open_store, run_async

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Job

__all__ = ["job"]


@click.group()
def job() -> None:
    """Look at single jobs, and change them."""


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


@job.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@common_options
@click.pass_obj
def cancel(session: Session, job_ids: tuple[str, ...]) -> int:
    """Do not run these jobs, or stop them where they run, on whatever node."""
    return _change(session, "cancel", job_ids)


@job.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@common_options
@click.pass_obj
def discard(session: Session, job_ids: tuple[str, ...]) -> int:
    """Give these jobs up, as dead letters."""
    return _change(session, "discard", job_ids)


@job.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--delay", type=Seconds(0), default=0.0, metavar="SECONDS", help="Until they are due.")
@common_options
@click.pass_obj
def retry(session: Session, job_ids: tuple[str, ...], delay: float) -> int:
    """Run failed, cancelled or discarded jobs again."""
    return _change(session, "retry", job_ids, delay)


@job.command()
@click.argument("job_ids", metavar="ID...", nargs=-1, required=True)
@common_options
@click.pass_obj
def rerun(session: Session, job_ids: tuple[str, ...]) -> int:
    """Insert new jobs like these, which have ended; the ids of the new ones are printed."""
    return _change(session, "rerun", job_ids)


def _change(session: Session, action: str, job_ids: tuple[str, ...], *more: Any) -> int:
    done, failed = run_async(_change_all, session, action, job_ids, more)
    output = session.output
    if output.json:
        errors = [{"id": job_id, "error": str(error)} for job_id, error in failed]
        output.data({"changed": [found.to_dict() for found in done], "errors": errors})
    else:
        for found in done:
            output.line(f"{found.id}  {found.state}")
    return tell_failures(output, [error for _, error in failed], any_done=bool(done))


async def _change_all(
    session: Session, action: str, job_ids: tuple[str, ...], more: tuple[Any, ...]
) -> tuple[list[Job], list[tuple[str, Exception]]]:
    from kathikon_actors.jobs.errors import KathikonError, StoreUnavailable

    done: list[Job] = []
    failed: list[tuple[str, Exception]] = []
    async with open_client(session.url) as client:
        for number, job_id in enumerate(job_ids):
            try:
                done.append(await getattr(client, action)(_id(job_id), *more))
            except StoreUnavailable as error:
                if not done:
                    raise
                failed += [(left, error) for left in job_ids[number:]]
                break
            except KathikonError as error:
                failed.append((job_id, error))
    return done, failed


def _id(job_id: str) -> UUID:
    from kathikon_actors.jobs.errors import JobNotFound

    try:
        return UUID(job_id)
    except ValueError:
        raise JobNotFound(f'"{job_id}" (an id is a UUID)') from None


async def _get(session: Session, job_id: str) -> Job:
    from kathikon_actors.jobs.errors import JobNotFound
    from kathikon_actors.jobs.record import Job

    uuid = _id(job_id)
    async with open_store(session.url) as store:
        record = await store.get(uuid.bytes)
    if record is None:
        raise JobNotFound(uuid)
    return Job(record)
