"""The node for tests: virtual time, no process, and jobs that run when the test says so."""

from __future__ import annotations

import datetime as dt
import os
import time
from pathlib import Path
from uuid import UUID

import pytest
import trio

from kathikon_actors import (
    AlreadyExists,
    App,
    BadConfiguration,
    Cron,
    InvalidJob,
    Job,
    Queue,
    Snooze,
    UnknownWorker,
    Worker,
    linear,
    worker,
)
from kathikon_actors.node.inside import Inside
from kathikon_actors.testing import assert_enqueued, audit, drain, open_test_node, perform_job
from tests.node import workers

told: list[str] = []


@worker(backoff=linear(600), max_attempts=5)
def flaky(job: Job, succeeds_at: int) -> int:
    if job.attempt < succeeds_at:
        raise ValueError(f"attempt {job.attempt}")
    return os.getpid()


@worker(timeout=60)
async def slow(seconds: float) -> str:
    await trio.sleep(seconds)
    return "awake"


@worker
def wait_for(path: str) -> object:
    return "there" if Path(path).exists() else Snooze(3600)


@worker(backoff=linear(700), timeout=0.05)
async def slow_to_retry() -> None:
    await trio.sleep_forever()


@worker
async def spread(job: Job, depth: int) -> None:
    told.append(f"{job.worker} {depth}")


class Sad(Worker):
    max_attempts = 1

    async def perform(self, job: Job) -> None:
        raise RuntimeError("no")

    async def on_discard(self, job: Job) -> None:
        told.append(f"discarded {job.errors[0]['message']}")


@worker(max_attempts=1)
def compose(job: Job) -> list[str]:
    one = job.insert(spread.new(1))
    job.report_progress(50)
    with job.open_batch() as batch:
        batch.insert_many(spread.new(number) for number in (2, 3))
    try:
        job.insert("nobody")
    except UnknownWorker as error:
        told.append(error.worker)
    return [str(one.id), str(batch.id)]


app = App(
    queues=[Queue("default"), Queue("wide", processes=2)],
    workers=[flaky, slow, wait_for, spread, compose, Sad, *workers.WORKERS],
)
hourly = App(
    queues=[Queue("default")], workers=[spread, workers.add], crons=[Cron("hourly", "0 * * * *", spread.new(7))]
)


@pytest.fixture(autouse=True)
def forget() -> None:
    told.clear()


async def test_hours_of_backoff_take_no_time(autojump_clock: object) -> None:
    """Four failures, 10, 20, 30 and 30 minutes of backoff, to the microsecond; plain functions run here too."""
    began = time.monotonic()
    async with open_test_node(app) as node:
        job = await node.insert(flaky.new(5))
        done = await node.wait(job.id)
        assert (done.state, done.attempt, done.result) == ("completed", 5, os.getpid())
        assert done.completed_at is not None
        assert done.completed_at - done.inserted_at == dt.timedelta(minutes=90)
        (await audit(node)).check()
    assert time.monotonic() - began < 30


async def test_time_is_what_the_test_says(autojump_clock: object) -> None:
    """A start of one's own choice; schedules and cron ticks follow it."""
    now = dt.datetime(2031, 5, 6, 7, 59, 30, tzinfo=dt.UTC)
    async with open_test_node(hourly, now=now) as node:
        job = await node.insert(workers.add.new(1).options(schedule_at=now + dt.timedelta(days=1)))
        assert job.inserted_at - now < dt.timedelta(seconds=1)
        await trio.sleep(45)
        assert told == ["spread 7"]
        done = await node.wait(job.id)
        assert done.attempted_at is not None
        assert abs(done.attempted_at - (now + dt.timedelta(days=1))) < dt.timedelta(seconds=2)
        assert len(told) == 24


async def test_an_id_is_refused_the_second_time_at_the_very_same_moment(autojump_clock: object) -> None:
    """Time stands still between them; plain jobs and composed ones, one by one and in many, live and ended."""
    given = UUID("0190163d-8694-739b-aea5-966c26f8ad91")
    async with open_test_node(app) as node:
        for again in (workers.add.new(2), workers.add.new(2).options(unique=True)):
            new = again.options(id=given)
            first = await node.insert(workers.add.new(1).options(id=given))
            for _ in range(3):
                with pytest.raises(AlreadyExists):
                    await node.insert(new)
                many = await node.insert_many([new, workers.add.new(3)])
                assert [type(error) for _, error in many.errors] == [AlreadyExists]
            assert (await node.wait(given)).result == 1
            with pytest.raises(AlreadyExists):
                await node.insert(new)
            assert (await node.get(given)).inserted_at == first.inserted_at
            await node.purge(given)


async def test_timeouts_follow_the_virtual_clock(autojump_clock: object) -> None:
    """A job that sleeps an hour meets its timeout of a minute."""
    async with open_test_node(app) as node:
        job = await node.insert(slow.new(3600.0).options(max_attempts=1))
        done = await node.wait(job.id)
        assert (done.state, done.errors[0]["kind"]) == ("discarded", "timeout")
        assert (await node.wait((await node.insert(slow.new(50.0))).id)).result == "awake"


async def test_on_discard_runs_here_too(autojump_clock: object) -> None:
    """The class form, its failure, and what it does then."""
    async with open_test_node(app) as node:
        job = await node.insert(Sad.new())
        assert (await node.wait(job.id)).state == "discarded"
        assert told == ["discarded RuntimeError: no"]


