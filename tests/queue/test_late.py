"""What comes too late: inserts whose time is up, a flush that nobody can serve, a job that the store took away."""

from __future__ import annotations

import time

import pytest
import trio
from trio.testing import MockClock

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.tree import queue_spec
from kathikon_actors.store.journal import Journal
from kathikon_actors.store.protocol import Membership
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry.telling import Telling
from supervisors import open_supervisor
from tests.jobs.make import record
from tests.queue.test_pool import FakeZygote, TalkingProcess
from tests.support.waiting import eventually


class CutOff:
    """A store that answers nothing."""

    def __init__(self) -> None:
        self.telling = Telling()

    async def commit_inserts(self, *_args: object, **_kwargs: object) -> set[bytes]:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("cut off")

    async def last_batch(self, *_args: object) -> int:
        await trio.lowlevel.checkpoint()
        raise StoreUnavailable("cut off")


async def test_an_insert_whose_time_is_up_is_told_so_and_taken_back(autojump_clock: MockClock) -> None:
    """In no batch yet: nothing was stored. In flight: nobody knows."""
    table = Table()
    in_flight = await table.submit([record(1)], may_conflict=False, timeout=5.0)
    table.inserts.take()
    waiting = await table.submit([record(2)], may_conflict=False, timeout=5.0)
    patient = await table.submit([record(3)], may_conflict=False, timeout=50.0)
    table.expire(trio.current_time() + 4.9)
    assert not in_flight.finished and not waiting.finished
    table.expire(trio.current_time() + 5.1)
    assert in_flight.finished and waiting.finished
    with pytest.raises(StoreUnavailable, match="may or may not be stored"):
        await table.committed(in_flight)
    with pytest.raises(StoreUnavailable, match="nothing was stored"):
        await table.committed(waiting)
    assert table.inserts.pending == [patient] and not patient.finished


@pytest.mark.parametrize("given_up", [True, False])
async def test_a_stopping_journal_waits_only_for_a_store_that_somebody_opens(
    given_up: bool, autojump_clock: MockClock
) -> None:
    """Otherwise it stops at once and leaves the batch to the next journal; else it waits, but not for ever."""
    table = Table()
    journal = Journal(
        table,
        CutOff(),  # type: ignore[arg-type]
        Membership("n1", 1, 1),
        trio.sleep_forever,
        lambda: given_up,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        await table.submit([record(1)], may_conflict=False)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert (trio.current_time() - began < 1.0) == given_up
    assert table.inserts.batch is not None, "it is still there"


async def test_a_job_that_the_store_gave_to_another_node_is_not_dispatched() -> None:
    """It waits in the heap when its owner changes: the table knows, and its turn is passed over."""
    process, table = TalkingProcess(), Table()
    crew = Crew(Queue("default"), table, "n1", time.time_ns, lambda _: "plain", lambda _w, _a, _e: 1.0)
    zygote = FakeZygote(process)
    taken, kept = record(1), record(2)
    table.adopt([taken, kept])
    async with open_supervisor(
        [queue_spec(lambda: crew, "default", lambda: zygote)]  # type: ignore[arg-type, return-value]
    ):
        table.written([(taken, taken.attempt)], {taken.id})
        await eventually(lambda: kept.state == "executing", "the other one runs")
        assert [run.record.id for run in process.given()] == [kept.id]
        assert taken.state == "available"
