"""What an operator does to jobs of a node by hand, in memory and on Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import trio

from kathikon_actors import (
    App,
    InvalidState,
    Job,
    JobNotFound,
    Node,
    Queue,
    StoreUnavailable,
    constant,
    open_node,
    worker,
)
from kathikon_actors.jobs.states import ACTIONS, STATES, State, actions_for
from kathikon_actors.store.postgres import PostgresStore
from tests.node import workers
from tests.node.workers import app
from tests.support.records import new_record
from tests.support.rounds import rounds
from tests.support.waiting import eventually, lines_of

WAIT = 20.0
ENDS = {"cancel": "cancelled", "discard": "discarded", "retry": "available", "rerun": "available"}


@worker(backoff=constant(3600))
def fail_slowly() -> None:
    raise ValueError("no")


@worker
def swallow(path: str) -> None:
    """Hold back what is to stop it, then leave a mark."""
    for _ in range(3):
        with suppress(BaseException):
            workers.hold(path, 30)
    workers.note(path, "done")


@worker
async def mark_later(path: str, gate: str) -> None:
    """Leave one mark at once and one that a cancelled job must not leave."""
    await workers.stay_async(path, gate)
    workers.note(path, "went on")


@worker
def mark_later_plain(path: str, gate: str) -> None:
    workers.stay(path, gate)
    workers.note(path, "went on")


here = App(
    queues=[Queue("default"), Queue("wide", concurrency=8, processes=2), Queue("single", concurrency=1)],
    workers=[*workers.WORKERS, fail_slowly, swallow, mark_later, mark_later_plain],
)


@pytest.fixture
async def node(store_url: str):  # type: ignore[no-untyped-def]
    async with open_node(here, store=store_url, name="n1", shutdown_timeout=1.0) as node:
        yield node


async def job_in(node: Node, state: State, path: Path) -> UUID:
    """A job of this node in that state."""
    if state == "scheduled":
        return (await node.insert(workers.add.new(1), schedule_in=3600)).id
    if state in ("blocked", "waiting"):
        record = new_record(state=state, worker="add", args=b'{"a":1}')
        table = node._state.the_table()
        await table.committed(await table.submit([record], may_conflict=False))
        return UUID(bytes=record.id)
    if state == "available":
        await node.insert(workers.hold.new(str(path), 600), queue="single")
        await eventually(lambda: lines_of(path), "the only process is taken")
        await node.insert(workers.hold_async.new(str(path), 600), queue="single")
        return (await node.insert(workers.add_async.new(1), queue="single", priority=-1)).id
    if state == "executing":
        job = await node.insert(workers.hold.new(str(path), 600))
        await eventually(lambda: lines_of(path), "it runs")
        return job.id
    if state == "retryable":
        job = await node.insert(fail_slowly.new())
        await eventually(lambda: is_in(node, job.id, "retryable"), "it failed")
        return job.id
    ways = {"completed": workers.add.new(1), "cancelled": workers.end_as.new("cancel")}
    job = await node.insert(ways.get(state, workers.end_as.new("discard")))
    assert (await node.wait(job.id, WAIT)).state == state
    return job.id


async def is_in(node: Node, job_id: UUID, state: str) -> bool:
    return (await node.get(job_id)).state == state


@pytest.mark.parametrize("state", STATES)
async def test_an_action_succeeds_in_exactly_the_states_that_offer_it(node: Node, state: State, tmp_path: Path) -> None:
    """What `actions_for` offers is done and committed with its line of history; all else changes nothing."""
    refused = [action for action in ACTIONS if action not in actions_for(state)]
    if refused:
        job_id = await job_in(node, state, tmp_path / "refused")
        with trio.fail_after(WAIT):
            for action in refused:
                await is_refused(node, job_id, state, action)
        if state == "executing":
            await node.cancel(job_id)  # its queue has one process
    for action in actions_for(state):
        # What makes a job wait goes on making others wait.
        job_id = await job_in(node, state, tmp_path / (action if state == "executing" else "refused"))
        before = await node.get(job_id)
        assert before.state == state
        with trio.fail_after(WAIT):
            await is_done(node, before, action)


async def is_refused(node: Node, job_id: UUID, state: State, action: str) -> None:
    before = await node.get(job_id)
    assert before.state == state
    with pytest.raises(InvalidState) as caught:
        await getattr(node, action)(job_id)
    assert (caught.value.old, caught.value.new, caught.value.job_id) == (state, ENDS[action], job_id)
    after = await node.get(job_id)
    assert (after.state, after.history) == (before.state, before.history)


async def is_done(node: Node, before: Job, action: str) -> None:
    act: Callable[[UUID], Awaitable[Job]] = getattr(node, action)
    job_id, state = before.id, before.state
    done = await act(job_id)
    if action == "rerun":
        assert (done.rerun_of, done.original_id, done.attempt) == (job_id, job_id, 0)
        old = await node.get(job_id)
        assert (old.state, old.history[-1]["event"]) == (state, "rerun")
        assert old.history[-1]["meta"] == {"job": str(done.id)}
        return
    assert done.id == job_id
    assert done.history[-1]["from"] == state
    if action == "retry":
        assert "retried" in [entry["event"] for entry in done.history]
        assert done.max_attempts > before.attempt
    else:
        assert done.state == ENDS[action]
        stored = await node._state.store.get(job_id.bytes)
        assert stored is not None and stored.state == ENDS[action]


async def test_an_unknown_id_is_not_found(node: Node) -> None:
    """Every action says so, also for what is no UUID."""
    for action in ACTIONS:
        for job_id in (uuid4(), "no uuid"):
            with pytest.raises(JobNotFound):
                await getattr(node, action)(job_id)


@pytest.mark.parametrize("job", [mark_later, mark_later_plain])
@pytest.mark.parametrize("action", ["cancel", "discard"])
async def test_what_an_executing_job_would_still_have_done_does_not_happen(
    node: Node, job: object, action: str, tmp_path: Path
) -> None:
    """It is stopped in the middle: no second mark, the state stays, the process lives on."""
    path, next_path, gate = tmp_path / "marks", tmp_path / "next", tmp_path / "gate"
    inserted = await node.insert(job, {"path": str(path), "gate": str(gate)})
    await eventually(lambda: lines_of(path), "it began")
    pids = node.worker_pids()
    done = await getattr(node, action)(inserted.id)
    assert (done.state, done.attempt, done.errors) == (ENDS[action], 1, [])
    # Had it gone on in its process, it would leave its mark before the next one there that waits for the same gate.
    following = await node.insert(job, {"path": str(next_path), "gate": str(gate)})
    await eventually(lambda: lines_of(next_path), "the next one began")
    gate.touch()
    assert (await node.wait(following.id, WAIT)).state == "completed"
    assert len(lines_of(next_path)) == 2 and len(lines_of(path)) == 1
    assert (await node.get(inserted.id)).to_dict() == done.to_dict()
    assert node.worker_pids() == pids


async def test_a_job_that_does_not_give_way_is_killed(node: Node, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """After the grace its process goes, and its last mark is never left."""
    monkeypatch.setattr("kathikon_actors.queue.runner.GRACE", 0.3)
    path = tmp_path / "marks"
    job = await node.insert(swallow.new(str(path)))
    await eventually(lambda: lines_of(path), "it began")
    with trio.fail_after(WAIT):
        done = await node.cancel(job.id)
    assert (done.state, done.errors) == ("cancelled", [])
    assert "done" not in lines_of(path)
    assert (await node.wait((await node.insert(workers.add.new(1))).id, WAIT)).result == 1


async def test_jobs_that_wait_in_a_process_are_cancelled_without_a_start(node: Node, tmp_path: Path) -> None:
    """Many at once behind one that runs: none of them runs, the one that runs is not touched, the next one runs."""
    path, first_marks, gate = tmp_path / "marks", tmp_path / "first", tmp_path / "gate"
    for _ in range(30):
        await node.wait((await node.insert(workers.add.new(1))).id, WAIT)  # short ones are given ahead
    first = await node.insert(workers.stay.new(str(first_marks), str(gate)))
    many = await node.insert_many(workers.note.new(str(path), str(i)) for i in range(40))
    await eventually(lambda: lines_of(first_marks), "the first one runs")
    async with trio.open_nursery() as nursery:
        for job_id in many.ids[::2]:
            nursery.start_soon(node.cancel, job_id)
    gate.touch()
    assert (await node.wait(first.id, WAIT)).state == "completed"
    ended = [await node.wait(job_id, WAIT) for job_id in many.ids]
    assert [job.state for job in ended] == ["cancelled", "completed"] * 20
    assert {job.attempt for job in ended[::2]} == {0}
    assert sorted(lines_of(path), key=int) == [str(i) for i in range(1, 40, 2)]


async def test_a_retried_job_keeps_its_attempts_and_may_make_one_more(node: Node) -> None:
    """A dead letter at its limit runs again: the attempt is counted on, its errors stay."""
    job = await node.insert(workers.fail_until.new(attempt=3), max_attempts=2)
    dead = await node.wait(job.id, WAIT)
    assert (dead.state, dead.attempt) == ("discarded", 2)
    retried = await node.retry(job.id)
    assert (retried.id, retried.max_attempts) == (job.id, 3)
    done = await node.wait(job.id, WAIT)
    assert (done.state, done.attempt, done.result, len(done.errors)) == ("completed", 3, 3, 2)
    events = [entry["event"] for entry in done.history]
    assert events[-3:] == ["retried", "started", "completed"]
    assert (await node.list(limit=10))[0].id == job.id and len(await node.list(limit=10)) == 1


async def test_a_retry_with_a_delay_waits_for_it(node: Node) -> None:
    """`delay` seconds from now; below 0 is refused."""
    job = await node.insert(workers.end_as.new("cancel"))
    await node.wait(job.id, WAIT)
    with pytest.raises(ValueError, match="delay is -1"):
        await node.retry(job.id, delay=-1)
    retried = await node.retry(job.id, delay=0.2)
    assert (retried.state, retried.cancelled_at) == ("scheduled", None)
    done = await node.wait(job.id, WAIT)
    assert done.attempted_at is not None and done.attempted_at >= retried.scheduled_at
    far = await node.retry(job.id, delay=3600)
    assert (await node.cancel(far.id)).state == "cancelled"


async def test_a_rerun_is_a_new_job_with_links_to_the_old_ones(node: Node) -> None:
    """Same worker, arguments, queue, priority, attempts and tags; a rerun of a rerun leads back to the first."""
    first = await node.insert(workers.add.new(20, b=3), priority=4, tags=["vip"], max_attempts=7, queue="wide")
    await node.wait(first.id, WAIT)
    second = await node.rerun(first.id)
    done = await node.wait(second.id, WAIT)
    third = await node.wait((await node.rerun(second.id)).id, WAIT)
    for job in (done, third):
        assert (job.worker, job.args, job.queue, job.priority) == ("add", {"a": 20, "b": 3}, "wide", 4)
        assert (job.tags, job.max_attempts, job.state, job.result, job.attempt) == (["vip"], 7, "completed", 23, 1)
    assert (done.rerun_of, done.original_id) == (first.id, first.id)
    assert (third.rerun_of, third.original_id) == (second.id, first.id)
    old = await node.wait(first.id, WAIT)
    assert (old.state, old.result, old.rerun_of, old.history[-1]["event"]) == ("completed", 23, None, "rerun")
    assert (await node.get(third.id)).to_dict() == third.to_dict()


async def test_two_retries_at_once_are_one(node: Node, tmp_path: Path) -> None:
    """100 rounds of three: one retries, the others find the job retried already; it runs once."""
    path = tmp_path / "marks"
    for round_ in range(rounds(100)):
        job = await node.insert(workers.note.new(str(path), str(round_)), schedule_in=3600)
        await node.cancel(job.id)
        refused: list[InvalidState] = []

        async def retry(job_id: UUID, refused: list[InvalidState]) -> None:
            try:
                await node.retry(job_id)
            except InvalidState as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(retry, job.id, refused)
        done = await node.wait(job.id, WAIT)
        assert (done.state, done.attempt, len(refused)) == ("completed", 1, 2)
        assert [entry["event"] for entry in done.history].count("retried") == 1
    assert lines_of(path) == [str(n) for n in range(rounds(100))]


async def test_cancel_against_complete_has_one_winner(node: Node) -> None:
    """200 rounds with real processes: the job is cancelled, or the cancel is told that it completed."""
    ends = {"cancelled": 0, "completed": 0}
    for n in range(rounds(200)):
        kind = workers.add if n % 2 else workers.add_async
        job = await node.insert(kind.new(n))
        for _ in range(n % 7):
            await trio.lowlevel.checkpoint()
        try:
            with trio.fail_after(WAIT):
                told = (await node.cancel(job.id)).state
        except InvalidState as error:
            told = error.old
        stored = await node._state.store.get(job.id.bytes)
        assert stored is not None and stored.state == told
        events = [entry["event"] for entry in Job(stored).history]
        assert len({"cancelled", "completed"} & set(events)) == 1 and events.count(told) == 1
        ends[told] += 1
    assert sum(ends.values()) == rounds(200)
    assert (await node.wait((await node.insert(workers.add.new(1))).id, WAIT)).result == 1


async def test_a_row_whose_answer_was_lost_is_taken_up(postgres_dsn: str, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The store committed a retry for this node and the answer never came: the job runs all the same."""
    path = tmp_path / "marks"
    async with open_node(app, store=postgres_dsn, name="n1", lease=6.0) as node:  # looks after it every two seconds
        job = await node.insert(workers.note.new(str(path), "ran"), schedule_in=3600)
        await node.cancel(job.id)
        change = PostgresStore.change

        async def cut(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            await change(self, *args, **kwargs)
            raise StoreUnavailable("cut")

        with monkeypatch.context() as patched:
            patched.setattr(PostgresStore, "change", cut)
            with pytest.raises(StoreUnavailable):
                await node.retry(job.id)
        assert (await node.wait(job.id, WAIT)).state == "completed"
        assert lines_of(path) == ["ran"]
