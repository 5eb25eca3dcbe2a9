"""What a job may do, on a real node with real worker processes, in memory and on Postgres."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import trio

from kathikon_actors import (
    AlreadyExists,
    InvalidJob,
    Job,
    JobNotFound,
    Node,
    UnknownOption,
    UnknownQueue,
    UnknownWorker,
    WaitTimeout,
)
from kathikon_actors.jobs.new_job import NewJob
from tests.node import workers
from tests.node.conftest import nothing_is_ahead
from tests.support.waiting import eventually, lines_of

WAIT = 20.0


async def run(node: Node, job: NewJob) -> Job:
    inserted = await node.insert(job)
    return await node.wait(inserted.id, timeout=WAIT)


async def test_a_plain_function_runs_in_a_process_of_its_own_and_its_value_is_the_result(node: Node) -> None:
    """The whole way of one job: inserted, started, completed, each with a line of history."""
    job = await node.insert(workers.add.new(2, b=3))
    assert isinstance(job.id, UUID)
    assert job.args == {"a": 2, "b": 3}
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.result, done.attempt, done.errors) == ("completed", 5, 1, [])
    assert [(h["event"], h["from"], h["to"]) for h in done.history] == [
        ("inserted", None, "available"),
        ("started", "available", "executing"),
        ("completed", "executing", "completed"),
    ]
    assert done.completed_at is not None
    assert done.inserted_at <= done.attempted_at <= done.completed_at  # type: ignore[operator]


async def test_an_async_function_runs_too(node: Node) -> None:
    """Async workers run on a trio loop in a worker process."""
    assert (await run(node, workers.add_async.new(2, 3))).result == 5


async def test_what_was_waited_for_is_what_the_store_has(node: Node) -> None:
    """A result is told to nobody before it is committed."""
    done = await run(node, workers.add.new(1))
    assert (await node.get(done.id)).to_dict() == done.to_dict()
    assert [job.id for job in await node.list(state="completed")] == [done.id]


async def test_the_plain_form_of_insert_takes_a_worker_or_its_name_and_arguments(node: Node) -> None:
    """`insert(worker, args, **options)` is the same as `insert(worker.new(**args).options(**options))`."""
    by_worker = await node.insert(workers.add, {"a": 1}, priority=7, tags=["x"])
    by_name = await node.insert("add", {"a": 1})
    assert (by_worker.priority, by_worker.tags) == (7, ["x"])
    assert (await node.wait(by_name.id, WAIT)).result == 1


@pytest.mark.parametrize("worker", [workers.fail_until, workers.fail_until_async])
async def test_a_failed_job_runs_again_after_its_backoff_and_keeps_its_errors(node: Node, worker: object) -> None:
    """Two failures, then a success at the third attempt; the errors stay."""
    job = await node.insert(worker, {"attempt": 3})
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.attempt, done.result) == ("completed", 3, 3)
    assert [(e["attempt"], e["kind"], e["message"]) for e in done.errors] == [
        (1, "exception", "ValueError: attempt 1"),
        (2, "exception", "ValueError: attempt 2"),
    ]
    assert "raise ValueError" in (done.errors[0]["traceback"] or "")


async def test_a_job_without_attempts_left_is_discarded(node: Node) -> None:
    """At max_attempts failures the job is a dead letter."""
    job = await node.insert(workers.fail_until.new(attempt=99).options(max_attempts=2))
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.attempt, len(done.errors)) == ("discarded", 2, 2)
    assert done.discarded_at is not None


@pytest.mark.parametrize(
    ("outcome", "state", "kind"),
    [
        ("fail", "discarded", "fail"),
        ("retry", "discarded", "retry"),
        ("discard", "discarded", "discard"),
        ("cancel", "cancelled", "cancel"),
        ("exit", "discarded", "exit"),
        ("invalid snooze", "discarded", "invalid_snooze"),
    ],
)
async def test_each_outcome_has_its_state(node: Node, outcome: str, state: str, kind: str) -> None:
    """Outcomes are values or raised; the last attempt's failure discards."""
    done = await run(node, workers.end_as.new(outcome).options(max_attempts=1))
    assert (done.state, done.errors[0]["kind"]) == (state, kind)


