"""The main group of commands, and how a call of it ends."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from kathikon_actors.cli.commands.batches import batches
from kathikon_actors.cli.commands.check import check
from kathikon_actors.cli.commands.cron import cron
from kathikon_actors.cli.commands.demo import demo
from kathikon_actors.cli.commands.doctor import doctor
from kathikon_actors.cli.commands.insert import insert
from kathikon_actors.cli.commands.job import job
from kathikon_actors.cli.commands.jobs import jobs
from kathikon_actors.cli.commands.keys import keys
from kathikon_actors.cli.commands.node import node
from kathikon_actors.cli.commands.nodes import nodes
from kathikon_actors.cli.commands.queues import queues
from kathikon_actors.cli.commands.schema import schema
from kathikon_actors.cli.commands.top import top
from kathikon_actors.cli.commands.tree import tree
from kathikon_actors.cli.exit_codes import ExitCode, exit_code_of
from kathikon_actors.cli.failures import leaf_of, sentence_of
from kathikon_actors.cli.session import Session, debug_option

__all__ = ["kathikon", "main", "run"]

_EXITS = """\b
Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 wrong state,
5 partly failed, 69 no node or database, 78 bad configuration."""


@click.group(epilog=_EXITS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="kathikon-actors", message="%(package)s %(version)s")
@debug_option
def kathikon() -> None:
    """Durable jobs in crash-isolated worker processes, under a supervision tree.

    Data goes to standard output, words to standard error.
    """


for _command in (node, demo, check, insert, jobs, job, queues, tree, top, nodes, cron, batches, keys, schema, doctor):
    kathikon.add_command(_command)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    code = run(sys.argv[1:], _program())
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _forget_stdout()
    sys.exit(code)


def run(arguments: Sequence[str], program: str = "kathikon") -> int:
    """Run one command; give its exit code. Nothing is raised: an error is one sentence on standard error.

    Args:
        arguments: without the program's name.
        program: what the usage texts call it.
    """
    session = Session()
    try:
        result = kathikon.main(list(arguments), prog_name=program, standalone_mode=False, obj=session)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.Abort:  # what click makes of KeyboardInterrupt
        return _fail(session, KeyboardInterrupt())
    except click.UsageError as error:
        command, message = error.ctx.command_path if error.ctx is not None else program, error.format_message()
        # A group without a command is answered with its help.
        session.output.say(message if message.startswith("Usage:") else f"error: {message} (see {command} --help)")
        return ExitCode.USAGE
    except click.ClickException as error:
        session.output.say(f"error: {error.format_message()}")
        return ExitCode.FAILED
    except SystemExit:  # what click makes of BrokenPipeError: whoever read our data has enough
        _forget_stdout()
        return ExitCode.OK
    except BaseException as error:
        return _fail(session, error)
    return result if isinstance(result, int) else ExitCode.OK


def _fail(session: Session, error: BaseException) -> ExitCode:
    if session.debug:
        traceback.print_exception(error)
    leaf = leaf_of(error)
    session.output.say(f"error: {sentence_of(leaf)}")
    return exit_code_of(leaf)


def _program() -> str:
    return "python -m kathikon_actors" if sys.argv[0].endswith("__main__.py") else "kathikon"


def _forget_stdout() -> None:
    """Whoever read our data has gone: nothing more can be written, not even at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
