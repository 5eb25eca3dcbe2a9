"""The timer of what is due later: what it holds, and what it lets go."""

from __future__ import annotations

import trio

from kathikon_actors.jobs import machine
from kathikon_actors.node.scheduler import MOST_STALE, Scheduler
from kathikon_actors.store.table import Table
from tests.jobs.make import NOW, record

LATER = NOW + 3_600_000_000


async def test_jobs_that_were_cancelled_long_before_they_are_due_do_not_pile_up() -> None:
    """Those that are still waited for come at their time all the same, once."""
    table, now = Table(), NOW
    available: list[bytes] = []
    table.attach_producer("default", lambda records: available.extend(job.id for job in records))
    scheduler = Scheduler(table, lambda: now, longest_sleep=0.001)
    async with trio.open_nursery() as nursery:
        await nursery.start(scheduler.run)
        kept = [record(n, state="scheduled", scheduled_at=LATER) for n in range(1, 4)]
        table.adopt(kept)
        for n in range(10, 10 + 3 * MOST_STALE):
            job = record(n, state="scheduled", scheduled_at=LATER, durability="memory")
            table.adopt([job])
            machine.cancel(job, NOW)
            table.changed([job])
        assert len(scheduler._heap) <= 2 * len(table.records) + MOST_STALE
        for _ in range(3 * MOST_STALE):
            scheduler.push(kept[0])
        assert len(scheduler._heap) <= 2 * len(table.records) + MOST_STALE
        now = LATER
        with trio.fail_after(5):
            while len(available) < len(kept):
                await trio.sleep(0.001)
        nursery.cancel_scope.cancel()
    assert sorted(available) == [job.id for job in kept]
