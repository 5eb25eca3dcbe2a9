"""`schema`: install, check or print the tables that the store needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.exit_codes import ExitCode
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import find_pending, on_database, open_database, run_async

if TYPE_CHECKING:
    from kathikon_actors.store.migrations import Migration

__all__ = ["schema"]


@click.group()
def schema() -> None:
    """Install, check or print the schema "kathikon" of a Postgres store."""


@schema.command()
@common_options
@click.pass_obj
def install(session: Session) -> None:
    """Bring the schema up to date; safe to run again, and beside running nodes."""
    applied, version = run_async(_install, session)
    output = session.output
    if output.json:
        output.data({"applied": [_step(step) for step in applied], "version": version})
    for step in applied:
        output.say(f"applied {step.number} ({step.name})")
    output.say(f"{session.url.safe}: the schema is at {version}" + ("" if applied else "; there was nothing to do"))


@schema.command()
@common_options
@click.pass_obj
def check(session: Session) -> int:
    """Tell whether the schema is up to date; exit code 4 when it is not."""
    pending, known = run_async(_pending, session)
    output = session.output
    version = known - len(pending)
    if output.json:
        output.data(
            {"ok": not pending, "version": version, "known": known, "pending": [_step(step) for step in pending]}
        )
    if pending:
        names = ", ".join(f"{step.number} ({step.name})" for step in pending)
        output.say(f"{session.url.safe}: the schema is at {version} of {known}, {names} missing; run: schema install")
        return ExitCode.WRONG_STATE
    output.say(f"{session.url.safe}: the schema is up to date, at {version}")
    return ExitCode.OK


@schema.command()
@common_options
@click.pass_obj
def sql(session: Session) -> None:
    """Print the SQL that `install` would run on an empty database, for psql."""
    from kathikon_actors.store.migrations import migrations, script

    if session.output.json:
        session.output.data([{**_step(step), "checksum": step.checksum, "sql": step.sql} for step in migrations()])
    else:
        session.output.text(script())


def _step(step: Migration) -> dict[str, Any]:
    return {"number": step.number, "name": step.name}


async def _install(session: Session) -> tuple[list[Migration], int]:
    from kathikon_actors.store.migrations import migrate, migrations

    async with open_database(session.url, create=True) as dsn:
        return await on_database(dsn, migrate), len(migrations())


async def _pending(session: Session) -> tuple[list[Migration], int]:
    async with open_database(session.url) as dsn:
        return await on_database(dsn, find_pending)
