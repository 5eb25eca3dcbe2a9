"""Gates, heaps and bids of several nodes against a plain count: never exceeded, never stuck. No clock, no store."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.breaker import Breaker
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.gcra import NS, Slots, reserve
from kathikon_actors.jobs.limits import Limit, Rate
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sharing import Holder, settle
from kathikon_actors.processes.messages import Report
from kathikon_actors.queue.gatekeeper import Gatekeeper
from kathikon_actors.queue.gates import HORIZON, VALID, CircuitGate, RateGate, TokenGate
from kathikon_actors.queue.heap import PriorityHeap
from kathikon_actors.queue.limited import LimitedHeap
from kathikon_actors.queue.settle import Ending, end_by_hand
from kathikon_actors.queue.settle import settle as settle_run
from kathikon_actors.store.protocol import key_of
from tests.jobs.make import NOW, record


class World:
    """What nodes share: a clock, and who holds what by the store."""

    def __init__(self) -> None:
        self.now = 100.0
        self.holders: dict[tuple[str, str], list[Holder]] = {}
        self.tats: dict[tuple[str, str], int] = {}
        self.made = 0


class SimNode:
    """A node without processes: jobs in a limited heap, runs in a list."""

    def __init__(
        self, world: World, number: int, workers: dict[str, Any], *, guarded: bool = False, queues: int = 1
    ) -> None:
        self.world = world
        self.number = number
        self.guarded = guarded
        self.beginning: list[Record] = []
        definitions: Any = {
            name: SimpleNamespace(
                name=name,
                concurrency=options.get("concurrency"),
                rate_limit=options.get("rate_limit"),
                breaker=options.get("breaker"),
            )
            for name, options in workers.items()
        }
        self.keeper = Gatekeeper(definitions, lambda: world.now)
        self.records: dict[bytes, Record] = {}
        self.heaps = [
            LimitedHeap(PriorityHeap, "q", self.keeper, self.records, lambda: None, self.may_start)
            for _ in range(queues)
        ]
        self.heap = self.heaps[0]
        self.runs: list[Record] = []
        self.keeper.tick(world.now)

    def push(self, worker: str, account: int, priority: int = 0) -> None:
        self.world.made += 1
        args = b'{"account":%d}' % account
        extra = Extra(guarded=0) if self.guarded else None
        job = record(self.world.made, worker=worker, args=args, priority=priority, extra=extra)
        self.records[job.id] = job
        self.heap_of(job).push(job)

    def heap_of(self, job: Record) -> LimitedHeap:
        return self.heaps[job.id[-1] % len(self.heaps)]

    def may_start(self, job: Record) -> bool:
        assert job.extra is not None
        if job.extra.begun == 0:
            job.extra = msgspec.structs.replace(job.extra, begun=1)
            self.beginning.append(job)
        return job.extra.begun == 2

    def commit(self) -> None:
        """The starts of guarded jobs are committed."""
        beginning, self.beginning = self.beginning, []
        for job in beginning:
            assert job.extra is not None
            job.extra = msgspec.structs.replace(job.extra, begun=2)
            if job.state == "available":
                self.heap_of(job).push(job)

    def start(self, most: int = 1000) -> list[Record]:
        started: list[Record] = []
        for heap in self.heaps if most % 2 else self.heaps[::-1]:
            while len(started) < most and (job := heap.pop()) is not None:
                job.state = "executing"
                self.runs.append(job)
                started.append(job)
        return started

    def end(self, index: int) -> None:
        job = self.runs.pop(index % len(self.runs))
        job.state = "completed"
        del self.records[job.id]
        self.keeper.ended([job])

    def cancel(self, index: int) -> None:
        waiting = [job for job in self.records.values() if job.state == "available"]
        if waiting:
            job = waiting[index % len(waiting)]
            job.state = "cancelled"
            del self.records[job.id]

    def bid(self, *, lost: bool = False) -> None:
        """Ask for what is wanted; the answer may be lost on its way. What begins is written by the same store."""
        self.commit()
        wanting = self.keeper.wanting()
        now = self.world.now
        for gate in wanting:
            place = (gate.name, gate.key)
            if isinstance(gate, TokenGate):
                known, kept, wanted = gate.bid()
                holders = self.world.holders.setdefault(place, [])
                settled = settle(gate.capacity, holders, self.number, known, kept, wanted)
                if not lost:
                    gate.granted(settled.held, settled.share, wanted, now)
            elif isinstance(gate, RateGate):
                wanted, at = gate.bid(), int(now * NS)
                found = reserve(gate.pacing, self.world.tats.get(place, 0), at, wanted, int(HORIZON * NS))
                if found.count:
                    self.world.tats[place] = found.tat
                if not lost:
                    gate.granted(Slots(found.count, found.first - at, found.tat - at), wanted, now, now, now)
            if not lost:
                self.keeper.answered(gate, now)
        if lost:
            self.keeper.ask_again(wanting)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["push", "push", "start", "end", "bid", "lost", "cancel", "wait", "tick"]),
        st.integers(0, 5),
    ),
    max_size=80,
)


def play(world: World, nodes: list[SimNode], steps: list[Any], worker: str, check: Any) -> None:
    for number, what, choice in steps:
        node = nodes[number % len(nodes)]
        match what:
            case "push":
                node.push(worker, choice % 3, choice % 2)
            case "start":
                node.start(choice)
            case "end" if node.runs:
                node.end(choice)
            case "bid" | "lost":
                node.bid(lost=what == "lost")
            case "cancel":
                node.cancel(choice)
            case "wait":
                world.now += choice / 10
            case "tick":
                node.keeper.tick(world.now)
        check()


QUIET = 200
"""Rounds of a twentieth of a second: nothing started for so long is stuck. Nobody here is told by others that there is
something for it, so that each token which changes hands waits for the backstop: a second."""


def drain(world: World, nodes: list[SimNode], check: Any) -> None:
    """Everybody goes on with what is there: all of it has to end."""
    quiet = 0
    while any(node.records for node in nodes):
        quiet += 1
        for node in nodes:
            node.keeper.tick(world.now)
            node.bid()
            if node.start():
                quiet = 0
            check()
            while node.runs:
                node.end(0)
        assert quiet < QUIET, f"stuck: {[len(node.records) for node in nodes]}"
        world.now += 0.05


def held(world: World) -> int:
    return sum(holder.held for holders in world.holders.values() for holder in holders)


@given(
    steps=STEPS,
    capacity=st.integers(1, 4),
    count=st.integers(1, 3),
    by=st.sampled_from([None, "args.account"]),
    guarded=st.booleans(),
    queues=st.integers(1, 2),
)
@settings(max_examples=200)
def test_tokens_are_never_exceeded_and_nothing_is_stuck(
    steps: list[Any], capacity: int, count: int, by: str | None, *, guarded: bool, queues: int
) -> None:
    """Pushes, starts, ends, cancels, bids and lost answers in any order, on one to three nodes."""
    world = World()
    workers = {"w": {"concurrency": Limit(capacity, by=by)}}
    nodes = [SimNode(world, number, workers, guarded=guarded, queues=queues) for number in range(count)]

    def check() -> None:
        running = [job for node in nodes for job in node.runs]
        keys = {job.args for job in running} if by else {None}
        for key in keys:
            assert sum(key is None or job.args == key for job in running) <= capacity

    play(world, nodes, steps, "w", check)
    drain(world, nodes, check)
    for node in nodes:
        assert not any(isinstance(gate, TokenGate) and gate.used for gate in node.keeper._gates())
    # And nobody keeps what nobody uses, not even for jobs that were cancelled while they waited: what is given back
    # goes from one node to the next of those that wanted some.
    for _ in range(20):
        if not held(world):
            return
        for node in nodes:
            world.now += 1
            node.keeper.tick(world.now)
            node.bid()
            node.start()
    raise AssertionError(f"kept: {world.holders}")


@given(steps=STEPS, n=st.integers(1, 20), burst=st.integers(1, 3), count=st.integers(1, 3), guarded=st.booleans())
@settings(max_examples=200)
def test_a_rate_is_never_exceeded_and_nothing_is_stuck(
    steps: list[Any], n: int, burst: int, count: int, *, guarded: bool
) -> None:
    """Starts of all nodes together, but for the quarter of a second that a slot is good for."""
    world = World()
    workers = {"w": {"rate_limit": Rate(n, per=1.0, burst=burst)}}
    nodes = [SimNode(world, number, workers, guarded=guarded) for number in range(count)]
    starts: list[float] = []
    seen: set[bytes] = set()

    def check() -> None:
        for node in nodes:
            for job in node.runs:
                if job.id not in seen:
                    seen.add(job.id)
                    starts.append(world.now)

    play(world, nodes, steps, "w", check)
    drain(world, nodes, check)
    starts.sort()
    for first, at in enumerate(starts):
        for last in range(first, len(starts)):
            width = starts[last] - at
            assert last - first + 1 <= (width + VALID) * n + burst + 1e-6


def test_slots_that_were_not_used_in_their_time_are_lost() -> None:
    """A node that reserves for two seconds while its processes are busy does not start all of it at once."""
    world = World()
    node = SimNode(world, 1, {"w": {"rate_limit": Rate(20, per=1.0)}})
    for _ in range(100):
        node.push("w", 1)
    for _ in range(40):
        node.heap.first()
        node.bid()
        world.now += 0.05
        node.keeper.tick(world.now)
    assert len(node.start()) <= VALID * 20 + 1


@given(steps=STEPS, count=st.integers(1, 2), guarded=st.booleans())
def test_limits_of_different_kinds_on_one_job_block_nobody_for_ever(
    steps: list[Any], count: int, *, guarded: bool
) -> None:
    """A concurrency by account, a rate for all, and a breaker, in front of one worker."""
    world = World()
    options = {
        "concurrency": Limit(1, by="args.account"),
        "rate_limit": Rate(50, per=1.0, burst=2),
        "breaker": Breaker(rest=0.2),
    }
    nodes = [SimNode(world, number, {"w": options}, guarded=guarded) for number in range(count)]

    def check() -> None:
        running = [job.args for node in nodes for job in node.runs]
        assert len(running) == len(set(running))

    play(world, nodes, steps, "w", check)
    drain(world, nodes, check)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40))
def test_those_that_may_start_start_in_their_order(jobs: list[tuple[int, int]]) -> None:
    """One node, one place for each account: each time a place is free, the best that waits for it is next."""
    world = World()
    node = SimNode(world, 1, {"w": {"concurrency": Limit(1, by="args.account")}})
    for account, priority in jobs:
        node.push("w", account, priority)
    waiting = list(node.records.values())
    while waiting:
        node.bid()
        assert node.heap.best() in (None, *(key_of(job) for job in waiting))
        for job in node.start():
            best = min((other for other in waiting if other.args == job.args), key=key_of)
            assert job is best
            waiting.remove(job)
        while node.runs:
            node.end(0)
        world.now += 0.01
        node.keeper.tick(world.now)


def test_a_guarded_job_takes_its_place_once_its_start_is_committed() -> None:
    """Meanwhile nobody else begins in its place; it is counted once, and one that is cancelled keeps nothing."""
    world = World()
    node = SimNode(world, 1, {"w": {"concurrency": Limit(1)}}, guarded=True)
    for _ in range(3):
        node.push("w", 1)
    first, second, third = node.records.values()
    assert node.start() == []
    node.bid()
    gate = node.keeper.rules("q", "w")[0].gate(first, world.now)
    assert isinstance(gate, TokenGate)
    assert node.start() == []
    assert (node.beginning, gate.used) == ([first], 0)
    node.commit()
    assert node.start() == [first]
    assert gate.used == 1
    node.end(0)
    assert node.start() == []
    assert node.beginning == [second]
    second.state = "cancelled"
    del node.records[second.id]
    node.commit()
    world.now += 2
    node.keeper.tick(world.now)
    assert node.start() == []
    assert node.beginning == [third]
    node.commit()
    assert node.start() == [third]
    node.end(0)
    assert (gate.used, gate.starting, gate.woken) == (0, 0, 0)


def test_a_job_that_comes_back_before_its_end_was_told_counts_once() -> None:
    """What it held is given back."""
    world = World()
    node = SimNode(world, 1, {"w": {"concurrency": Limit(2)}})
    node.push("w", 1)
    node.start()
    node.bid()
    (job,) = node.start()
    job.state = "available"
    node.heap.push(job)
    node.bid()
    assert node.start() == [job]
    gate = node.keeper.rules("q", "w")[0].gate(job, world.now)
    assert isinstance(gate, TokenGate)
    assert gate.used == 1


def two_queues() -> tuple[World, SimNode, LimitedHeap, TokenGate]:
    """One node whose second queue shares a limit of 1 with the first; the token is there."""
    world = World()
    node = SimNode(world, 1, {"w": {"concurrency": Limit(1)}, "free": {}})
    other = LimitedHeap(PriorityHeap, "q", node.keeper, node.records, lambda: None)
    gate = node.keeper.rules("q", "w")[0].gate(record(), world.now)
    assert isinstance(gate, TokenGate)
    gate.granted(1, 1, 1, world.now)
    return world, node, other, gate


def push_into(node: SimNode, heap: LimitedHeap, worker: str, priority: int = 0) -> Record:
    node.push(worker, 1, priority)
    job = list(node.records.values())[-1]
    if heap is not node.heap:
        assert node.heap._base.pop() is job
        heap.push(job)
    return job


def one_runs_and_two_wait(node: SimNode, other: LimitedHeap) -> tuple[Record, Record, Record]:
    """Give a job that the other queue runs, and one of each queue that waits for its room: the node's first."""
    running = push_into(node, other, "w")
    assert other.pop() is running
    woken = push_into(node, node.heap, "w")
    assert node.start() == []
    waiting = push_into(node, other, "w")
    assert other.pop() is None
    return running, woken, waiting


