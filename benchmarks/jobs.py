"""What the job queue costs: `python -m benchmarks.jobs [--quick] [--json] [--peers] [--store URL]`.

No-op jobs, two worker processes, a real Postgres with fsync (an embedded one in a temporary directory unless `--store`
names another). Each figure stands beside the machine's floor for the bare operation in the same run, such as commits
and rows by plain asyncpg; with `--peers` pgqueuer does the same work beside it. Throughputs are run several times,
and the median is printed. What features cost beside plain jobs comes last, without `--quick`: `benchmarks.limits` and
`benchmarks.composing`, which are commands of their own, too.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from benchmarks import composing, limits
from benchmarks.floor import measure_floor
from benchmarks.job_queue.backlog import backlog_rows
from benchmarks.job_queue.common import Setup, say
from benchmarks.job_queue.crons import cron_rows
from benchmarks.job_queue.latency import latency_rows
from benchmarks.job_queue.peers import peer_figures
from benchmarks.job_queue.recovery import recovery_rows
from benchmarks.job_queue.startup import startup_rows
from benchmarks.job_queue.throughput import throughput_rows
from benchmarks.report import Row, print_rows, row
from kathikon_actors.node.tuning import tune_gc
from kathikon_actors.store.embedded import open_embedded

SECTIONS = ("throughput", "latency", "backlog", "recovery", "crons", "startup")
FEATURES = ("limits", "composing")


async def measure(setup: Setup, sections: tuple[str, ...], *, peers: bool) -> list[Row]:
    """Measure on one store, the floor's own figures first."""
    floor = setup.floor
    rows = [
        row("one-row commit, plain asyncpg (floor)", floor.commit_ms, "ms", better="lower"),
        row("COPY by 1,000 rows of 12 columns, plain asyncpg (floor)", floor.copy, "rows/s"),
        row("the same, the times filled in by the server", floor.narrow_copy, "rows/s"),
        row("unnest by 1,000 rows, plain asyncpg (floor)", floor.unnest, "rows/s"),
    ]
    if "throughput" in sections:
        figures: dict[str, float] = {}
        if peers:
            jobs = max(setup.jobs // 10, 100)
            figures = await trio.to_thread.run_sync(peer_figures, setup.dsn, jobs, max(1, setup.times // 2))
        rows += await throughput_rows(setup, figures)
    if "latency" in sections:
        rows += await latency_rows(setup)
    if "backlog" in sections:
        rows += await backlog_rows(setup)
    if "recovery" in sections:
        rows += await recovery_rows(setup)
    if "crons" in sections:
        rows += await cron_rows(setup)
    if "startup" in sections:
        rows += await trio.to_thread.run_sync(startup_rows)
    return rows


def sized(dsn: str, *, quick: bool) -> Setup:
    """Measure the floor, and say how much is to be measured."""
    say("the machine's floor")
    floor = measure_floor(dsn, seconds=0.7 if quick else 3.0)
    if quick:
        return Setup(dsn, floor, jobs=20_000, samples=100, times=3, seconds=2.0, backlog=200_000, deaths=10)
    return Setup(dsn, floor)


async def run(options: argparse.Namespace, directory: Path) -> list[Row]:
    """Measure what was asked for."""
    sections = tuple(options.only or (SECTIONS if options.quick else (*SECTIONS, *FEATURES)))

    async def on(dsn: str) -> list[Row]:
        setup = await trio.to_thread.run_sync(lambda: sized(dsn, quick=options.quick))
        return await measure(setup, sections, peers=options.peers)

    rows: list[Row] = []
    if set(sections) - set(FEATURES):
        async with AsyncExitStack() as stack:
            server = None if options.store else await stack.enter_async_context(open_embedded(directory / "pg"))
            rows += await on(options.store if server is None else server.dsn)
    if "limits" in sections:
        rows += await limits.run(options.store, quick=options.quick)
    if "composing" in sections:
        rows += await composing.run(options.store, directory / "composing", quick=options.quick)
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="end within 60 s")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.add_argument("--peers", action="store_true", help="have pgqueuer do the same work, when it is installed")
    parser.add_argument("--store", help="a postgresql:// URL; default: an embedded server in a temporary directory")
    kinds = (*SECTIONS, *FEATURES)
    parser.add_argument("--only", action="append", choices=kinds, help="one kind of figure; may be repeated")
    options = parser.parse_args()
    tune_gc()  # as the command `node` does
    with tempfile.TemporaryDirectory(prefix="kathikon-bench-") as directory:
        rows = trio.run(run, options, Path(directory))
    print_rows(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
