"""One attempt of one job, without a node and without a store."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any
from zoneinfo import ZoneInfo

import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.build import Defaults, build_record
from kathikon_actors.jobs.errors import InvalidJob, KathikonError
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.middleware import Middleware, check_middleware
from kathikon_actors.jobs.new_job import NewJob, check_options
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.worker import DEFAULT_TIMEOUT, definition_of
from kathikon_actors.node.inside import refusal
from kathikon_actors.node.state import delay_after
from kathikon_actors.processes.async_run import AsyncRun
from kathikon_actors.processes.execution import Executable
from kathikon_actors.processes.messages import Ask, FromWorker, Progress
from kathikon_actors.queue.settle import settle, settle_interrupted
from kathikon_actors.store.memory_data import wall_clock

__all__ = ["perform_job"]

NODE = "test"

NO_NODE = "perform_job has no node that could insert a job or open a batch; test this worker with open_test_node"


async def perform_job(
    job: object,
    args: Mapping[str, Any] | None = None,
    *,
    attempt: int = 1,
    middleware: Iterable[Middleware] = (),
    **options: Any,
) -> Job:
    """Run one attempt of a job right here and give the job as that leaves it.

    Arguments are bound and checked, and turned into JSON and back, as on a node; middleware, timeout, outcomes,
    `retry_on` and backoff have their effect. A plain function runs in this thread, one that takes its job in another,
    for which the loop waits. `on_discard` is not called, and a job that inserts or opens a batch is told that there is
    no node: `open_test_node` has one.

    Args:
        job: `worker.new(...)`, or a worker with `args`.
        args: arguments by name, with a worker.
        attempt: which attempt it is, from 1.
        middleware: the app's chain.
        **options: insert options.

    Raises:
        InvalidJob, TypeError, UnknownOption: it does not fit.

    Example:
        ```python
        done = await perform_job(charge.new("INV-7", cents=5), attempt=3)
        assert (done.state, done.result) == ("completed", {"receipt": "INV-7"})
        ```
    """
    new = _new_job(job, args, options)
    definition = new.definition
    if definition is None:
        raise InvalidJob(new.worker, "worker", "is only a name; give the worker itself")
    queue = str(new.given.get("queue") or definition.queue or "default")
    defaults = Defaults(queues=(queue,), queue=queue, timeout=DEFAULT_TIMEOUT, timezone=ZoneInfo("UTC"))
    if isinstance(attempt, bool) or not isinstance(attempt, int) or attempt < 1:
        raise InvalidJob(definition.name, "attempt", f"is {attempt!r}; give a whole number from 1")
    record = build_record(new, definition, defaults, IdSource(), wall_clock())
    if record.state != "available":
        machine.promote(record, wall_clock())
    record.attempt = attempt - 1
    machine.begin(record, wall_clock())
    said: list[FromWorker] = []

    def take(message: FromWorker) -> None:
        if isinstance(message, Ask):
            run.hear(refusal(message, KathikonError(NO_NODE)))
        else:
            said.append(message)

    def backoff(_worker: str, attempt: int, error: BaseException) -> float:
        return delay_after(definition, attempt, error)

    run = AsyncRun(1, record, take)
    executable = Executable(definition, check_middleware("perform_job", tuple(middleware)))
    report = None
    with trio.move_on_after(record.timeout):
        report = await run.perform(record, executable, _nothing)
    for message in said:
        if isinstance(message, Progress):
            record.progress = message.percent
    if report is None:
        settle_interrupted(record, "timeout", wall_clock(), NODE, os.getpid(), backoff)
    else:
        settle(record, report, wall_clock(), NODE, os.getpid(), backoff)
    return Job.of(record)


def _new_job(job: object, args: Mapping[str, Any] | None, options: dict[str, Any]) -> NewJob:
    if isinstance(job, NewJob):
        if args is not None:
            raise InvalidJob(job.worker, "args", "are bound already by new(...); leave them out here")
        return job.options(**options) if options else job
    definition = definition_of(job)
    check_options(definition.name, options)
    return NewJob(definition.name, definition.bind((), dict(args or {})), definition, options)


def _nothing(_failure: BaseException | None) -> None:
    """Nobody else waits for the moment at which user code has ended."""