def test_a_woken_job_whose_turn_does_not_come_gives_way_to_another_queue() -> None:
    """Its own queue is busy with better jobs of another worker: the room it was woken for is used elsewhere."""
    world, node, other, gate = two_queues()
    running, woken, waiting = one_runs_and_two_wait(node, other)
    better = push_into(node, node.heap, "free", priority=10)
    node.keeper.ended([running])
    assert node.start(1) == [better]
    assert gate.woken == 1
    assert other.pop() is None
    for _ in range(2):
        world.now += 1
        node.keeper.tick(world.now)
    assert other.pop() is waiting
    assert node.start() == []
    node.keeper.ended([waiting])
    assert node.start() == [woken]
    assert (gate.used, gate.woken) == (1, 0)


def test_a_guarded_job_whose_turn_does_not_come_gives_way_to_another_queue() -> None:
    """Its start is committed, and its queue is paused or busy: the room that was kept for it is used elsewhere."""
    world, node, other, gate = two_queues()
    guarded = push_into(node, node.heap, "w")
    guarded.extra = Extra(guarded=0)
    assert node.start() == []
    waiting = push_into(node, other, "w")
    assert other.pop() is None
    node.commit()
    world.now += 1
    node.keeper.tick(world.now)
    assert other.pop() is waiting
    node.keeper.ended([waiting])
    assert node.start() == [guarded]
    assert (gate.used, gate.starting) == (1, 0)


