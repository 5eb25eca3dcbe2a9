"""What it costs when jobs hang together: `python -m benchmarks.composing [--quick] [--json] [--store URL]`.

The same no-op jobs and the same two worker processes as `benchmarks.jobs`, on a real Postgres with fsync. The floor of
a share is the plain job's own throughput in the same run; each is the median of several runs, taken in turn.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from benchmarks.job_queue.common import NAME, say, settled
from benchmarks.job_queue.workers import noop
from benchmarks.report import Row, print_rows, row
from kathikon_actors import App, Batch, CallNext, Job, NewJob, Node, Queue, Unique, Workflow, open_node, worker
from kathikon_actors.node.tuning import tune_gc
from kathikon_actors.store.embedded import open_embedded

INSERTERS = 500


@worker(queue="q")
def numbered(number: int) -> None:
    """Do nothing, each with an argument of its own."""


@worker(queue="rich", tags=["one", "two"], unique=Unique())
def rich(number: int) -> None:
    """Do nothing, with everything that a job may have."""


async def pass_on(job: Job, call_next: CallNext) -> object:
    """A middleware that only stands there."""
    return await call_next(job)


app = App([Queue("q", processes=2)], [noop, numbered])
rich_app = App([Queue("rich", processes=2)], [rich], middleware=[pass_on])


async def bulk(node: Node, new: Callable[[int], NewJob], jobs: int) -> float:
    """Insert with insert_many until the last completion is committed; give jobs a second."""
    began = time.perf_counter()
    await node.insert_many(new(number) for number in range(jobs))
    await settled(node)
    return jobs / (time.perf_counter() - began)


async def singles(node: Node, new: Callable[[int], NewJob], jobs: int) -> float:
    """The same one by one from many tasks, each awaiting its commit."""
    numbers = iter(range(jobs))

    async def inserter() -> None:
        for number in numbers:
            await node.insert(new(number))

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(INSERTERS):
            nursery.start_soon(inserter)
    await settled(node)
    return jobs / (time.perf_counter() - began)


async def streamed(node: Node, jobs: int) -> float:
    """A batch with a callback, from its opening until the callback has completed; give children a second."""
    began = time.perf_counter()
    async with node.open_batch(Batch(on_success=noop.new().options(tags=["callback"]))) as batch:
        await batch.insert_many(numbered.new(number) for number in range(jobs))
    status = await node.wait_batch(batch.id, timeout=600)
    assert (status.state, status.completed) == ("succeeded", jobs)
    await settled(node)
    return jobs / (time.perf_counter() - began)


async def chain(node: Node, steps: int) -> float:
    """A workflow of steps that wait each for the one before; give steps a second, from the insert on."""
    flow = Workflow()
    for step in range(steps):
        flow.add(str(step), numbered.new(step), after=str(step - 1) if step else ())
    began = time.perf_counter()
    jobs = await node.workflow(flow)
    await node.wait(jobs[str(steps - 1)].id, timeout=600)
    return steps / (time.perf_counter() - began)


async def in_turn(times: int, *measures: Callable[[], Awaitable[float]]) -> list[float]:
    """Give the median of each, taken in turn so that a slow moment hits all alike."""
    values: list[list[float]] = [[] for _ in measures]
    for _ in range(times):
        for measure, found in zip(measures, values, strict=True):
            found.append(await measure())
    return [statistics.median(found) for found in values]


async def rich_rows(dsn: str, jobs: int, times: int) -> list[Row]:
    """Plain jobs against jobs with history, tags, middleware and a unique key."""
    numbers = itertools.count()

    def new_rich(_number: int) -> NewJob:
        return rich.new(next(numbers))

    rows = []
    for figure, measure in (("insert_many", bulk), (f"{INSERTERS} inserters", singles)):
        say(f"tags, middleware, unique key: {figure}")

        async def plain(measure: Callable[..., Awaitable[float]] = measure) -> float:
            async with node_of(app, dsn) as node:
                await bulk(node, numbered.new, 1000)
                return await measure(node, numbered.new, jobs)

        async def full(measure: Callable[..., Awaitable[float]] = measure) -> float:
            async with node_of(rich_app, dsn) as node:
                await bulk(node, new_rich, 1000)
                return await measure(node, new_rich, jobs)

        bare, with_all = await in_turn(times, plain, full)
        rows.append(row(f"tags, middleware, unique key: {figure}", with_all, "jobs/s", goal=0.6 * bare, floor=bare))
    return rows


async def batch_rows(dsn: str, jobs: int, times: int) -> list[Row]:
    """Plain bulk inserts against a streamed batch, and what the batch takes of memory."""
    say(f"a batch of {jobs:,} streamed children")
    async with node_of(app, dsn) as node:
        await bulk(node, numbered.new, 1000)
        await streamed(node, 1000)
        await streamed(node, jobs)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        bare, batch = await in_turn(times, lambda: bulk(node, numbered.new, jobs), lambda: streamed(node, jobs))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return [
        row(f"batch of {jobs:,} streamed children", batch, "jobs/s", goal=0.6 * bare, floor=bare),
        row(f"growth of peak memory over {2 * times} x {jobs:,} jobs", grown, "MB", goal=32, better="lower"),
    ]


async def chain_rows(dsn: str, steps: int, times: int) -> list[Row]:
    """A chain of dependants."""
    say(f"a chain of {steps:,} dependants")
    async with node_of(app, dsn) as node:
        await bulk(node, numbered.new, 1000)
        [speed] = await in_turn(times, lambda: chain(node, steps))
    return [row(f"chain of {steps:,} dependants", speed, "steps/s", goal=300)]


@asynccontextmanager
async def node_of(declared: App, dsn: str) -> AsyncIterator[Node]:
    """Give a node that takes the place of the one before."""
    async with open_node(declared, store=dsn, name=NAME) as node:
        yield node


async def run(store: str | None, directory: Path, *, quick: bool) -> list[Row]:
    """Measure everything on a store, or on an embedded server in a directory."""
    jobs, times = (10_000, 1) if quick else (100_000, 3)

    async def on(dsn: str) -> list[Row]:
        rows = await chain_rows(dsn, 300 if quick else 1000, times)
        rows += await batch_rows(dsn, jobs, times)
        return rows + await rich_rows(dsn, jobs, times)

    if store:
        return await on(store)
    async with open_embedded(directory / "pg") as server:
        return await on(server.dsn)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.composing", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 60 s")
    parser.add_argument("--json", action="store_true", help="one JSON list of rows")
    parser.add_argument("--store", metavar="URL", help="a Postgres to measure on; an embedded one by default")
    options = parser.parse_args()
    tune_gc()
    with tempfile.TemporaryDirectory(prefix="kathikon-bench-") as directory:
        rows = trio.run(lambda: run(options.store, Path(directory), quick=options.quick))
    print_rows(rows, as_json=options.json)


if __name__ == "__main__":
    sys.exit(main())
