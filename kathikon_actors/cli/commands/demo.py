"""`demo`: a show of crash recovery that needs nothing else."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.exit_codes import ExitCode
from kathikon_actors.cli.seconds import Seconds
from kathikon_actors.cli.session import Session, json_option

if TYPE_CHECKING:
    from kathikon_actors.cli.output import Output

__all__ = ["demo"]


@click.command()
@click.option("--seconds", type=Seconds(1), default=20.0, show_default=True, metavar="SECONDS",
              help="How long things die.")  # fmt: skip
@click.option("--seed", type=int, help="Of who dies when; default: another one each time, told at the end.")
@click.option("--record", type=click.Path(path_type=Path, dir_okay=False, writable=True), metavar="FILE.svg",
              help="Write the last picture there.")  # fmt: skip
@json_option
@click.pass_obj
def demo(session: Session, seconds: float, seed: int | None, record: Path | None) -> int:
    """Watch a node survive.

    Jobs run on a private Postgres in a temporary directory while worker processes, parts of the supervision tree, the
    fork server and Postgres itself are killed. In the end every job is audited.
    """
    import trio

    from kathikon_actors.cli.demo.picture import open_picture
    from kathikon_actors.cli.demo.show import run_show

    if seed is None:
        seed = secrets.randbits(32)
    if record is not None and not os.access(record.parent, os.W_OK | os.X_OK):
        raise click.UsageError(f"--record: nothing can be written to the directory {record.parent}; does it exist?")
    output = session.output
    if output.json:
        score, verdict = trio.run(run_show, seconds, seed, lambda _node, _score: None)
        output.data(score.summary(verdict, seed))
    else:
        with open_picture(record) as picture:
            score, verdict = trio.run(run_show, seconds, seed, picture.draw)
        _tell(output, score.summary(verdict, seed))
    return ExitCode.OK if verdict.ok else ExitCode.FAILED


def _tell(output: Output, summary: dict[str, Any]) -> None:
    kills = ", ".join(f"{count} {kind}" for kind, count in summary["kills"].items())
    states = ", ".join(f"{count:,} {state}" for state, count in summary["by_state"].items())
    output.line("")
    output.line(f"jobs inserted     {summary['jobs']:,} ({states})")
    suicides = summary["jobs_that_killed_their_process"]
    output.line(
        f"crashes survived  {summary['crashes_survived']} ({kills or 'nothing killed'}; {suicides} by their own job)"
    )
    output.line(f"restarts          {summary['restarts']}")
    output.line(f"lost              {summary['lost']}")
    output.line(f"completed twice   {summary['completed_twice']}")
    if summary["recovery_p50"] is not None:
        p50, p99 = summary["recovery_p50"] * 1000, summary["recovery_p99"] * 1000
        output.line(f"recovery          {p50:.0f} ms (p50), {p99:.0f} ms (p99), from a kill until a new job was done")
    for problem in summary["problems"][:20]:
        output.line(f"PROBLEM           {problem}")
    output.line(f"seed              {summary['seed']}")