def test_a_better_job_that_takes_the_room_of_a_woken_one_leaves_the_next_room_to_all() -> None:
    """Else the woken one would keep it from other queues, and from nobody in its own."""
    _, node, other, gate = two_queues()
    running, woken, waiting = one_runs_and_two_wait(node, other)
    better = push_into(node, node.heap, "w", priority=10)
    node.keeper.ended([running])
    assert node.start(1) == [better]
    assert gate.woken == 0
    node.keeper.ended([better])
    assert other.pop() is waiting
    node.keeper.ended([waiting])
    assert node.start() == [woken]


def test_a_job_that_gave_way_and_is_put_off_comes_again_when_it_is_due() -> None:
    """What was left of it in the order does not make it passed over then."""
    world, node, other, _ = two_queues()
    running = push_into(node, other, "w")
    assert other.pop() is running
    woken = push_into(node, node.heap, "w")
    assert node.start() == []
    push_into(node, other, "w")
    assert other.pop() is None
    node.keeper.ended([running])
    push_into(node, node.heap, "free", priority=10)
    node.start(1)
    for _ in range(2):
        world.now += 1
        node.keeper.tick(world.now)
    waiting = other.pop()
    assert waiting is not None
    woken.state = "scheduled"
    assert node.start() == []
    node.keeper.ended([waiting])
    assert node.start() == []
    woken.state = "available"
    node.heap.push(woken)
    assert node.start() == [woken]


