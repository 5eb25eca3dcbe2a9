"""Milliseconds from the call of insert to the start of the job, the insert's commit included."""

from __future__ import annotations

import time
from typing import Any

import trio

from benchmarks.job_queue.common import NAME, Setup, percentiles, query, say, settled, warm
from benchmarks.job_queue.workers import app, started_after
from benchmarks.report import Row, row
from kathikon_actors import Node, open_node

__all__ = ["arriving", "idle", "latency_rows"]

PER_SECOND = 10_000
PAUSE = 0.01
RESULTS = "SELECT (result #>> '{}')::bigint AS ns FROM kathikon.finished_jobs WHERE worker = 'started_after'"


async def idle(node: Node, jobs: int, **options: Any) -> list[float]:
    """One at a time on an idle node."""
    times = []
    for _ in range(jobs):
        job = await node.insert(started_after.new(time.time_ns()), **options)
        done = await node.wait(job.id)
        times.append(done.result / 1e6)
        await trio.sleep(PAUSE)
    return times


async def arriving(node: Node, dsn: str, seconds: float) -> list[float]:
    """Jobs that arrive one by one at a fixed pace, whether the node keeps up or not; counted from when each was due."""
    await query(dsn, "DELETE FROM kathikon.finished_jobs WHERE worker = 'started_after'")

    async def insert(due: int) -> None:
        await node.insert(started_after.new(due))

    total = int(seconds * PER_SECOND)
    gap = 1_000_000_000 // PER_SECOND
    async with trio.open_nursery() as nursery:
        began, sent = time.time_ns(), 0
        while sent < total:
            while sent < total and (due := began + sent * gap) <= time.time_ns():
                nursery.start_soon(insert, due)
                sent += 1
            await trio.sleep(0.0005)
    await settled(node)
    return [record["ns"] / 1e6 for record in await query(dsn, RESULTS)]


async def latency_rows(setup: Setup) -> list[Row]:
    """Measure everything here."""
    async with open_node(app, store=setup.dsn, name=NAME) as node:
        await warm(node)
        say("latency")
        p50, p99 = percentiles(await idle(node, setup.samples))
        say(f"latency at {PER_SECOND:,} jobs/s")
        busy50, busy99 = percentiles(await arriving(node, setup.dsn, setup.seconds))
        say("latency in memory")
        memory50, memory99 = percentiles(await idle(node, setup.samples, durability="memory"))
    commit = setup.floor.commit_ms

    def late(figure: str, value: float, goal: float | None) -> Row:
        return row(f"insert call to job start, {figure}", value, "ms", goal=goal, better="lower", floor=commit)

    return [
        late("idle, p50", p50, 3),
        late("idle, p99", p99, 10),
        late(f"{PER_SECOND:,} jobs/s, p50", busy50, None),
        late(f"{PER_SECOND:,} jobs/s, p99", busy99, 20),
        late('durability="memory", p50', memory50, 0.5),
        late('durability="memory", p99', memory99, None),
    ]
