"""Workers that insert, and wait for what they inserted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from kathikon_actors import App, Batch, Job, NewJob, Queue, Unique, constant, worker
from tests.node.workers import WORKERS, add, end_as


@worker(max_attempts=1)
def spread(job: Job, number: int) -> list[str]:
    """Insert by every form."""
    first = job.insert(add.new(number).options(tags=["child"], schedule_in=dt.timedelta(seconds=0), meta={"x": [1]}))
    again = job.insert("add", {"a": number}, unique=Unique(), tags=["child"])
    same = job.insert("add", {"a": number}, unique=Unique(), tags=["child"])
    assert same.conflict and same.id == again.id
    many = job.insert_many(add.new(n).options(tags=["child"]) for n in range(1500))
    assert many.inserted == 1500
    waits = job.insert(add, {"a": 1}, depends_on=[first, again.id], tags=["child"])
    assert waits.parent_id == job.id
    return [str(first.id), str(again.id), str(waits.id)]


@worker(max_attempts=1)
async def spread_async(job: Job, number: int) -> list[str]:
    first = await job.insert(add.new(number).options(tags=["child"]))
    many = await job.insert_many(add.new(n).options(tags=["child"]) for n in range(1500))
    assert many.inserted == 1500
    return [str(first.id)]


@worker(max_attempts=1)
def misreport(job: Job) -> list[str]:
    """Progress is as strict here as on the node; a list of jobs has to be one."""
    raised = []
    for percent in (None, "x", 1.5, True, -1, 101, 10**5000):
        try:
            job.report_progress(percent)  # type: ignore[arg-type]
        except ValueError as error:
            raised.append(str(error)[:12])
    try:
        job.insert_many(5)  # type: ignore[arg-type]
    except Exception as error:
        raised.append(type(error).__name__)
    job.report_progress(50)
    return raised


@worker(max_attempts=1)
def misinsert(job: Job) -> list[str]:
    """What does not fit raises here as it does on the node."""
    raised = []
    for wrong in (
        lambda: job.insert("no_such", {}),
        lambda: job.insert(add.new(1), queue="no such"),
        lambda: job.insert(add.new(1), priority="high"),
        lambda: job.insert(add.new(1), depends_on=["01a00000-0000-7000-8000-000000000000"]),
        lambda: job.insert(add.new(1), batch="01a00000-0000-7000-8000-000000000000"),
        lambda: job.insert("not a job"),
        lambda: job.insert(7),
        lambda: job.insert(add.new(1), partition_key="\ud800"),
        lambda: job.insert(add.new(1), priority=10**30),
        lambda: job.insert(add.new(1), tags=5),
        lambda: job.insert(add.new(1), depends_on=5),
        lambda: job.insert("add", 5),  # type: ignore[arg-type]
        lambda: job.insert(NewJob("add", {"a": 1}, None, {"quue": 1})),
        lambda: job.insert(NewJob(5, {})),  # type: ignore[arg-type]
    ):
        try:
            wrong()
        except Exception as error:
            raised.append(type(error).__name__)
    many = job.insert_many([add.new(1), add.new(2).options(queue="no such")])
    return [*raised, *(f"{place} {type(error).__name__}" for place, error in many.errors)]


def many(bad: int) -> Iterator[NewJob]:
    """A job that does not fit among others for later."""
    for number in range(3000):
        yield add.new(number).options(schedule_in=3600, tags=["child"], **({"queue": "no"} if number == bad else {}))


@worker(max_attempts=1)
def give_up(job: Job, bad: int) -> list[int]:
    """Insert until one does not fit."""
    stored = job.insert_many(many(bad), on_error="abort")
    return [stored.inserted, *(place for place, _ in stored.errors)]


@worker(max_attempts=1)
async def give_up_async(job: Job, bad: int) -> list[int]:
    """Insert until one does not fit."""
    stored = await job.insert_many(many(bad), on_error="abort")
    return [stored.inserted, *(place for place, _ in stored.errors)]


@worker(max_attempts=1)
def fan_out(job: Job, children: int, bad: int) -> str:
    """Wait for children that were streamed."""
    with job.open_batch(Batch(name="fan")) as batch:
        batch.insert_many(add.new(n) for n in range(children))
        for _ in range(bad):
            batch.insert(end_as.new("discard"))
    return "spread"


@worker(max_attempts=1)
async def fan_out_async(job: Job, depth: int, width: int) -> int:
    """A tree of batches: each waits for those below."""
    async with job.open_batch() as batch:
        if depth:
            await batch.insert_many(fan_out_async.new(depth - 1, width) for _ in range(width))
    return depth


@worker(backoff=constant(0.01))
def spread_again(job: Job) -> int:
    """Its first run opens a batch that fails, and fails itself; the second one has a batch of its own."""
    with job.open_batch() as batch:
        batch.insert(end_as.new("discard") if job.attempt == 1 else add.new(1))
    if job.attempt == 1:
        raise RuntimeError("not yet")
    return job.attempt


@worker
async def callback(job: Job) -> Any:
    return job.meta["batch"]["state"]


app = App(
    queues=[Queue("default", concurrency=8), Queue("wide", concurrency=8, processes=2)],
    workers=[
        *WORKERS,
        spread,
        spread_async,
        misinsert,
        misreport,
        give_up,
        give_up_async,
        fan_out,
        fan_out_async,
        spread_again,
        callback,
    ],
)