@pytest.mark.parametrize("attempt", [0, 2])
@pytest.mark.parametrize(
    ("report", "why", "opens"),
    [
        (Report(1, "failed", 0.1, kind="exception", message="no"), None, True),
        (Report(1, "discarded", 0.1, kind="exception", message="declared in discard_on"), None, True),
        (Report(1, "discarded", 0.1, kind="discard", message="raised"), None, False),
        (Report(1, "cancelled", 0.1, kind="cancel", message="raised"), None, False),
        (Report(1, "snoozed", 0.1, delay=5.0), None, False),
        (None, "discard", False),
        (None, "cancel", False),
    ],
    ids=["failed", "discard_on", "Discard", "Cancel", "Snooze", "discarded by hand", "cancelled by hand"],
)
def test_a_breaker_counts_failed_attempts_and_nothing_else(
    report: Report | None, why: Ending | None, *, opens: bool, attempt: int
) -> None:
    """The first attempt of three and the last one alike; errors of earlier attempts are not looked at."""
    gate = CircuitGate("worker w", 0.0, Breaker(window=1, least=1))
    earlier = machine.quote_error(NOW - 1, attempt, "exception", "no") if attempt else b""
    job = record(attempt=attempt, max_attempts=3, errors=earlier)
    was = machine.before(job)
    machine.begin(job, NOW)
    gate.take(0.0)
    if report is None:
        machine.never_began(job, was)
        end_by_hand(job, why, NOW)
    else:
        settle_run(job, report, NOW, "node", 1, lambda *_: 1.0)
    gate.end(job, 0.0, ticket=False)
    assert gate.circuit.state == ("open" if opens else "closed")


def test_a_crowd_at_one_gate_is_looked_at_once() -> None:
    """50,000 that wait are parked once each; a place that gets free wakes one of them."""
    world = World()
    node = SimNode(world, 1, {"w": {"concurrency": Limit(1)}, "free": {}})
    for _ in range(50_000):
        node.push("w", 1)
    pops = 0
    base_pop = node.heap._base.pop

    def counted() -> Record | None:
        nonlocal pops
        job = base_pop()
        pops += job is not None
        return job

    node.heap._base.pop = counted  # type: ignore[method-assign]
    node.bid()
    while len(node.heap._base):
        node.start()
        node.bid()
    assert pops <= 50_001
    node.push("free", 1)
    assert [job.worker for job in node.start()] == ["free"]
    before = pops
    for _ in range(100):
        node.end(0)
        node.start()
    assert pops - before <= 110
    assert len(node.heap) + len(node.runs) == 50_001 - 100
