"""The border of memory: how many jobs are held, and that nothing outside is overtaken."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.record import Record
from kathikon_actors.node.claimer import Claimer
from kathikon_actors.node.intake import Intake
from kathikon_actors.node.link import Link
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.producer import Producer
from kathikon_actors.store.border import Border
from kathikon_actors.store.journal import Journal
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.protocol import key_of
from kathikon_actors.store.table import Table
from tests.support.records import new_record, now_us

LIMIT = 10


class FakeRunner:
    """A process that takes one job and keeps it until the test ends it."""

    kind = "plain"
    alone = False
    process = SimpleNamespace(running=lambda: ())

    def __init__(self, on_start: Any) -> None:
        self.on_start = on_start
        self.record: Record | None = None

    @property
    def busy(self) -> int:
        return int(self.record is not None)

    @property
    def idle(self) -> bool:
        return self.record is None

    def has_room(self) -> bool:
        return self.record is None

    def give(self, record: Record, at: int, now: float) -> None:
        self.on_start(record)
        machine.begin(record, at)
        self.record = record

    def send(self) -> None:
        """Nothing is on a wire."""


class World:
    """A node without processes: table, journal, producer and claimer on a memory store."""

    def __init__(self) -> None:
        self.border = Border(LIMIT)
        self.table = Table({"default": self.border})
        self.store = MemoryStore()
        self.acknowledged: dict[bytes, Record] = {}
        self.started: list[bytes] = []
        self.overtaken: list[tuple[bytes, bytes]] = []
        self.most = 0
        self.runners = [FakeRunner(self.starts) for _ in range(2)]
        queue = Queue("default", concurrency=2, max_in_memory=LIMIT)
        self.crew = Crew(queue, self.table, "n1", now_us, lambda _worker: "plain", lambda *_: 0.0)
        self.crew.runners = self.runners  # type: ignore[assignment]
        self.crew.pool = SimpleNamespace(which_children=list, start_child=self.nothing)  # type: ignore[assignment]

    async def nothing(self, _spec: object) -> None:
        """No process is started."""

    def starts(self, record: Record) -> None:
        """Whatever was acknowledged and waits outside must not be better."""
        key = key_of(record)
        outside = self.store.data.owned[None]
        self.overtaken += [
            (record.id, other)
            for other in outside
            if other in self.acknowledged and key_of(self.acknowledged[other]) < key
        ]
        self.started.append(record.id)

    async def run(self, steps: list[Any]) -> None:
        """Play the steps, then end jobs until none is left."""
        await self.store.open()
        membership = await self.store.join("n1", 1e6)
        link = Link()
        link.opened()
        state: Any = SimpleNamespace(
            store=self.store,
            link=link,
            draining=False,
            crews={"default": self.crew},
            clock=now_us,
            the_table=lambda: self.table,
            backstop=lambda seconds: seconds,
        )
        intake = Intake(self.table, self.store, membership, ["default"], now_us)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Journal(self.table, self.store, membership, link.reopened).run)
            await nursery.start(Producer(self.crew, lambda: None).run)  # type: ignore[arg-type, return-value]
            await nursery.start(Claimer(state, intake).run)
            for step in steps:
                if isinstance(step, list):
                    nursery.start_soon(self.insert, [new_record(priority=priority) for priority in step])
                elif step == "end":
                    self.end_one()
                else:
                    await trio.testing.wait_all_tasks_blocked()
                await trio.lowlevel.checkpoint()
                self.most = max(self.most, self.border.held, len(self.table.records))
            with trio.fail_after(10_000):
                while len(self.store.data.finished) < sum(len(step) for step in steps if isinstance(step, list)):
                    self.end_one()
                    await trio.sleep(0.01)
                    self.most = max(self.most, self.border.held, len(self.table.records))
            nursery.cancel_scope.cancel()

    async def insert(self, records: list[Record]) -> None:
        insert = await self.table.submit(records, may_conflict=False)
        await self.table.committed(insert)
        self.acknowledged.update((record.id, record) for record in records)

    def end_one(self) -> None:
        for runner in self.runners:
            if runner.record is not None:
                record, runner.record = runner.record, None
                machine.complete(record, now_us(), None)
                self.table.changed([record])
                self.crew.wake()
                return


STEPS = st.lists(
    st.one_of(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.just("end"), st.just("settle")), max_size=25
)


@given(STEPS)
def test_nothing_starts_before_a_better_job_that_waits_outside_and_memory_keeps_its_bound(steps: list[Any]) -> None:
    """Any mix of inserts and ends: each job runs once, none is overtaken by memory, at most LIMIT (and those that run).

    Acknowledged, ready, stored by this node: that is what the border promises for.
    """
    world = World()
    trio.run(world.run, steps, clock=trio.testing.MockClock(autojump_threshold=0.001))
    assert world.overtaken == []
    assert sorted(world.started) == sorted(world.acknowledged)
    assert world.most <= LIMIT + 2
    assert (world.border.held, world.border.key) == (0, None)


# -- the border itself -------------------------------------------------------------------------------------------


def test_a_job_that_is_better_than_all_outside_goes_into_memory() -> None:
    """The last tenth of memory is for such jobs; without anything outside it stays free for claims."""
    border = Border(10)
    border.held = 9
    assert not border.admits(new_record())
    border.note((0, 0, b""))
    assert border.admits(new_record(priority=1))
    assert not border.admits(new_record(priority=-1))
    border.held = 10
    assert not border.admits(new_record(priority=1))


def test_jobs_that_are_due_later_fill_half_of_memory_at_most() -> None:
    """What waits for tomorrow must not keep out what is ready now."""
    border = Border(10)
    border.held = 4
    assert border.admits(new_record(state="scheduled"))
    border.held = 5
    assert not border.admits(new_record(state="scheduled"))


def test_what_is_noted_during_a_look_outlives_it() -> None:
    """The look may have come too early to see it; what was noted before, it has seen."""
    border = Border(10)
    border.note((-5, 0, b""))
    border.begin_look()
    border.note((-3, 0, b""))
    border.end_look(None)
    assert border.key == (-3, 0, b"")
    border.begin_look()
    border.end_look((-1, 0, b""))
    assert border.key == (-1, 0, b"")


def test_rows_of_a_worker_stay_outside_while_half_of_memory_waits_for_its_limits() -> None:
    """Until it is a quarter; those of other workers come in."""
    border = Border(100)
    border.held = 60
    assert not border.pass_over({"w": 49})
    assert border.pass_over({"w": 50, "v": 10}) and border.passing == {"w"}
    assert not border.pass_over({"w": 25, "v": 10})
    border.left(new_record(worker="w"))
    border.left(new_record(worker="w", state="scheduled"))
    assert (border.key, border.due) == (None, None)
    border.left(new_record(worker="v"))
    assert border.key is not None
    assert border.pass_over({"w": 24, "v": 10}) and not border.passing


def test_when_memory_is_full_no_more_of_those_that_wait_for_a_limit_come_in() -> None:
    """Until a tenth of it is free."""
    border = Border(100)
    border.held = 100
    assert border.pass_over({"w": 30, "v": 1}) and border.passing == {"w", "v"}
    border.held = 91
    assert not border.pass_over({"w": 30, "v": 1})
    border.held = 90
    assert border.pass_over({"w": 30, "v": 1}) and border.passing == {"w"}
    assert border.pass_over({"w": 24}) and not border.passing


@pytest.mark.parametrize("bad", [9, True, 1.5])
def test_a_bound_that_is_no_whole_number_from_10_is_refused(bad: Any) -> None:
    """With the queue and the field named."""
    with pytest.raises(ValueError, match='queue "q": max_in_memory'):
        Queue("q", max_in_memory=bad)
