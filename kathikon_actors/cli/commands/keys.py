"""`keys`: make a key, and encrypt what is stored with the newest one."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kathikon_actors.cli.app_loading import load_app
from kathikon_actors.cli.exit_codes import ExitCode
from kathikon_actors.cli.session import Session, common_options, json_option
from kathikon_actors.cli.store_session import open_store, run_async
from kathikon_actors.jobs.errors import BadConfiguration

if TYPE_CHECKING:
    from kathikon_actors.jobs.rotation import Rotated
    from kathikon_actors.jobs.sealing import Keyring

__all__ = ["keys"]


@click.group()
def keys() -> None:
    """Keys of encrypted jobs. They live in the app; no command shows one that is in use."""


@keys.command()
@json_option
@click.pass_obj
def generate(session: Session) -> None:
    """Print a new key. Put it in front of the app's encryption_keys, by way of wherever your secrets are."""
    from kathikon_actors.jobs.sealing import generate_key

    key = generate_key()
    if session.output.json:
        session.output.data({"key": key})
    else:
        click.echo(key)


@keys.command()
@click.argument("app", metavar="APP")
@common_options
@click.pass_obj
def rotate(session: Session, app: str) -> None:
    """Encrypt everything that is stored with the newest key of APP (module:attribute).

    Start every node with the new key first. Exit code 5: something was left, rotate again or look for its key.
    """
    keyring = load_app(app).keyring
    if keyring is None:
        raise BadConfiguration(f"{app} has no encryption_keys; there is nothing to rotate to")
    done = run_async(_rotate, session, keyring)
    if session.output.json:
        session.output.data(asdict(done))
    else:
        session.output.say(f"{done.jobs} jobs and {done.crons} cron entries were encrypted with the newest key")
    if done.pending:
        session.output.say(f"{done.pending} jobs changed meanwhile; rotate again")
    if done.unreadable:
        session.output.say(f"{done.unreadable} cannot be opened with any of the keys; they were left as they are")
    if done.pending or done.unreadable:
        raise click.exceptions.Exit(ExitCode.PARTLY_FAILED)


async def _rotate(session: Session, keyring: Keyring) -> Rotated:
    from kathikon_actors.node.rotation import rotate as rotate_keys

    async with open_store(session.url) as store:
        return await rotate_keys(keyring, store.sealed, store.crons)