async def test_a_value_that_is_not_json_completes_with_a_null_result(node: Node) -> None:
    """A success never turns into a failure after its side effects."""
    done = await run(node, workers.end_as.new("not json"))
    assert (done.state, done.result) == ("completed", None)
    assert "note" in done.history[-1]["meta"]


async def test_a_snooze_gives_the_attempt_back(node: Node, tmp_path: Path) -> None:
    """Five snoozes and a success: one attempt, no error."""
    done = await run(node, workers.snooze_until.new(str(tmp_path / "x"), 5))
    assert (done.state, done.attempt, done.errors, done.result) == ("completed", 1, [], 6)


@pytest.mark.parametrize("worker", [workers.spin, workers.sleep_for_ever, workers.sleep_for_ever_async])
async def test_a_timeout_bites(node: Node, worker: object) -> None:
    """A busy loop, a sleep and an async sleep all end when their time is up."""
    job = await node.insert(worker, {})
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, done.errors[0]["kind"]) == ("discarded", "timeout")


async def test_a_scheduled_job_starts_when_its_time_has_come(node: Node) -> None:
    """`schedule_in` and `schedule_at` wait; the past is now."""
    later = await node.insert(workers.add.new(1).options(schedule_in=0.15))
    past = await node.insert(workers.add.new(1).options(schedule_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)))
    done = await node.wait(later.id, timeout=WAIT)
    assert done.attempted_at is not None
    assert 0.0 <= (done.attempted_at - done.scheduled_at).total_seconds() < 10.0
    assert [h["event"] for h in done.history] == ["inserted", "due", "started", "completed"]
    at_once = await node.wait(past.id, timeout=WAIT)
    assert [job.history[0]["to"] for job in (done, at_once)] == ["scheduled", "available"]


@pytest.mark.one_node
async def test_higher_priorities_start_first(node: Node, tmp_path: Path) -> None:
    """While one plain job holds the only process, the others queue up and start by priority, then by age."""
    seen, marks, gate = tmp_path / "seen", tmp_path / "marks", tmp_path / "gate"
    await node.insert(workers.stay.new(str(marks), str(gate)))
    await eventually(lambda: lines_of(marks), "the first job runs")
    order = [0, 5, -1, 5, 9]
    jobs = [await node.insert(workers.note.new(str(seen), f"{p}.{i}").options(priority=p)) for i, p in enumerate(order)]
    await nothing_is_ahead(node)
    gate.touch()
    for job in jobs:
        await node.wait(job.id, timeout=WAIT)
    assert lines_of(seen) == ["9.4", "5.1", "5.3", "0.0", "-1.2"]


@pytest.mark.one_node
async def test_insert_many_keeps_the_order_and_reports_what_does_not_fit(node: Node) -> None:
    """2,500 jobs from a generator, three of them bad: stored by chunks, errors with their index."""

    def jobs() -> object:
        for i in range(2500):
            if i in (3, 1700):
                yield workers.add.new(i).options(queue="nowhere")
            elif i == 2400:
                yield "not a job"
            else:
                yield workers.add.new(i)

    many = await node.insert_many(jobs())  # type: ignore[arg-type]
    assert many.inserted == len(many.ids) == 2497
    assert [(i, type(e)) for i, e in many.errors] == [(3, UnknownQueue), (1700, UnknownQueue), (2400, InvalidJob)]
    assert many.ids == sorted(many.ids)
    assert (await node.wait(many.ids[-1], WAIT)).result == 2499


