"""A backlog that memory cannot hold: claims and throughput must not depend on its size."""

from __future__ import annotations

import statistics
import time

import trio

from benchmarks.job_queue.common import NAME, Setup, percentiles, query, say, settled, warm
from benchmarks.job_queue.workers import app
from benchmarks.report import Row, row
from kathikon_actors import Node, open_node
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore

__all__ = ["backlog_rows"]

STRETCHES = 9
CLAIMED = 50

SEED = """
WITH inserted AS (
    INSERT INTO kathikon.jobs (id, queue, worker, inserted_at, scheduled_at)
    SELECT ('{prefix:016x}8000' || lpad(to_hex(n), 12, '0'))::uuid, 'q', 'noop', now(), now()
    FROM generate_series(1, {rows}) AS n
)
SELECT pg_notify('kathikon_unowned', 'q')
"""


async def seed(dsn: str, rows: int) -> None:
    """Leave jobs that nobody owns, as clients without a node do; ids ascend as those of real jobs do."""
    await query(dsn, SEED.format(prefix=time.time_ns(), rows=rows))


async def claim_times(dsn: str, claims: int) -> list[float]:
    """Milliseconds of claims, one after another."""
    store = PostgresStore(dsn)
    await store.open()
    try:
        membership = await store.join(NAME, 30.0)
        await store.claim(membership, ["q"], CLAIMED)  # prepares the statement
        times = []
        for _ in range(claims):
            began = time.perf_counter()
            claimed = await store.claim(membership, ["q"], CLAIMED)
            times.append((time.perf_counter() - began) * 1e3)
            assert len(claimed) == CLAIMED
        await store.leave(membership)
    finally:
        await store.close()  # noqa: ASYNC102 it shields what it must
    return times


async def pace(node: Node, dsn: str, backlog: int, stretch: int) -> float:
    """Jobs/s while the backlog stays as large as it is: what is done is replaced, a stretch at a time."""
    await seed(dsn, backlog)
    rates = []
    async with trio.open_nursery() as nursery:
        for _ in range(STRETCHES):
            nursery.start_soon(seed, dsn, stretch)
            first, began = node.statistics().rows, time.perf_counter()
            while (done := node.statistics().rows - first) < stretch:
                await trio.sleep(0.001)
            rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates[1:])


async def backlog_rows(setup: Setup) -> list[Row]:
    """Measure everything here."""
    dsn, few, many, stretch = setup.dsn, setup.small_backlog, setup.backlog, setup.small_backlog // 2
    claims = few // CLAIMED - 10
    async with open_node(app, store=dsn, name=NAME, shutdown_timeout=1.0) as node:
        await warm(node)
        say(f"a backlog of {few:,} jobs")
        few_rate = await pace(node, dsn, few, stretch)
        await settled(node)
        say(f"a backlog of {many:,} jobs")
        many_rate = await pace(node, dsn, many, stretch)
    slow: dict[int, float] = {}
    async with open_loop():
        for backlog in (few, many):
            await query(dsn, "TRUNCATE kathikon.jobs")
            await seed(dsn, backlog)
            _, slow[backlog] = percentiles(await claim_times(dsn, claims))
        await query(dsn, "TRUNCATE kathikon.jobs")
    return [
        row(f"backlog of {many:,} (floor: {few:,})", many_rate, "jobs/s", goal=0.8 * few_rate, floor=few_rate),
        row(
            f"claim of {CLAIMED} at {many:,}, p99 (floor: {few:,})",
            slow[many],
            "ms",
            goal=1.2 * slow[few],
            better="lower",
            floor=slow[few],
        ),
    ]
