"""What the measurements share: where they run, how they warm up, when a node has nothing left to do."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import asyncpg
import trio
import trio_asyncio

from benchmarks.floor import Floor
from benchmarks.job_queue.workers import noop
from kathikon_actors import NewJob, Node
from kathikon_actors.store.connection import open_loop

__all__ = ["NAME", "Setup", "percentiles", "query", "repeated", "say", "settled", "warm"]

NAME: Final = "bench"
"""The node's name: each measurement takes the place of the one before."""


@dataclass(frozen=True)
class Setup:
    """Where and how much to measure.

    Attributes:
        dsn: of a Postgres with fsync.
        floor: what it gave for bare operations in the same run.
        jobs: of one run of a throughput; likewise `samples` of a latency.
        times: runs of a throughput, of which the median counts.
        seconds: of jobs that arrive at a fixed pace.
        backlog: rows of the large backlog, beside `small_backlog`.
        deaths: worker processes to kill.
    """

    dsn: str
    floor: Floor
    jobs: int = 100_000
    samples: int = 500
    times: int = 5
    seconds: float = 10.0
    backlog: int = 1_000_000
    small_backlog: int = 10_000
    deaths: int = 50


async def settled(node: Node) -> None:
    """Wait until every job has ended and every outcome is committed."""
    while True:
        now = node.statistics()
        if not now.jobs and not now.uncommitted_outcomes:
            return
        await trio.sleep(0.002)


async def warm(node: Node, new: Callable[[], NewJob] = noop.new) -> None:
    """Have every worker process running and every statement prepared."""
    await node.insert_many(new() for _ in range(500))
    await settled(node)
    for _ in range(10):
        job = await node.insert(new())
        await node.wait(job.id)


async def repeated(measure: Callable[[], Awaitable[float]], times: int) -> float:
    """Give the median of several runs."""
    return statistics.median([await measure() for _ in range(times)])


def percentiles(values: list[float]) -> tuple[float, float]:
    """Give the median and the 99th percentile."""
    cuts = statistics.quantiles(values, n=100)
    return cuts[49], cuts[98]


async def query(dsn: str, statement: str) -> list[asyncpg.Record]:
    """Run one statement on a connection of its own."""

    async def run() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()  # noqa: ASYNC102 in an asyncio task of its own

    async with open_loop():
        rows: list[asyncpg.Record] = await trio_asyncio.aio_as_trio(run)()
        return rows


def say(what: str) -> None:
    """Show progress on stderr."""
    print(f"measuring {what} ...", file=sys.stderr, flush=True)