async def test_a_given_id_is_kept_and_a_second_one_is_refused(node: Node) -> None:
    """A duplicate id changes nothing, also when the first job has ended, also within insert_many."""
    job_id = uuid4()
    first = await node.insert(workers.add.new(1).options(id=job_id))
    assert first.id == job_id
    with pytest.raises(AlreadyExists, match=str(job_id)):
        await node.insert(workers.add.new(2).options(id=job_id))
    assert (await node.wait(job_id, WAIT)).result == 1
    with pytest.raises(AlreadyExists):
        await node.insert(workers.add.new(2).options(id=job_id))
    other = uuid4()
    many = await node.insert_many(workers.add.new(i).options(id=i_d) for i, i_d in enumerate([job_id, other, other]))
    assert many.ids == [other]
    assert [(i, type(e)) for i, e in many.errors] == [(0, AlreadyExists), (2, AlreadyExists)]


async def test_of_inserts_of_one_id_at_once_exactly_one_is_told_that_it_is_stored(node: Node) -> None:
    """They come into the same batch; the others are refused, alone or within insert_many."""
    for _ in range(10):
        job_id, stored, refused = uuid4(), list[int](), list[int]()

        async def insert(n: int, job_id: UUID = job_id, stored: Any = stored, refused: Any = refused) -> None:
            new = workers.add.new(n).options(id=job_id)
            try:
                if n % 2:
                    await node.insert(new)
                    stored.append(n)
                else:
                    many = await node.insert_many([new, workers.add.new(0)])
                    (stored if many.inserted == 2 else refused).append(n)
            except AlreadyExists:
                refused.append(n)

        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(insert, n)
        assert (len(stored), len(refused)) == (1, 3)
        assert (await node.wait(job_id, WAIT)).result == stored[0]


@pytest.mark.one_node
async def test_bad_input_is_refused_and_stores_nothing(node: Node) -> None:
    """Each error says what, which and the nearest right thing."""
    with pytest.raises(UnknownQueue, match='no queue "defualt" .*Did you mean "default"'):
        await node.insert(workers.add.new(1).options(queue="defualt"))
    with pytest.raises(UnknownWorker, match='no worker "ad" .*Did you mean "add"'):
        await node.insert("ad", {})
    with pytest.raises(UnknownOption, match='no option "prioritty" .*Did you mean "priority"'):
        await node.insert(workers.add.new(1), prioritty=1)
    with pytest.raises(TypeError, match=r"add\(a: .*missing a required argument: 'a'"):
        await node.insert("add", {"b": 1})
    with pytest.raises(InvalidJob, match=r"args\.a\.b\[1\] is of type object"):
        await node.insert("add", {"a": {"b": [1, object()]}})
    with pytest.raises(InvalidJob, match="max_attempts is 0"):
        await node.insert(workers.add.new(1).options(max_attempts=0))
    with pytest.raises(JobNotFound):
        await node.get(uuid4())
    with pytest.raises(JobNotFound):
        await node.wait(uuid4())
    with pytest.raises(JobNotFound):
        await node.get("no uuid")
    assert await node.list() == []


async def test_waiting_gives_up_in_time_and_the_job_goes_on(node: Node) -> None:
    """WaitTimeout names the state that the job is in."""
    job = await node.insert(workers.add.new(1).options(schedule_in=60))
    with pytest.raises(WaitTimeout, match="it is scheduled"):
        await node.wait(job.id, timeout=0.02)


async def test_listing_pages_by_keyset(node: Node) -> None:
    """Pages follow each other without gap or overlap, in both directions, with filters."""
    many = await node.insert_many(
        workers.add.new(i).options(schedule_in=60, tags=["even"] if i % 2 == 0 else []) for i in range(25)
    )
    seen: list[UUID] = []
    page = await node.list(newest_first=False, limit=10)
    while page:
        seen += [job.id for job in page]
        page = await node.list(newest_first=False, limit=10, after=seen[-1])
    assert seen == many.ids
    assert [job.args["a"] for job in await node.list(limit=3)] == [24, 23, 22]
    assert len(await node.list(tags=["even"], state="scheduled")) == 13
    assert await node.list(worker="note") == []
    with pytest.raises(ValueError, match='no state is called "don"'):
        await node.list(state="don")  # type: ignore[arg-type]