@pytest.mark.parametrize("chain", [[], ["tagged"]])
async def test_a_plain_function_inserts_and_opens_batches_here_too(chain: list[str], autojump_clock: object) -> None:
    """It calls without await, as in its process, under middleware too; an error of the node is raised in it."""
    middleware = [tagged] if chain else []
    layered = App(queues=[Queue("default")], workers=[spread, compose], middleware=middleware)
    async with open_test_node(layered) as node:
        job = await node.insert(compose.new())
        done = await node.wait(job.id)
        assert done.state == "completed", done.errors
        ids = done.result["via"] if chain else done.result
        assert (await node.get(ids[0])).parent_id == job.id
        assert (await node.batch(ids[1])).state == "succeeded"
        assert sorted(told) == ["nobody", "spread 1", "spread 2", "spread 3"]
        (await audit(node)).check()


async def test_a_plain_function_that_waits_for_its_node_can_be_stopped(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call is interrupted in it, as a timeout does in a process."""

    async def never(*_args: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(Inside, "_answer", never)
    async with open_test_node(app) as node:
        job = await node.insert(compose.new().options(timeout=30))
        done = await node.wait(job.id)
        assert (done.state, [error["kind"] for error in done.errors]) == ("discarded", ["timeout"])


async def test_perform_job_tells_a_job_that_inserts_that_there_is_no_node() -> None:
    """Rather than letting it wait for an answer."""
    done = await perform_job(compose.new())
    assert done.state == "discarded" and "test this worker with open_test_node" in done.errors[0]["message"]


async def test_manual_jobs_wait_until_they_are_drained(autojump_clock: object) -> None:
    """Nothing runs by itself; a drain runs what is due, and with what is scheduled all that will be."""
    async with open_test_node(app, mode="manual") as node:
        await node.insert(workers.add.new(1))
        later = await node.insert(flaky.new(2))
        scheduled = await node.insert(workers.add.new(2).options(schedule_in=3600))
        await trio.sleep(60)
        assert len(await assert_enqueued(node, count=3)) == 3
        assert await drain(node) == {"completed": 1}
        assert (await node.get(later.id)).state == "retryable"
        await node.insert(workers.add.new(3))
        await trio.sleep(1)
        assert (await assert_enqueued(node, workers.add, args={"a": 3}))[0].state == "available"
        assert await drain(node, with_scheduled=True) == {"completed": 3}
        assert (await node.get(scheduled.id)).state == "completed"


async def test_inline_jobs_have_run_when_insert_returns(autojump_clock: object) -> None:
    """The caller gets the job as it ended; what is for later is left for later."""
    async with open_test_node(app, mode="inline") as node:
        assert (await node.insert(workers.add.new(1, b=2))).result == 3
        assert (await node.insert(flaky.new(2))).state == "retryable"
        assert (await node.insert(workers.add.new(1).options(schedule_in=60))).state == "scheduled"


async def test_a_test_node_refuses_what_it_cannot_be() -> None:
    """An unknown mode, no app."""
    with pytest.raises(BadConfiguration, match='give "run", "manual" or "inline"'):
        async with open_test_node(app, mode="auto"):  # type: ignore[arg-type]
            pass
    with pytest.raises(BadConfiguration, match="takes an App"):
        async with open_test_node("app"):  # type: ignore[arg-type]
            pass


async def tagged(job: Job, call_next: object) -> object:
    return {"via": await call_next(job)}  # type: ignore[operator]


async def test_perform_job_runs_one_attempt_without_a_node(tmp_path: Path) -> None:
    """Results, failures with the backoff, outcomes, middleware, timeouts, progress, the number of the attempt."""
    assert (await perform_job(workers.add.new(1, b=2))).result == 3
    assert (await perform_job(workers.add_async, {"a": 1})).result == 1
    assert (await perform_job(workers.add.new(1), middleware=[tagged])).result == {"via": 1}
    failed = await perform_job(flaky, {"succeeds_at": 3}, attempt=2)
    assert (failed.state, failed.attempt, failed.errors[0]["message"]) == ("retryable", 2, "ValueError: attempt 2")
    assert abs((failed.scheduled_at - failed.inserted_at).total_seconds() - 1200) < 60
    assert (await perform_job(flaky.new(9), attempt=5)).state == "discarded"
    snoozed = await perform_job(wait_for.new(str(tmp_path / "no")))
    assert (snoozed.state, snoozed.attempt) == ("scheduled", 0)
    timed_out = await perform_job(slow.new(60.0), timeout=0.05)
    assert (timed_out.state, timed_out.errors[0]["kind"]) == ("retryable", "timeout")
    timed_out = await perform_job(slow_to_retry.new(), attempt=2)
    assert timed_out.errors[0]["kind"] == "timeout" and timed_out.attempted_at is not None
    assert abs((timed_out.scheduled_at - timed_out.attempted_at).total_seconds() - 1400) < 60
    assert (await perform_job(Sad.new())).state == "discarded"
    assert (await perform_job(workers.end_as.new("discard"))).state == "discarded"


async def test_perform_job_refuses_what_a_node_would() -> None:
    """Arguments that do not fit or are no JSON, a name without a worker."""
    with pytest.raises(TypeError, match="add"):
        await perform_job(workers.add, {"x": 1})
    with pytest.raises(InvalidJob, match="args"):
        await perform_job(workers.add.new({1, 2}))  # type: ignore[arg-type]
    with pytest.raises(BadConfiguration, match="not a worker"):
        await perform_job("add", {})
    with pytest.raises(InvalidJob, match="attempt"):
        await perform_job(workers.add.new(1), attempt=0)
