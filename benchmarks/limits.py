"""What fairness and limits cost: `python -m benchmarks.limits [--quick] [--json] [--store URL]`.

No-op jobs, two worker processes, a real Postgres with fsync, `insert_many` until the last completion is committed. Each
figure stands beside the same jobs without the feature, on the same store in the same run: runs of both take turns, and
the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from benchmarks.job_queue.common import say, settled
from benchmarks.report import Row, print_rows, row
from kathikon_actors import App, Limit, NewJob, Node, Queue, Rate, open_node, worker
from kathikon_actors.node.tuning import tune_gc
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.embedded import open_embedded

TENANTS = 10_000


@worker(queue="q")
def plain() -> None:
    """Do nothing."""


@worker(queue="q", rate_limit=Rate(1_000_000, per=1.0, burst=1000))
def rated() -> None:
    """Do nothing, under a rate that is not reached."""


@worker(queue="q", concurrency=Limit(100_000))
def counted() -> None:
    """Do nothing, under a limit of concurrency that is not reached."""


@worker(queue="fair")
def tenants() -> None:
    """Do nothing, in a fair queue."""


apps = {
    "plain": App([Queue("q", processes=2)], [plain]),
    "rated": App([Queue("q", processes=2)], [rated]),
    "counted": App([Queue("q", processes=2)], [counted]),
    "fair": App([Queue("fair", processes=2, fair=True)], [tenants]),
}


def of_tenants(jobs: int) -> Iterable[NewJob]:
    """Give jobs of 10,000 tenants in turn."""
    return (tenants.new().options(partition_key=f"tenant {n % TENANTS}") for n in range(jobs))


JOBS: dict[str, Callable[[int], Iterable[NewJob]]] = {
    "plain": lambda jobs: (plain.new() for _ in range(jobs)),
    "rated": lambda jobs: (rated.new() for _ in range(jobs)),
    "counted": lambda jobs: (counted.new() for _ in range(jobs)),
    "fair": of_tenants,
}


async def bulk(node: Node, jobs: Iterable[NewJob], number: int) -> float:
    """Insert and complete; give jobs a second."""
    began = time.perf_counter()
    await node.insert_many(jobs)
    await settled(node)
    return number / (time.perf_counter() - began)


async def measure(dsn: str, number: int, times: int) -> list[Row]:
    """Let the apps take turns, each on a node that is opened for its turn."""
    rates: dict[str, list[float]] = {name: [] for name in apps}
    for turn in range(times):
        for name, app in apps.items():
            say(f"{name}, run {turn + 1}")
            async with open_node(app, store=dsn, name=f"bench-{name}") as node:
                await bulk(node, JOBS[name](500), 500)
                rates[name].append(await bulk(node, JOBS[name](number), number))
    median = {name: statistics.median(values) for name, values in rates.items()}
    base = median["plain"]

    def of(figure: str, name: str) -> Row:
        return row(figure, median[name], "jobs/s", goal=0.7 * base, floor=base)

    return [
        row("plain queue, insert_many (floor of the rows below)", base, "jobs/s"),
        of(f"fair queue, {TENANTS:,} tenants", "fair"),
        of("cluster-wide rate limit that is not reached", "rated"),
        of("cluster-wide concurrency limit that is not reached", "counted"),
    ]


async def run(dsn: str | None, *, quick: bool) -> list[Row]:
    """Measure on a store, or on an embedded server of our own."""
    number, times = (20_000, 3) if quick else (100_000, 5)
    async with AsyncExitStack() as stack:
        if dsn is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="kathikon-bench-"))
            dsn = (await stack.enter_async_context(open_embedded(Path(directory) / "pg"))).dsn
        await stack.enter_async_context(open_loop())
        return await measure(dsn, number, times)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 60 s")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.add_argument("--store", help="a postgresql:// URL; default: an embedded server in a temporary directory")
    options = parser.parse_args()
    tune_gc()  # as the command `node` does
    rows = trio.run(lambda: run(options.store, quick=options.quick))
    print_rows(rows, as_json=options.json)


if __name__ == "__main__":
    main()
