"""Every transition of every job is told once, whoever makes it: the node, the store, an operator."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import pytest
import trio

from kathikon_actors import (
    App,
    Batch,
    Client,
    Discard,
    Job,
    KathikonError,
    Node,
    Queue,
    Snooze,
    Unique,
    Workflow,
    constant,
    open_node,
    worker,
)
from kathikon_actors.jobs import machine
from kathikon_actors.jobs.states import TERMINAL_STATES, TRANSITIONS
from kathikon_actors.node import pruner
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.telemetry import BatchChanged, Bus, Event, JobTransition
from kathikon_actors.telemetry.telling import Telling, note_batch
from tests.node.heard import Heard
from tests.node.workers import note, poison, stay_async
from tests.support.records import new_record, now_us
from tests.support.waiting import eventually, lines_of

WAIT = 20.0
LATER = 3600

NEVER_MADE = {("retryable", "executing")}
"""Legal, so that a runner may begin at once with what is due; everybody who is there promotes it first."""


@worker
async def succeed(number: int = 0) -> int:
    return number


@worker(backoff=constant(LATER))
async def fail_once() -> None:
    raise ValueError("no")


@worker(backoff=constant(0.01))
async def fail_first(job: Job) -> None:
    if job.attempt == 1:
        raise ValueError("no")


LEAVE: dict[str, trio.Event] = {}
"""By key: the flow has done what is to come before the end of its job. Both are in one loop."""


@worker(backoff=constant(0.01))
async def wait_for_the_flow(job: Job, key: str, how: str) -> None:
    await LEAVE[key].wait()
    if how == "fail first" and job.attempt == 1:
        raise ValueError("no")
    if how == "give up":
        raise Discard("hopeless")


@worker
async def snooze() -> Snooze:
    return Snooze(LATER)


@worker
async def give_up() -> None:
    raise Discard("hopeless")


@worker
async def stay() -> None:
    await trio.sleep_forever()


@worker
async def parent_of(job: Job, good: int, bad: int = 0, stuck: int = 0) -> None:
    async with job.open_batch() as batch:
        for _ in range(good):
            await batch.insert(succeed.new())
        for _ in range(bad):
            await batch.insert(give_up.new())
        for _ in range(stuck):
            await batch.insert(succeed.new().options(queue="still"))


WORKERS = [succeed, fail_once, fail_first, wait_for_the_flow, snooze, give_up, stay, parent_of, stay_async, poison]
APP = App(
    [
        Queue("default", isolation="task", concurrency=20),
        Queue("still", isolation="task", paused=True),
        Queue("small", isolation="task", paused=True, max_in_memory=10),
        Queue("wide", concurrency=8),
    ],
    workers=WORKERS,
)

Flow = Callable[[Node], Awaitable[UUID]]
FLOWS: dict[tuple[str | None, str | None], list[Flow]] = {}


def makes(old: str | None, new: str | None) -> Callable[[Flow], Flow]:
    """Note a flow that takes a job from the one state to the other, once."""

    def note(flow: Flow) -> Flow:
        FLOWS.setdefault((old, new), []).append(flow)
        return flow

    return note


@pytest.fixture
async def busy(store_url: str) -> AsyncIterator[Node]:
    """A node with the workers of this page."""
    async with open_node(APP, store=store_url, name="n1", shutdown_timeout=2.0) as node:
        yield node


async def insert_held(node: Node, how: str) -> tuple[Job, trio.Event]:
    """Insert a job that ends once the event is set: what is inserted before that finds that it has not ended."""
    key, leave = str(uuid4()), trio.Event()
    LEAVE[key] = leave
    return await node.insert(wait_for_the_flow.new(key, how)), leave


async def reach(node: Node, job: Job, state: str) -> None:
    async def there() -> bool:
        return await node.status(job.id) == state

    await eventually(there, f"{job!r} is {state}")


@makes(None, "scheduled")
@makes("scheduled", "available")
async def is_due(node: Node) -> UUID:
    job = await node.insert(succeed.new(), schedule_in=0.05)
    await reach(node, job, "completed")
    return job.id


@makes("scheduled", "cancelled")
async def cancel_scheduled(node: Node) -> UUID:
    job = await node.insert(succeed.new(), schedule_in=LATER)
    await node.cancel(job.id)
    return job.id


@makes("scheduled", "discarded")
async def discard_scheduled(node: Node) -> UUID:
    job = await node.insert(succeed.new(), schedule_in=LATER, tags=["discard it"])
    assert (await node.discard_by(tags=["discard it"])).changed == 1
    return job.id


@makes(None, "blocked")
@makes("blocked", "available")
async def unblock(node: Node) -> UUID:
    parent, leave = await insert_held(node, "fail first")
    child = await node.insert(succeed.new(), depends_on=[parent])
    leave.set()
    await reach(node, child, "completed")
    return child.id


@makes("blocked", "available")
async def run_in_spite_of_a_failure(node: Node) -> UUID:
    flow = Workflow().add("a", give_up.new())
    flow = flow.add("b", succeed.new().options(on_dependency_failure="run"), after="a")
    jobs = await node.workflow(flow)
    await reach(node, jobs["b"], "completed")
    return jobs["b"].id


@makes("blocked", "scheduled")
async def unblock_what_is_due_later(node: Node) -> UUID:
    parent, leave = await insert_held(node, "succeed")
    child = await node.insert(succeed.new(), depends_on=[parent], schedule_in=LATER)
    leave.set()
    await reach(node, child, "scheduled")
    return child.id


@makes("blocked", "cancelled")
async def fail_a_parent(node: Node) -> UUID:
    parent, leave = await insert_held(node, "give up")
    child = await node.insert(succeed.new(), depends_on=[parent])
    grandchild = await node.insert(succeed.new(), depends_on=[child])
    leave.set()
    await reach(node, grandchild, "cancelled")
    return grandchild.id


@makes("blocked", "cancelled")
async def insert_below_what_has_failed(node: Node) -> UUID:
    parent = await node.insert(give_up.new())
    await reach(node, parent, "discarded")
    flow = Workflow().add("b", succeed.new().options(depends_on=[parent])).add("c", succeed.new(), after="b")
    below = (await node.workflow(flow))["c"]
    await reach(node, below, "cancelled")
    return (await node.insert(succeed.new(), depends_on=[parent])).id


@makes("blocked", "cancelled")
async def cancel_a_parent(node: Node) -> UUID:
    parent = await node.insert(succeed.new(), schedule_in=LATER)
    child = await node.insert(succeed.new(), depends_on=[parent])
    await node.cancel(parent.id)
    await reach(node, child, "cancelled")
    return child.id


@makes("blocked", "discarded")
async def discard_blocked(node: Node) -> UUID:
    parent = await node.insert(succeed.new(), schedule_in=LATER)
    child = await node.insert(succeed.new(), depends_on=[parent])
    await node.discard(child.id)
    return child.id


@makes(None, "available")
@makes("available", "executing")
@makes("executing", "completed")
async def run(node: Node) -> UUID:
    job = await node.insert(succeed.new())
    await reach(node, job, "completed")
    return job.id


@makes("available", "cancelled")
async def cancel_what_no_node_owns(node: Node) -> UUID:
    many = await node.insert_many(succeed.new(n).options(queue="small", tags=["c"]) for n in range(14))
    assert (await node.cancel_by(tags=["c"])).changed == 14
    return many.ids[13]


@makes("available", "discarded")
async def discard_what_no_node_owns(node: Node) -> UUID:
    many = await node.insert_many(succeed.new(n).options(queue="small") for n in range(14))
    for job_id in many.ids:
        await node.discard(job_id)
    return many.ids[13]


@makes("available", "scheduled")
async def replace_by_one_that_is_due_later(node: Node) -> UUID:
    unique = Unique(replace=("scheduled_at",))
    job = await node.insert(succeed.new(7), queue="still", unique=unique)
    met = await node.insert(succeed.new(7), queue="still", unique=unique, schedule_in=LATER)
    assert met.id == job.id
    return job.id


@makes("scheduled", "scheduled")
async def put_off(node: Node) -> UUID:
    unique = Unique(debounce=LATER)
    job = await node.insert(succeed.new(8), queue="still", unique=unique)
    assert (await node.insert(succeed.new(8), queue="still", unique=unique)).conflict
    return job.id


@makes("executing", "retryable")
async def fail(node: Node) -> UUID:
    job = await node.insert(fail_once.new())
    await reach(node, job, "retryable")
    return job.id


@makes("executing", "scheduled")
async def run_and_snooze(node: Node) -> UUID:
    job = await node.insert(snooze.new())
    await reach(node, job, "scheduled")
    return job.id


@makes("executing", "waiting")
@makes("waiting", "completed")
async def wait_for_children(node: Node) -> UUID:
    job = await node.insert(parent_of.new(2))
    await reach(node, job, "completed")
    return job.id


@makes("waiting", "discarded")
async def wait_for_children_that_fail(node: Node) -> UUID:
    job = await node.insert(parent_of.new(1, bad=1))
    await reach(node, job, "discarded")
    return job.id


@makes("waiting", "cancelled")
async def cancel_what_waits(node: Node) -> UUID:
    job = await node.insert(parent_of.new(1, stuck=1))
    await reach(node, job, "waiting")
    await node.cancel(job.id)
    return job.id


@makes("executing", "cancelled")
async def cancel_what_runs(node: Node) -> UUID:
    job = await node.insert(stay.new())
    await reach(node, job, "executing")
    await node.cancel(job.id)
    return job.id


@makes("executing", "discarded")
async def run_and_give_up(node: Node) -> UUID:
    job = await node.insert(give_up.new())
    await reach(node, job, "discarded")
    return job.id


@makes("executing", "available")
async def lose_the_process(node: Node) -> UUID:
    with TemporaryDirectory() as directory:
        marks, gate = Path(directory, "marks"), Path(directory, "gate")
        innocent = await node.insert(stay_async.new(str(marks), str(gate)), queue="wide")
        await eventually(lambda: lines_of(marks), "it runs")
        await node.insert(poison.new("/dev/null"), queue="wide", max_attempts=1)
        await eventually(lambda: len(lines_of(marks)) == 2, "it runs again")
        note(str(gate), "open")
        await reach(node, innocent, "completed")
    return innocent.id


@makes("retryable", "available")
async def fail_and_run_again(node: Node) -> UUID:
    job = await node.insert(fail_first.new())
    await reach(node, job, "completed")
    return job.id


@makes("retryable", "scheduled")
async def retry_a_failed_one_later(node: Node) -> UUID:
    job = await node.insert(fail_once.new())
    await reach(node, job, "retryable")
    await node.retry(job.id, delay=LATER)
    return job.id


@makes("retryable", "cancelled")
async def cancel_a_failed_one(node: Node) -> UUID:
    job = await node.insert(fail_once.new())
    await reach(node, job, "retryable")
    await node.cancel(job.id)
    return job.id


@makes("retryable", "discarded")
async def discard_a_failed_one(node: Node) -> UUID:
    job = await node.insert(fail_once.new())
    await reach(node, job, "retryable")
    await node.discard(job.id)
    return job.id


@makes("cancelled", "available")
async def retry_a_cancelled_one(node: Node) -> UUID:
    job = await node.insert(succeed.new(), schedule_in=LATER)
    await node.cancel(job.id)
    await node.retry(job.id)
    await reach(node, job, "completed")
    return job.id


@makes("cancelled", "scheduled")
async def retry_cancelled_ones_later(node: Node) -> UUID:
    job = await node.insert(succeed.new(), schedule_in=LATER, tags=["again"])
    await node.cancel(job.id)
    assert (await node.retry_by(tags=["again"], delay=LATER)).changed == 1
    return job.id


@makes("discarded", "available")
async def retry_failed_children(node: Node) -> UUID:
    async with node.open_batch(Batch(on_complete=succeed.new())) as batch:
        child = await batch.insert(give_up.new())
    await node.wait_batch(batch.id, WAIT)
    assert (await node.retry_failed(batch.id)).changed == 1
    await node.wait_batch(batch.id, WAIT)
    return child.id


@makes("discarded", "scheduled")
async def retry_a_dead_letter_later(node: Node) -> UUID:
    job = await node.insert(give_up.new())
    await reach(node, job, "discarded")
    await node.retry(job.id, delay=LATER)
    return job.id


@makes("completed", "completed")
async def rerun(node: Node) -> UUID:
    job = await node.insert(succeed.new())
    await reach(node, job, "completed")
    await reach(node, await node.rerun(job.id), "completed")
    return job.id


def test_each_legal_transition_has_a_flow_that_makes_it() -> None:
    """But those that nobody makes; the others of the list are lines of history that leave the state as it is."""
    legal = {(old, new) for old, states in TRANSITIONS.items() for new in states}
    made = {pair for pair in FLOWS if pair[0] is not None and pair[0] != pair[1]}
    assert made == legal - NEVER_MADE


async def test_every_transition_that_a_job_can_make_is_told_once(busy: Node) -> None:
    """What is told of each job is its history, line by line; so it is of all that the flows made by the way."""
    heard = Heard(busy)
    for pair, flows in FLOWS.items():
        for flow in flows:
            job_id = await flow(busy)
            await eventually(partial(has, heard, job_id, pair), f"{flow.__name__}: {pair}")
            assert told(heard, job_id).count(pair) == 1, (flow.__name__, heard.steps(job_id))
    await all_is_told(busy, heard)
    assert heard.subscription.dropped == 0


def has(heard: Heard, job_id: UUID, pair: tuple[str | None, str | None]) -> bool:
    return pair in told(heard, job_id)


def told(heard: Heard, job_id: UUID) -> list[tuple[str | None, str | None]]:
    return [(old, new) for _, old, new in heard.steps(job_id)]


async def all_is_told(node: Node, heard: Heard) -> None:
    """Wait until of each job that is there its history was told, and of no other any state but the end."""

    async def same() -> bool:
        jobs = await node.list(limit=10_000)
        return all(heard.says(job) for job in jobs)

    try:
        await eventually(same, "all of it is told")
    except AssertionError:
        for job in await node.list(limit=10_000):
            if not heard.says(job):
                told = [(event.event, event.old, event.new, event.at) for event in heard.jobs[job.id]]
                raise AssertionError(f"{job}: {told} was told, and kept {job.to_dict()}") from None
        raise


async def test_a_replay_of_what_was_told_ends_where_the_jobs_are(store_url: str) -> None:
    """Of random runs: inserts of all kinds, and operators who interfere."""
    for seed in range(3):
        async with open_node(APP, store=store_url, name=f"n{seed}", shutdown_timeout=2.0) as node:
            heard = Heard(node)
            await random_run(node, random.Random(seed))
            await all_is_told(node, heard)
            await eventually(partial(ends_where_the_jobs_are, node, heard), "the replay ends where the jobs are")
            assert not [job for job in await node.list(limit=10_000) if job.id not in heard.jobs and not seed]
            await node.cancel_by(all=True)
            await node.purge_by(all=True)


async def ends_where_the_jobs_are(node: Node, heard: Heard) -> bool:
    """What moves between the two looks, as a busy machine may have it, is where it was told at the next."""
    jobs = {job.id: job.state for job in await node.list(limit=10_000)}
    states = {job_id: state for job_id, state in heard.states().items() if state is not None}
    return states == {job_id: state for job_id, state in jobs.items() if job_id in heard.jobs}


async def random_run(node: Node, dice: random.Random) -> None:
    ids: list[UUID] = []
    for _ in range(60):
        some = dice.choice(ids) if ids else UUID(int=1)
        try:
            match dice.randrange(12):
                case 0 | 1:
                    ids.append((await node.insert(dice.choice([succeed, give_up, fail_first, fail_once]).new())).id)
                case 2:
                    ids.append((await node.insert(succeed.new(), schedule_in=dice.choice([0.02, LATER]))).id)
                case 3 if ids:
                    parents = dice.sample(ids, min(len(ids), dice.randint(1, 3)))
                    how = dice.choice(["discard", "run"])
                    ids.append((await node.insert(succeed.new(), depends_on=parents, on_dependency_failure=how)).id)
                case 4:
                    ids.append((await node.insert(parent_of.new(1, dice.randint(0, 1), dice.randint(0, 1)))).id)
                case 5:
                    unique = Unique(replace=("scheduled_at",))
                    late = dice.choice([0, LATER])
                    ids.append((await node.insert(succeed.new(dice.randint(0, 2)), unique=unique, schedule_in=late)).id)
                case 6:
                    async with node.open_batch(Batch(on_complete=succeed.new())) as batch:
                        for _ in range(dice.randint(0, 3)):
                            ids.append((await batch.insert(dice.choice([succeed, give_up]).new())).id)
                    if dice.random() < 0.5:
                        await node.retry_failed(batch.id)
                case 7:
                    await dice.choice([node.cancel, node.discard])(some)
                case 8:
                    await dice.choice([node.retry, node.rerun])(some)
                case 9:
                    many = await node.insert_many(succeed.new(n).options(queue="small", tags=["m"]) for n in range(14))
                    ids += many.ids
                case 10:
                    by = dice.choice([node.cancel_by, node.discard_by, node.retry_by])
                    await by(tags=["m"])
                case 11:
                    await node.purge(some)
        except KathikonError:
            pass  # the action is not possible there
    await quiet(node)


async def quiet(node: Node) -> None:
    """Wait until nothing happens any more."""
    last: object = None

    async def same() -> bool:
        nonlocal last
        seen = sorted((job.id, job.state, len(job.history)) for job in await node.list(limit=10_000))
        busy = any(state == "executing" for _, state, _ in seen)
        same = seen == last and not busy
        last = seen
        await trio.sleep(0.1)
        return same

    await eventually(same, "nothing happens any more")


async def test_very_many_at_once_are_told_as_numbers(store_url: str) -> None:
    """A parent of 6,000 jobs frees them, they are cancelled and purged: 5,000 each by name, the others are counted."""
    async with open_node(APP, store=store_url, name="n1") as node:
        heard = Heard(node)
        parent = await node.insert(stay.new())
        many = await node.insert_many(
            succeed.new().options(queue="still", depends_on=[parent.id], on_dependency_failure="run", tags=["many"])
            for _ in range(6_000)
        )
        assert not many.errors
        await node.cancel(parent.id)

        async def numbers(event: str, new: str | None) -> None:
            def told() -> bool:
                named = sum(e.event == event for job_id in many.ids for e in list(heard.jobs[job_id]))
                counted = sum(e.jobs for e in heard.numbers if (e.event, e.new) == (event, new))
                return named + counted == 6_000 and counted > 700  # some are the node's own

            await eventually(told, f"{event}")

        await numbers("unblocked", "available")
        assert (await node.cancel_by(tags=["many"])).changed == 6_000
        await numbers("cancelled", "cancelled")
        assert (await node.purge_by(tags=["many"])).changed == 6_000
        await numbers("purged", None)
        assert {(e.worker, e.queue, e.old) for e in heard.numbers if e.new is None} == {
            ("succeed", "still", "cancelled")
        }


async def test_what_a_client_does_is_told_by_nobody_and_what_it_means_for_a_node_is(postgres_dsn: str) -> None:
    """An insert and a cancel of a client; the job of the node that waited for it is cancelled with it."""
    async with open_node(APP, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        heard = Heard(node)
        still = await client.insert("succeed", {}, queue="still")
        runs = await client.insert("succeed", {}, queue="default")
        await reach(node, runs, "completed")
        await eventually(lambda: heard.jobs[runs.id] and heard.jobs[runs.id][-1].new == "completed", "its run is told")
        await client.cancel(still.id)
        assert heard.jobs[runs.id][0].old is not None
        assert not heard.jobs[still.id]


async def test_a_batch_tells_its_whole_life(busy: Node) -> None:
    """Opened, sealed, resolved, put back, resolved again, pruned: with its numbers, each once."""
    heard = Heard(busy)
    async with busy.open_batch(Batch(on_complete=succeed.new())) as batch:
        await batch.insert(succeed.new())
        await batch.insert(give_up.new())
    await busy.wait_batch(batch.id, WAIT)
    await eventually(lambda: heard.actions(batch.id) == ["opened", "sealed", "failed"], "it has failed")
    assert heard.batches[batch.id][1].total == 2
    failed = heard.batches[batch.id][2]
    assert (failed.total, failed.done, failed.failed) == (2, 1, 1)
    await busy.close_batch(batch.id)

    await busy.retry_failed(batch.id)
    await busy.wait_batch(batch.id, WAIT)
    child = next(job for job in await busy.children(batch.id) if job.state == "discarded")
    await busy.retry(child.id)
    await busy.wait_batch(batch.id, WAIT)
    life = ["opened", "sealed", "failed", "retried", "failed", "retried", "failed"]
    await eventually(lambda: heard.actions(batch.id) == life, "it went on twice")
    again = heard.batches[batch.id][3]
    assert (again.total, again.done, again.failed) == (2, 1, 0)
    await busy.prune_batches(-10)
    await eventually(lambda: heard.actions(batch.id) == [*life, "pruned"], "it is gone")


async def test_a_batch_is_told_to_be_sealed_before_it_is_told_to_have_ended() -> None:
    """Another connection may resolve it, and its answer may come first."""
    bus, telling, batch = Bus("n1"), Telling(), uuid4().bytes
    heard = bus.collect(BatchChanged)
    telling.attach(bus)
    with telling.collect():
        note_batch(batch, "sealed", 2)
        with telling.collect():  # the other connection
            note_batch(batch, "failed", 2, 1, 1)
    assert [event.action for event in heard.take(10)] == ["sealed", "failed"]  # type: ignore[attr-defined]


async def test_batches_within_others_and_of_jobs_are_told_too(busy: Node) -> None:
    """Each by the commit that resolves it."""
    heard = Heard(busy)
    async with busy.open_batch() as outer, busy.open_batch(within=outer) as inner:
        await inner.insert(succeed.new())
    await busy.wait_batch(outer.id, WAIT)
    parent = await busy.insert(parent_of.new(1, stuck=1))
    await reach(busy, parent, "waiting")
    await busy.cancel(parent.id)
    empty = await busy.new_batch()
    await busy.close_batch(empty)

    def told() -> bool:
        return (
            heard.actions(outer.id) == ["opened", "sealed", "succeeded"]
            and heard.actions(inner.id) == ["opened", "sealed", "succeeded"]
            and heard.actions(empty) == ["opened", "sealed", "succeeded"]
        )

    await eventually(told, "all three")
    of_the_job = next(batch for batch in await busy.batches() if batch.parent_id == parent.id)
    await eventually(lambda: heard.actions(of_the_job.id) == ["opened", "sealed"], "sealed with its perform")


async def test_the_last_two_children_at_once_resolve_it_once(postgres_dsn: str) -> None:
    """On two nodes: one of them tells."""
    async with (
        open_node(APP, store=postgres_dsn, name="n1") as one,
        open_node(APP, store=postgres_dsn, name="n2") as two,
    ):
        heard = [Heard(one), Heard(two)]
        batches = []
        for _ in range(20):
            batch = await one.new_batch(Batch(on_complete=succeed.new()))
            async with trio.open_nursery() as nursery:
                for node in (one, two):
                    nursery.start_soon(lambda node=node, batch=batch: node.insert(succeed.new(), batch=batch))
            await two.close_batch(batch)
            batches.append(batch)
        for batch in batches:
            await one.wait_batch(batch, WAIT)

            def resolved(batch: UUID = batch) -> list[str]:
                return [action for ear in heard for action in ear.actions(batch) if action == "succeeded"]

            await eventually(resolved, "it is told")
            assert len(resolved()) == 1
        callbacks = {job.id for job in await one.list(limit=10_000) if "batch" in job.meta}
        assert len(callbacks) == 20
        for job_id in callbacks:
            await reach(one, await one.get(job_id), "completed")

        def told(event: str) -> int:
            return sum(e.event == event for ear in heard for job_id in callbacks for e in list(ear.jobs[job_id]))

        await eventually(lambda: told("inserted") >= 20 and told("completed") >= 20, "their lives are told")
        assert told("inserted") == 20


def test_all_ends_are_among_the_states() -> None:
    """So that the matrix above is whole."""
    assert TRANSITIONS.keys() >= TERMINAL_STATES


async def test_what_a_dead_node_had_is_told_by_its_rescuer(postgres_dsn: str) -> None:
    """It is taken back, or poison and discarded."""
    jobs = [new_record(worker="succeed"), new_record(worker="succeed")]
    async with open_loop():
        store = PostgresStore(postgres_dsn)
        await store.open()
        dead = await store.join("dead", 0.2)
        await store.commit_inserts(dead, 1, jobs, may_conflict=False)
        for times, job in enumerate(jobs):
            job.fence = 0
            for _ in range(2 * times):
                machine.begin(job, now_us())
                machine.take_back(job, now_us(), "its node died")
            machine.begin(job, now_us())
        assert not await store.commit_outcomes(dead, 2, jobs)
        await store.close()
    heard: list[Event] = []
    app = App([Queue("default", isolation="task")], workers=WORKERS, telemetry=[heard.append])
    async with open_node(app, store=postgres_dsn, name="n1", lease=3.0):  # looks for dead ones every second

        def told() -> bool:
            of: dict[bytes, list[object]] = {job.id: [] for job in jobs}
            for event in heard:
                if isinstance(event, JobTransition) and event.old == "executing":
                    of[event.job_id.bytes].append((event.event, event.new))
            return [of[job.id][:1] for job in jobs] == [[("taken back", "available")], [("discarded", "discarded")]]

        await eventually(told, "both are told")


async def test_the_leader_tells_what_it_takes_back_from_lost_runners(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their leases ran out."""
    monkeypatch.setattr(pruner, "TIDY_EVERY", 0.05)
    async with open_node(APP, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        heard = Heard(node)
        job = await client.insert("work", {}, queue="outside")
        assert await client.claim("outside", lease=0.05)
        await eventually(lambda: heard.steps(job.id) == [("taken back", "executing", "available")], "it is taken back")
