"""Helpers of the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import trio

from kathikon_actors.jobs import json
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.worker import WorkerDefinition, registered
from kathikon_actors.processes.handle import WorkerDied, WorkerProcess, Zygote
from kathikon_actors.processes.messages import FromWorker, Report, Run
from tests.processes import sample_workers

PLAIN = [d for d in registered() if d.module == sample_workers.__name__ and not d.is_async]
ALL = [d for d in registered() if d.module == sample_workers.__name__]


def record(worker: str, **args: Any) -> Record:
    return Record(
        id=uuid4().bytes,
        queue="default",
        worker=worker,
        args=json.encode(args),
        state="executing",
        priority=0,
        max_attempts=3,
        inserted_at=1_700_000_000_000_000,
        scheduled_at=1_700_000_000_000_000,
        timeout=300.0,
        attempt=2,
    )


def run(seq: int, worker: str, **args: Any) -> Run:
    return Run(seq, record(worker, **args))


@asynccontextmanager
async def open_zygote(
    definitions: list[WorkerDefinition] = PLAIN,
    *,
    preload: bool = True,
    start_method: Literal["fork", "spawn"] = "fork",
) -> AsyncIterator[Zygote]:
    zygote = await Zygote.start(definitions, preload=preload, start_method=start_method)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zygote.serve)
            try:
                yield zygote
            finally:
                nursery.cancel_scope.cancel()
    finally:
        await zygote.aclose()


@asynccontextmanager
async def open_worker(
    kind: Literal["plain", "async"] = "plain", slots: int = 1, definitions: list[WorkerDefinition] | None = None
) -> AsyncIterator[WorkerProcess]:
    if definitions is None:
        definitions = PLAIN if kind == "plain" else ALL
    async with open_zygote(definitions) as zygote:
        worker = await zygote.fork(kind, slots, "test")
        try:
            yield worker
        finally:
            worker.close()


async def receive(worker: WorkerProcess, count: int) -> list[FromWorker]:
    """Receive exactly so many messages."""
    got: list[FromWorker] = []
    with trio.fail_after(20):
        while len(got) < count:
            got += await worker.receive()
    assert len(got) == count
    return got


async def report(worker: WorkerProcess) -> Report:
    """Receive one report."""
    [message] = await receive(worker, 1)
    assert isinstance(message, Report)
    return message


async def death(worker: WorkerProcess, seconds: float = 10) -> tuple[list[FromWorker], WorkerDied]:
    """Receive until the process is gone: what it said, and how it ended."""
    got: list[FromWorker] = []
    with trio.fail_after(seconds):
        while True:
            try:
                got += await worker.receive()
            except WorkerDied as died:
                return got, died


async def until(state: Callable[[], object], seconds: float = 10) -> None:
    """Wait until a state is reached that nobody tells of."""
    with trio.fail_after(seconds):
        while not state():
            await trio.sleep(0.002)


def alive(pid: int) -> bool:
    """Tell whether a process lives; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def descriptors(pid: int | str = "self") -> int:
    """Count the open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
