"""A census of the standard library: one job for each Python file, and a last one that writes a report.

    python -m examples.stdlib_census                 on a node of its own, with a private Postgres
    python -m examples.stdlib_census --serial        the same counts in a plain loop, without any queue
    python -m examples.stdlib_census --chaos         on a node, while workers and nodes are killed at random

All three write the same report, byte for byte: a Markdown file and an SVG of the same name beside it. A run that was
killed, or stopped by Ctrl-C, goes on where it was when the same command is given again; one that has written its report
is done, and the next one counts anew. The first Ctrl-C lets running jobs finish, the second stops at once.

`examples.stdlib_census:app` is the app, for a node that is started in another way.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import trio

from examples.census.app import COUNT_ATTEMPTS, app
from examples.census.chaos import Reporter, Stuck, run_under_fire
from examples.census.counting import stdlib_root
from examples.census.progress import Show, show_progress
from examples.census.run import Census, CensusFailed, count_serially, run_census
from kathikon_actors import BadConfiguration, KathikonError, NodeNameTaken, StoreUnavailable, open_node

__all__ = ["app", "main"]

T = TypeVar("T")

STORE = "embedded:.kathikon/census"
NODE = "census"
"""The node's name: a run that goes on must come back under the name it had."""

FAILED, USAGE, NO_STORE, BAD_CONFIGURATION, INTERRUPTED = 1, 2, 69, 78, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code: 0 done, 1 failed, 69 no store, 78 bad configuration, 130 stopped."""
    parser = _parser()
    given = parser.parse_args(arguments)
    root = Path(given.root).resolve() if given.root else stdlib_root()
    if not root.is_dir():
        parser.error(f"--root: {root} is no directory")
    if given.kills >= COUNT_ATTEMPTS:
        parser.error(f"--kills: at most {COUNT_ATTEMPTS - 1}, the attempts of a job less one")
    if given.kills < 0 or given.node_kills < 0:
        parser.error("--kills and --node-kills count from 0")
    census = Census(root, Path(given.out).resolve())
    try:
        if given.chaos:
            return _chaos(census, given)
        if given.serial:
            return _serial(census)
        if given.report_to is not None:
            logging.getLogger("kathikon_actors").setLevel(logging.ERROR)  # the parent kills on purpose, and counts
            logging.getLogger("supervisors").setLevel(logging.CRITICAL)
            return _run(_under_watch, census, given.store or STORE, Reporter(given.report_to))
        return _queued(census, given.store or STORE, fresh=given.fresh)
    except BadConfiguration as error:
        return _say(error, BAD_CONFIGURATION)
    except (StoreUnavailable, NodeNameTaken) as error:
        return _say(error, NO_STORE)
    except (KathikonError, CensusFailed, Stuck, OSError) as error:
        return _say(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.stdlib_census", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="census.md", metavar="FILE", help="the report (default: %(default)s)")
    parser.add_argument("--root", metavar="DIR", help="count this tree instead of the standard library")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--serial", action="store_true", help="a plain loop, no queue")
    how.add_argument("--chaos", action="store_true", help="kill workers and the node while it runs")
    how.add_argument("--report-to", type=int, metavar="DESCRIPTOR", help=argparse.SUPPRESS)
    parser.add_argument(
        "--store", metavar="URL", help=f"where the jobs are (default: {STORE}; with --chaos a directory of its own)"
    )
    parser.add_argument("--fresh", action="store_true", help="begin anew, also when a run was not finished")
    parser.add_argument("--seed", type=int, metavar="N", help="of --chaos: when to kill whom (default: any)")
    parser.add_argument("--kills", type=int, default=25, metavar="N", help="of --chaos: workers (default: %(default)s)")
    parser.add_argument(
        "--node-kills", type=int, default=4, metavar="N", help="of --chaos: nodes (default: %(default)s)"
    )
    return parser


def _serial(census: Census) -> int:
    began = time.monotonic()
    with show_progress("counting") as show:
        files = count_serially(census, lambda done, total, _: show(done, total, ""))
    _done(census, files, began)
    return 0


def _queued(census: Census, store: str, *, fresh: bool) -> int:
    began = time.monotonic()
    with show_progress("counting") as show:
        files = _run(_with_node, census, store, fresh, show)
    if files is None:
        print("census: stopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    _done(census, files, began)
    return 0


def _run(program: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run a program; what a nursery wrapped in a group of one comes out as itself."""
    try:
        return trio.run(program, *args)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from None
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


async def _with_node(census: Census, store: str, fresh: bool, show: Show) -> int | None:
    """Run it on a node; `None` when a signal stopped it."""
    files: int | None = None
    async with open_node(app, store=store, name=NODE) as node, trio.open_nursery() as nursery:
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        files = await run_census(node, census, lambda done, total, _: show(done, total, ""), fresh=fresh)
        nursery.cancel_scope.cancel()
    return files


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    """Leave in order at the first signal; a second one finds the handlers as they were, and stops at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
            return


async def _under_watch(census: Census, store: str, reporter: Reporter) -> int:
    """Run it as the child of a chaos run, and not longer than the parent lives."""
    code = INTERRUPTED
    async with open_node(app, store=store, name=NODE) as node, trio.open_nursery() as nursery:

        async def report() -> None:
            await reporter.report(node)
            nursery.cancel_scope.cancel()

        nursery.start_soon(report)
        nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
        await run_census(node, census, reporter.progress)
        code = 0
        nursery.cancel_scope.cancel()
    return code


def _chaos(census: Census, given: argparse.Namespace) -> int:
    seed = random.SystemRandom().randrange(2**32) if given.seed is None else given.seed
    own = None if given.store else Path(tempfile.mkdtemp(prefix="kathikon-census-"))
    store = given.store or f"embedded:{own}"
    command = [
        sys.executable, "-m", "examples.stdlib_census", "--root", str(census.root), "--out", str(census.out),
        "--store", store, "--report-to",
    ]  # fmt: skip
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    try:
        with show_progress(f"counting under fire (seed {seed})") as show:
            outcome = run_under_fire(
                command, {**os.environ, "PYTHONPATH": path}, seed=seed, kills=given.kills,
                node_kills=given.node_kills, show=show,
            )  # fmt: skip
    finally:
        if own is not None:
            shutil.rmtree(own, ignore_errors=True)
    print(
        f"seed {seed}: {outcome.worker_kills} worker kills, {outcome.node_kills} node kills, "
        f"{outcome.node_starts} node starts, {outcome.seconds:.1f} s"
    )
    if outcome.exit_code != 0:
        return outcome.exit_code if outcome.exit_code > 0 else FAILED
    print(f"wrote {census.out} and {census.out.with_suffix('.svg').name}")
    if outcome.worker_kills < given.kills or outcome.node_kills < given.node_kills:
        print("census: it ended before all kills were done; count a larger tree, or kill less", file=sys.stderr)
        return FAILED
    return 0


def _done(census: Census, files: int, began: float) -> None:
    seconds = time.monotonic() - began
    print(f"wrote {census.out} and {census.out.with_suffix('.svg').name}: {files:,} files in {seconds:.1f} s")


def _say(error: BaseException, code: int) -> int:
    print(f"census: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
