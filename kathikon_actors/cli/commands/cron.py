"""`cron [pause|resume|run|remove]`: what is scheduled again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["cron"]

_COLUMNS = ("name", "expression", "timezone", "worker", "queue", "paused", "next_at", "problem")


@click.group(invoke_without_command=True)
@common_options
@click.pass_context
def cron(context: click.Context) -> None:
    """List the cron entries of a store with their next ticks; or change one."""
    if context.invoked_subcommand is not None:
        return
    session = context.ensure_object(Session)
    found = run_async(_list, session)
    output = session.output
    if output.json:
        output.data([entry.to_dict() for entry in found])
    elif found:
        rows = [entry.to_dict() for entry in found]
        output.table(
            _COLUMNS, [tuple("" if row[name] in (None, False) else row[name] for name in _COLUMNS) for row in rows]
        )
    else:
        output.say("no cron entries")


@cron.command()
@click.argument("name")
@common_options
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Fire it no more until it is resumed."""
    _call(session, "pause", name)


@cron.command()
@click.argument("name")
@common_options
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Let it fire again."""
    _call(session, "resume", name)


@cron.command()
@click.argument("name")
@common_options
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Remove an entry."""
    _call(session, "remove", name)


@cron.command()
@click.argument("name")
@common_options
@click.pass_obj
def run(session: Session, name: str) -> None:
    """Insert its job now; the schedule stays as it is."""
    job = run_async(_act, session, "run_now", name)
    if session.output.json:
        session.output.data(job.to_dict())
    else:
        session.output.line(str(job.id))


def _call(session: Session, action: str, name: str) -> None:
    done = run_async(_act, session, action, name)
    if session.output.json:
        session.output.data({"name": name} if done is None else done.to_dict())
    session.output.say(f"{name}: {action}{'d' if action.endswith('e') else 'ed'}")


async def _list(session: Session) -> Sequence[Any]:
    async with open_client(session.url) as client:
        return await client.crons.list()


async def _act(session: Session, action: str, name: str) -> Any:
    async with open_client(session.url) as client:
        return await getattr(client.crons, action)(name)
