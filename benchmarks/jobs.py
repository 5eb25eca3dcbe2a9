"""What the job queue costs: `python -m benchmarks.jobs [--quick] [--json] [--store URL]`.

No-op jobs, two worker processes, a real Postgres with fsync (an embedded one in a temporary directory unless `--store`
names another). Each figure stands beside the machine's floor for the bare operation in the same run: commits and rows
by plain asyncpg. Runs are repeated, and the median is printed.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from benchmarks.floor import Floor, measure_floor
from benchmarks.report import Row, print_rows, row
from benchmarks.workers import app, noop, started_at
from kathikon_actors import Node, open_node
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.node.tuning import tune_gc
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.embedded import open_embedded
from kathikon_actors.store.postgres import PostgresStore

INSERTERS = 500
NAME = "bench"


async def settled(node: Node) -> None:
    """Wait until every job has ended and every outcome is committed."""
    while True:
        now = node.statistics()
        if not now.jobs and not now.uncommitted_outcomes:
            return
        await trio.sleep(0.002)


async def warm(node: Node) -> None:
    """Have every worker process running and every statement prepared."""
    await node.insert_many(noop.new() for _ in range(500))
    await settled(node)
    for _ in range(10):
        job = await node.insert(noop.new())
        await node.wait(job.id)


async def singles(node: Node, jobs: int) -> float:
    """Insert one by one from many tasks, each awaiting its commit, until the last job's completion is committed."""
    numbers = iter(range(jobs))

    async def inserter() -> None:
        for _ in numbers:
            await node.insert(noop.new())

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(INSERTERS):
            nursery.start_soon(inserter)
    await settled(node)
    return jobs / (time.perf_counter() - began)


async def bulk(node: Node, jobs: int) -> float:
    """The same with insert_many."""
    began = time.perf_counter()
    await node.insert_many(noop.new() for _ in itertools.repeat(None, jobs))
    await settled(node)
    return jobs / (time.perf_counter() - began)


async def start_latency(node: Node, jobs: int) -> list[float]:
    """Milliseconds from the call of insert to the start of the job, one at a time on an idle node, sorted."""
    times = []
    for _ in range(jobs):
        began = time.time_ns()
        job = await node.insert(started_at.new())
        done = await node.wait(job.id)
        times.append((done.result - began) / 1e6)
        await trio.sleep(0.01)
    return sorted(times)


async def drain(dsn: str, jobs: int) -> float:
    """Complete jobs that an earlier life of the node left behind, from the start of the node."""
    definition, ids = noop.definition, IdSource()
    async with open_loop():
        store = PostgresStore(dsn)
        await store.open()
        membership = await store.join(NAME, 30.0)
        for number, begin in enumerate(range(0, jobs, 5000), 1):
            now = time.time_ns() // 1000
            count = min(5000, jobs - begin)
            records = [build_record(noop.new(), definition, app.defaults, ids, now) for _ in range(count)]
            await store.commit_inserts(membership, number, records, may_conflict=False)
        await store.leave(membership)
        await store.close()
    began = time.perf_counter()
    async with open_node(app, store=dsn, name=NAME) as node:
        await settled(node)
        return jobs / (time.perf_counter() - began)


async def repeated(measure: Callable[[], Awaitable[float]], times: int) -> float:
    """Give the median of several runs."""
    return statistics.median([await measure() for _ in range(times)])


async def measure(dsn: str, floor: Floor, *, quick: bool) -> list[Row]:
    """Run everything on one store."""
    jobs, times, samples = (20_000, 3, 100) if quick else (100_000, 5, 500)
    say("drain")
    drained = await repeated(lambda: drain(dsn, jobs), times)
    async with open_node(app, store=dsn, name=NAME) as node:
        await warm(node)
        say("latency")
        latency = await start_latency(node, samples)
        say("single inserts")
        single = await repeated(lambda: singles(node, jobs), times)
        say("bulk inserts")
        before = node.statistics()
        many = await repeated(lambda: bulk(node, jobs), times)
        after = node.statistics()
    percentile = statistics.quantiles(latency, n=100)
    return [
        row("one-row commit, plain asyncpg (floor)", floor.commit_ms, "ms", better="lower"),
        row("COPY by 1,000 rows, plain asyncpg (floor)", floor.copy, "rows/s"),
        row("unnest by 1,000 rows, plain asyncpg (floor)", floor.unnest, "rows/s"),
        row(f"insert to completion, {INSERTERS} inserters", single, "jobs/s", goal=25_000, floor=floor.copy),
        row("insert to completion, insert_many", many, "jobs/s", goal=45_000, floor=floor.copy),
        row(f"drain of {jobs:,} committed jobs from start", drained, "jobs/s", goal=50_000, floor=floor.copy),
        row("insert call to job start, idle, p50", percentile[49], "ms", goal=3, better="lower", floor=floor.commit_ms),
        row(
            "insert call to job start, idle, p99", percentile[98], "ms", goal=10, better="lower", floor=floor.commit_ms
        ),
        row(
            "commits per job, insert_many",
            (after.commits - before.commits) / (jobs * times),
            "commits",
            goal=0.05,
            better="lower",
        ),
    ]


def say(what: str) -> None:
    """Show progress on stderr."""
    print(f"measuring {what} ...", file=sys.stderr, flush=True)


async def on_embedded(path: Path, *, quick: bool) -> list[Row]:
    """Measure on a fresh Postgres of our own."""
    async with open_embedded(path) as server:
        return await on_store(server.dsn, quick=quick)


async def on_store(dsn: str, *, quick: bool) -> list[Row]:
    """Measure the floor, then the queue."""
    say("the machine's floor")
    floor = await trio.to_thread.run_sync(lambda: measure_floor(dsn, seconds=0.7 if quick else 3.0))
    return await measure(dsn, floor, quick=quick)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 60 s")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.add_argument("--store", help="a postgresql:// URL; default: an embedded server in a temporary directory")
    options = parser.parse_args()
    tune_gc()  # as the command `node` does
    with tempfile.TemporaryDirectory(prefix="kathikon-bench-") as directory:
        if options.store:
            rows = trio.run(lambda: on_store(options.store, quick=options.quick))
        else:
            rows = trio.run(lambda: on_embedded(Path(directory) / "pg", quick=options.quick))
    print_rows(rows, as_json=options.json)


if __name__ == "__main__":
    main()
