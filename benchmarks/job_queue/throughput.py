"""Jobs a second, from the insert to the committed completion."""

from __future__ import annotations

import itertools
import time

import trio

from benchmarks.job_queue.common import NAME, Setup, query, repeated, say, settled, warm
from benchmarks.job_queue.workers import app, async_app, async_noop, nap, nap_app, noop
from benchmarks.report import Row, row
from kathikon_actors import App, NewJob, Node, open_node
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore

__all__ = ["bulk", "drain", "singles", "throughput_rows"]

INSERTERS = 500

USED = """
SELECT xact_commit + xact_rollback AS transactions, pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float AS wal
FROM pg_stat_database WHERE datname = current_database()
"""

STATISTICS_LAG = 1.5
"""Seconds after which a Postgres session has reported what it did."""


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


async def bulk(node: Node, new: NewJob, jobs: int) -> float:
    """The same with insert_many."""
    began = time.perf_counter()
    await node.insert_many(itertools.repeat(new, jobs))
    await settled(node)
    return jobs / (time.perf_counter() - began)


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


async def async_jobs(dsn: str, declared: App, new: NewJob, setup: Setup) -> float:
    """Bulk inserts of async jobs: 2 processes of 256 slots."""
    async with open_node(declared, store=dsn, name=NAME) as node:
        await warm(node, lambda: new)
        return await repeated(lambda: bulk(node, new, setup.jobs), setup.times)


async def throughput_rows(setup: Setup, peers: dict[str, float]) -> list[Row]:
    """Measure everything here; `peers` are figures of the same names."""
    dsn, jobs, copy = setup.dsn, setup.jobs, setup.floor.copy
    say(f"drain of {jobs:,} jobs")
    drained = await repeated(lambda: drain(dsn, jobs), setup.times)
    async with open_node(app, store=dsn, name=NAME) as node:
        await warm(node)
        say("single inserts")
        await trio.sleep(STATISTICS_LAG)
        [before] = await query(dsn, USED)
        single = await repeated(lambda: singles(node, jobs), setup.times)
        await trio.sleep(STATISTICS_LAG)
        [after] = await query(dsn, USED)
        say("bulk inserts")
        many = await repeated(lambda: bulk(node, noop.new(), jobs), setup.times)
    transactions, wal = (float(after[key] - before[key]) / (jobs * setup.times) for key in ("transactions", "wal"))
    say("async jobs")
    idle = await async_jobs(dsn, async_app, async_noop.new(), setup)
    waiting = await async_jobs(dsn, nap_app, nap.new(), setup)

    def rate(figure: str, value: float, goal: float, peer: str = "") -> Row:
        return row(figure, value, "jobs/s", goal=goal, floor=copy, peer=peers.get(peer))

    return [
        rate(f"insert to completion, {INSERTERS} inserters", single, 25_000, "singles"),
        rate("insert to completion, insert_many", many, 45_000, "bulk"),
        rate(f"drain of {jobs:,} committed jobs from start", drained, 50_000, "drain"),
        rate("async jobs that wait 10 ms, 2 x 256 slots", waiting, 15_000),
        row("async jobs that do nothing, 2 x 256 slots", idle, "jobs/s", floor=copy),
        row(f"transactions per job, {INSERTERS} inserters", transactions, "", goal=0.05, better="lower"),
        row(f"WAL per job, {INSERTERS} inserters", wal, "bytes", goal=1500, better="lower"),
    ]
