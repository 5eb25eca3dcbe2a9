"""What 10,000 cron entries cost a node that has nothing to do: its own CPU time over some seconds of idling."""

from __future__ import annotations

import time

import trio

from benchmarks.job_queue.common import NAME, Setup, query, say
from benchmarks.job_queue.workers import app, noop
from benchmarks.report import Row, row
from kathikon_actors import App, Cron, Node, open_node

__all__ = ["cron_rows"]

ENTRIES = 10_000


async def idle_share(node: Node, seconds: float) -> float:
    """Percent of one core that this process uses while nothing happens."""
    await trio.sleep(2.0)
    began, cpu = time.perf_counter(), time.process_time()
    await trio.sleep(seconds)
    assert not node.statistics().jobs
    return 100 * (time.process_time() - cpu) / (time.perf_counter() - began)


async def cron_rows(setup: Setup) -> list[Row]:
    """Measure an idle node without entries, then one that leads and has `ENTRIES` of them, none due."""
    say(f"{ENTRIES} cron entries that are not due")
    async with open_node(app, store=setup.dsn, name=NAME) as node:
        bare = await idle_share(node, setup.seconds)
    year = time.gmtime(time.time() - 86_400)
    day = f"{year.tm_mday} {year.tm_mon}"
    entries = [Cron(f"entry {i}", f"{i % 60} {i // 60 % 24} {day} *", noop.new()) for i in range(ENTRIES)]
    crowded = App(list(app.queues.values()), workers=[noop], crons=entries)
    async with open_node(crowded, store=setup.dsn, name=NAME) as node:
        while len(await node.crons.list()) < ENTRIES or not node._state.leadership.leads:  # noqa: SLF001 who leads
            await trio.sleep(0.1)
        began = time.process_time()
        await trio.sleep(3.0)
        loaded = time.process_time() - began
        say(f"declared and loaded; {loaded:.2f} s of CPU in the 3 s after")
        full = await idle_share(node, setup.seconds)
    await query(setup.dsn, "DELETE FROM kathikon.crons")
    return [
        row("idle node, CPU of one core (floor)", bare, "%", better="lower"),
        row("idle node with 10,000 cron entries, CPU of one core", full, "%", goal=1.0, better="lower", floor=bare),
    ]
