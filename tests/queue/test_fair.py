"""The ready jobs of a fair queue, against a list of partitions that take turns."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kathikon_actors.jobs.keypath import partition_of
from kathikon_actors.jobs.record import Record
from kathikon_actors.queue import fair
from kathikon_actors.queue.fair import FairHeap
from kathikon_actors.store.protocol import key_of
from tests.jobs.make import record
from tests.support.partitions import in_partition

made = in_partition


class FairAgainstList(RuleBasedStateMachine):
    """A model in ten lines: a list of (partition, its jobs); the first one moves to the end when it was served."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = FairHeap()
        self.round: list[tuple[str | None, list[Record]]] = []
        self.number = 0

    @rule(partition=st.sampled_from([None, "a", "b", "c"]), priority=st.integers(-1, 1), due=st.integers(0, 5))
    def push(self, partition: str | None, priority: int, due: int) -> None:
        self.number += 1
        job = made(partition, record(self.number, priority=priority, scheduled_at=due))
        self.heap.push(job)
        for name, jobs in self.round:
            if name == partition:
                jobs.append(job)
                return
        self.round.append((partition, [job]))

    @precondition(lambda self: self.round)
    @rule(data=st.data())
    def go_stale(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from([job for _, jobs in self.round for job in jobs]))
        job.state = "cancelled"

    def model_pop(self, *, look: bool) -> Record | None:
        """Stale jobs keep the place of their partition until they are met."""
        while self.round:
            name, jobs = self.round[0]
            jobs.sort(key=key_of)
            while jobs and jobs[0].state != "available":
                jobs.pop(0)
            if not jobs:
                self.round.pop(0)
                continue
            if look:
                return jobs[0]
            job = jobs.pop(0)
            self.round.pop(0)
            if jobs:
                self.round.append((name, jobs))
            return job
        return None

    @rule()
    def pop(self) -> None:
        assert self.heap.pop() is self.model_pop(look=False)

    @rule()
    def look(self) -> None:
        job = self.model_pop(look=True)
        assert self.heap.first() is job
        assert self.heap.best() == (None if job is None else key_of(job))

    @invariant()
    def counts_what_is_inside(self) -> None:
        assert len(self.heap) == sum(len(jobs) for _, jobs in self.round)


class FairOfManyAgainstList(FairAgainstList):
    """The same where three jobs are many already: a partition gets the heap of a large one, and keeps it."""

    def __init__(self) -> None:
        super().__init__()
        self.usual, fair.FEW = fair.FEW, 2  # type: ignore[misc]

    def teardown(self) -> None:
        fair.FEW = self.usual  # type: ignore[misc]


TestFairOfManyAgainstList = FairOfManyAgainstList.TestCase
TestFairOfManyAgainstList.settings = settings(max_examples=60, stateful_step_count=40)
TestFairAgainstList = FairAgainstList.TestCase
TestFairAgainstList.settings = settings(max_examples=60, stateful_step_count=40)


def starts_of(heap: FairHeap, number: int) -> list[str | None]:
    names = []
    for _ in range(number):
        job = heap.pop()
        assert job is not None
        names.append(partition_of(job))
        job.state = "executing"
    return names


def test_ninety_nine_small_tenants_start_within_two_rounds_beside_a_hundred_thousand_jobs() -> None:
    """One tenant with 100,000 jobs, inserted first; 99 with one: two rounds are 200 starts."""
    heap = FairHeap(made("big", record(n)) for n in range(100_000))
    assert starts_of(heap, 50) == ["big"] * 50
    for tenant in range(99):
        heap.push(made(f"t{tenant}", record(200_000 + tenant)))
    first = starts_of(heap, 200)
    assert {name for name in first if name != "big"} == {f"t{n}" for n in range(99)}
    assert Counter(first)["big"] == 101
    assert first.count("big") - first[:100].count("big") == 100, "when they are done it has all to itself"


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12))
def test_nobody_is_two_rounds_behind_while_it_has_work(sizes: list[int]) -> None:
    """At any moment the starts of two partitions that still have jobs differ by one at the most."""
    jobs: list[Any] = [
        made(str(tenant), record(100 * tenant + n)) for tenant, size in enumerate(sizes) for n in range(size)
    ]
    heap = FairHeap(jobs)
    started: Counter[int] = Counter()
    for _ in jobs:
        (name,) = starts_of(heap, 1)
        assert name is not None
        started[int(name)] += 1
        busy = [started[tenant] for tenant, size in enumerate(sizes) if started[tenant] < size]
        assert not busy or max(started.values()) - min(busy) <= 1
    assert heap.pop() is None
