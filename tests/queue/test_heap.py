"""The ready jobs of a queue, against a sorted list."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kathikon_actors.jobs.record import Record
from kathikon_actors.queue.heap import PriorityHeap
from tests.jobs.make import record

Key = tuple[int, int, bytes]


def order(job: Record) -> Key:
    """Priority descending, then due time, then id."""
    return -job.priority, job.scheduled_at, job.id


def popped(heap: PriorityHeap) -> list[Record]:
    jobs = []
    while (job := heap.pop()) is not None:
        jobs.append(job)
    return jobs


jobs_of = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 5)), max_size=40)


@given(keys=jobs_of)
def test_jobs_leave_in_the_order_of_priority_due_time_and_id(keys: list[tuple[int, int]]) -> None:
    """However they are pushed, one by one or at once, they leave sorted."""
    jobs = [record(number, priority=priority, scheduled_at=due) for number, (priority, due) in enumerate(keys)]
    one_by_one = PriorityHeap()
    for job in jobs:
        one_by_one.push(job)
    expected = sorted(jobs, key=order)
    assert len(one_by_one) == len(jobs)
    assert popped(one_by_one) == expected
    assert popped(PriorityHeap(jobs)) == expected
    assert len(one_by_one) == 0


class HeapAgainstList(RuleBasedStateMachine):
    """Pushes early and late, jobs that go stale and come back, pops in between."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = PriorityHeap()
        self.made = 0
        self.inside: list[tuple[Key, Record]] = []
        self.outside: list[Record] = []

    def put(self, job: Record) -> None:
        self.heap.push(job)
        self.inside.append((order(job), job))

    @rule(priority=st.integers(-2, 2), due=st.integers(0, 9))
    def push(self, priority: int, due: int) -> None:
        self.made += 1
        self.put(record(self.made * 7 % 64 * 100 + self.made, priority=priority, scheduled_at=due))

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def go_stale(self, data: st.DataObject) -> None:
        _, job = data.draw(st.sampled_from(self.inside))
        job.state = "cancelled"

    @precondition(lambda self: any(job.state == "cancelled" for _, job in self.inside))
    @rule(data=st.data(), due=st.integers(0, 9))
    def retry_by_hand(self, data: st.DataObject, due: int) -> None:
        """A cancelled job comes back while its old entry is still inside."""
        stale = [job for _, job in self.inside if job.state == "cancelled"]
        job = data.draw(st.sampled_from(stale))
        job.state, job.scheduled_at = "available", due
        self.put(job)

    @rule()
    def pop(self) -> None:
        self.inside.sort(key=lambda entry: entry[0])
        expected = next((job for _, job in self.inside if job.state == "available"), None)
        job = self.heap.pop()
        assert job is expected
        if job is None:
            self.inside.clear()
            return
        while self.inside[0][1] is not job:
            self.inside.pop(0)
        self.inside.pop(0)
        job.state = "executing"

    @invariant()
    def never_loses_one(self) -> None:
        alive = {job.id for _, job in self.inside if job.state == "available"}
        assert len(self.heap) >= len(alive)

    def teardown(self) -> None:
        expected = {job.id for _, job in self.inside if job.state == "available"}
        seen = set()
        while (job := self.heap.pop()) is not None:
            assert job.id not in seen
            seen.add(job.id)
            job.state = "executing"
        assert seen == expected
        assert len(self.heap) == 0


TestHeapAgainstList = HeapAgainstList.TestCase
TestHeapAgainstList.settings = settings(max_examples=60, stateful_step_count=40)


def test_stale_entries_are_passed_over_and_counted_until_then() -> None:
    """A cancelled job stays inside until its turn, and leaves with it."""
    jobs = [record(n) for n in range(5)]
    heap = PriorityHeap(jobs)
    for job in jobs[:4]:
        job.state = "cancelled"
    assert len(heap) == 5
    assert heap.pop() is jobs[4]
    assert len(heap) == 0
    assert heap.pop() is None


def test_a_late_push_overtakes() -> None:
    """A job due earlier than those inside leaves first, whenever it was pushed."""
    heap = PriorityHeap([record(n, scheduled_at=n) for n in range(10, 20)])
    heap.push(record(99, scheduled_at=12))
    heap.push(record(98, scheduled_at=1))
    heap.push(record(97, scheduled_at=50, priority=1))
    assert [job.id[-1] for job in popped(heap)] == [97, 98, 10, 11, 12, 99, *range(13, 20)]


def test_an_emptied_heap_takes_jobs_again() -> None:
    """Emptying leaves nothing behind that would disturb what comes next."""
    heap = PriorityHeap([record(1)])
    assert popped(heap) == [record(1)]
    heap.push(record(2, priority=-1))
    heap.push(record(3))
    assert [job.id[-1] for job in popped(heap)] == [3, 2]


def test_two_entries_of_one_job_are_never_compared_further() -> None:
    """A job that is inside twice with the same key does no harm, and starts once."""
    job = record(1)
    heap = PriorityHeap([job, job])
    heap.push(job)
    first = heap.pop()
    assert first is job
    job.state = "executing"
    assert heap.pop() is None
