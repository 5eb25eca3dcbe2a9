"""`insert WORKER`: jobs from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.exit_codes import ExitCode, exit_code_of
from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, run_async

if TYPE_CHECKING:
    from kathikon_actors.node.listing import InsertedMany

__all__ = ["insert"]


@click.command()
@click.argument("worker")
@click.option("--args", "args_text", metavar="JSON", help="The arguments by name, as a JSON object; default {}.")
@click.option("--args-file", metavar="FILE.jsonl", type=click.Path(allow_dash=True, dir_okay=False),
              help="One JSON object a line, each a job; - reads standard input.")  # fmt: skip
@click.option("--queue", help="Default: that of the worker, as a node has declared it. So for what follows.")
@click.option("--priority", type=int, help="Higher first.")
@click.option("--max-attempts", type=click.IntRange(min=1))
@click.option("--timeout", type=float, metavar="SECONDS")
@click.option("--schedule-in", type=float, metavar="SECONDS", help="Not before so many seconds from now.")
@click.option("--tag", "tags", multiple=True, help="May be given several times.")
@click.option("--keys-of", metavar="APP", help="Encrypt with the encryption_keys of this app (module:attribute).")
@common_options
@click.pass_obj
def insert(
    session: Session, /, worker: str, args_text: str | None, args_file: str | None, keys_of: str | None, **options: Any
) -> int:
    """Insert one job of WORKER, or one for each line of a file; they are committed when this returns.

    WORKER is the name that the app gives it. Its arguments are checked, and its defaults hold, when a node has ever
    declared it on this store. Exit code 5: some lines of the file were refused, the others are stored.
    """
    from kathikon_actors.jobs.json import NotJson, check_text

    if args_text is not None and args_file is not None:
        raise click.UsageError("--args and --args-file exclude each other; give one of them")
    for name, text in {"WORKER": worker, "--queue": options["queue"], "--tag": [*options["tags"]]}.items():
        try:
            check_text(text, name)
        except NotJson as problem:
            raise click.UsageError(str(problem)) from None
    given = {name: value for name, value in options.items() if value not in (None, ())}
    keys = _keys_of(keys_of)
    output = session.output
    if args_file is not None:
        many, numbers, bad = run_async(_insert_many, session, worker, args_file, given, keys)
        refused = sorted([*bad, *((numbers[index], error) for index, error in many.errors)], key=lambda entry: entry[0])
        errors = [{"line": number, "error": str(error)} for number, error in refused]
        if output.json:
            ids = [str(job_id) for job_id in many.ids]
            there = [{"line": numbers[index], "id": str(job_id)} for index, job_id in many.conflicts]
            output.data({"inserted": many.inserted, "ids": ids, "conflicts": there, "errors": errors})
        else:
            for job_id in many.ids:
                output.line(str(job_id))
        for error in errors:
            output.say(f"line {error['line']}: {error['error']}")
        there_already = f", {len(many.conflicts)} there already" if many.conflicts else ""
        output.say(f"{many.inserted} inserted, {len(errors)} refused{there_already}")
        if not errors:
            return ExitCode.OK
        if many.inserted:
            return ExitCode.PARTLY_FAILED
        first = refused[0][1]
        return ExitCode.USAGE if isinstance(first, TypeError | _NoObject) else exit_code_of(first)
    try:
        args = _object(args_text or "{}")
    except _NoObject as error:
        raise click.UsageError(f"--args: {error}") from None
    try:
        job = run_async(_insert_one, session, worker, args, given, keys)
    except TypeError as error:
        raise click.UsageError(str(error)) from None
    if output.json:
        output.data(job.to_dict())
    else:
        output.line(str(job.id))
    if job.conflict:
        output.say("not inserted: it is unique, and this job is there already")
    return ExitCode.OK


class _NoObject(ValueError):
    """A text is not the arguments of a job."""


def _object(text: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())
    except UnicodeDecodeError as error:
        raise _NoObject(f"not UTF-8: {error.reason} in byte {error.start + 1}") from None
    except json.JSONDecodeError as error:
        raise _NoObject(f"not JSON: {error.msg} in column {error.colno}") from None
    except ValueError as error:  # a number with more digits than Python reads
        raise _NoObject(f"not usable: {error}") from None
    except RecursionError:
        raise _NoObject("not usable: it is nested too deep") from None
    if not isinstance(value, dict):
        raise _NoObject('not a JSON object; give arguments by name, as in {"a": 1}')
    return value


def _keys_of(app: str | None) -> tuple[bytes, ...]:
    from kathikon_actors.cli.app_loading import load_app

    if app is None:
        return ()
    keyring = load_app(app).keyring
    return () if keyring is None else keyring.raw


async def _insert_one(
    session: Session, worker: str, args: dict[str, Any], given: dict[str, Any], keys: tuple[bytes, ...]
) -> Any:
    async with open_client(session.url, keys) as client:
        return await client.insert(worker, args, **given)


async def _insert_many(
    session: Session, worker: str, file: str, given: dict[str, Any], keys: tuple[bytes, ...]
) -> tuple[InsertedMany, list[int], list[tuple[int, Exception]]]:
    """Insert what the file holds; give the line numbers of the jobs, and what is wrong with other lines."""
    from kathikon_actors.jobs.new_job import NewJob

    async with open_client(session.url, keys) as client:
        numbers: list[int] = []
        bad: list[tuple[int, Exception]] = []

        def jobs() -> Iterator[Any]:
            for number, line in _lines(file):
                try:
                    args = _object(line)
                except _NoObject as error:
                    bad.append((number, error))
                else:
                    numbers.append(number)
                    yield NewJob(worker, args, None, given)

        return await client.insert_many(jobs()), numbers, bad


def _lines(file: str) -> Iterator[tuple[int, bytes]]:
    try:
        stream = sys.stdin.buffer if file == "-" else Path(file).open("rb")  # noqa: SIM115 closed below
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None
    try:
        yield from ((number, line) for number, line in enumerate(stream, 1) if line.strip())
    finally:
        if file != "-":
            stream.close()
