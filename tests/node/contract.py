"""Workers for the tests of section 4 of the contract: middleware, rules for exceptions, on_discard, the job's log."""

from __future__ import annotations

import logging
import os
import signal
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from kathikon_actors import App, CallNext, Discard, Fail, Job, Queue, Snooze, Worker, constant, linear, worker


def leave(path: str, line: str) -> None:
    """Append a line, whole, from any process."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


async def outer(job: Job, call_next: CallNext) -> object:
    """The app's chain: leaves a line before and after, where the job says where."""
    path = job.args.get("path")
    if path is None:
        return await call_next(job)
    leave(path, f"app before {job.worker} {job.attempt}")
    try:
        return await call_next(job)
    finally:
        leave(path, "app after")


async def inner(job: Job, call_next: CallNext) -> object:
    """The worker's chain: does what the job's `how` says."""
    path, how = job.args["path"], job.args["how"]
    leave(path, "worker before")
    if how == "short":
        return "from the middleware"
    if how == "snooze":
        return Snooze(3600)
    if how == "raise":
        raise LookupError("the middleware's own")
    if how == "await":
        await trio.lowlevel.checkpoint()
    try:
        value = await call_next(job)
    except ValueError:
        if how != "catch":
            raise
        return "caught"
    return {"altered": value} if how == "alter" else value


@worker(middleware=[inner], max_attempts=1)
def wrapped(path: str, how: str) -> str:
    leave(path, "perform")
    if how in ("catch", "error"):
        raise ValueError("perform's own")
    return "performed"


class WrappedAsync(Worker):
    middleware = (inner,)
    max_attempts = 1

    async def perform(self, job: Job, path: str, how: str) -> str:
        await trio.lowlevel.checkpoint()
        leave(path, f"perform {job.attempt}")
        if how in ("catch", "error"):
            raise ValueError("perform's own")
        return "performed"


@worker(retry_on={TimeoutError: 0.01, ConnectionError: constant(0.02)}, max_attempts=3)
def picky(what: str) -> None:
    raise {"timeout": TimeoutError, "connection": ConnectionResetError, "other": ValueError}[what](what)


@worker(discard_on=[LookupError], backoff=linear(0.01))
async def final(what: str) -> None:
    async with trio.open_nursery():
        raise {"key": KeyError, "value": ValueError}[what](what)


class Fragile(Worker):
    """Ends in every way there is; `on_discard` leaves a line with what it was given."""

    max_attempts = 2
    timeout = 60

    def perform(self, job: Job, path: str, how: str) -> Any:
        match how:
            case "fail":
                return Fail("no use")
            case "raise":
                raise ValueError("boom")
            case "discard":
                return Discard("never")
            case "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            case "spin":
                time.sleep(60)
        return "fine"

    def backoff(self, attempt: int, error: BaseException) -> float:
        return 0.01

    def on_discard(self, job: Job) -> None:
        path, how = job.args["path"], job.args["how"]
        kinds = ",".join(error["kind"] for error in job.errors)
        leave(path, f"{job.state} {job.attempt} {kinds}")
        if job.meta.get("hook") == "raise":
            raise RuntimeError("the hook is broken too")
        if job.meta.get("hook") == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.meta.get("hook") == "spin":
            time.sleep(60)
        if job.meta.get("hook") == "babble":
            babble()
        while job.meta.get("flag") and not Path(job.meta["flag"]).exists():
            time.sleep(0.005)
        assert how


class FragileAsync(Worker):
    max_attempts = 1

    async def perform(self, job: Job, path: str) -> None:
        raise ValueError("boom")

    async def on_discard(self, job: Job) -> None:
        await trio.lowlevel.checkpoint()
        leave(job.args["path"], f"{job.state} {job.errors[0]['message']}")


def tell(job: Job) -> None:
    leave(job.args["path"], f"{job.worker} {job.state}")


@worker(on_discard=tell, max_attempts=1)
async def hopeless(path: str) -> None:
    raise ValueError("boom")


@worker
def speaks(job: Job, path: str) -> None:
    class Hear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found = {name: getattr(record, name) for name in ("job_id", "worker", "queue", "attempt")}
            leave(path, f"{record.name} {record.getMessage()} {found['worker']} {found['queue']} {found['attempt']}")
            leave(path, found["job_id"])

    logger = logging.getLogger("kathikon_actors.job")
    hear = Hear()
    logger.addHandler(hear)
    logger.setLevel("INFO")
    job.log.info("charged %d cents", 5)
    logger.removeHandler(hear)


@worker
async def creep(job: Job, flag: str) -> None:
    """Half done after a while, until the file is there."""
    step = 1
    while not await trio.Path(flag).exists():
        await trio.sleep(0.05)
        step = min(step + 1, 50)
        job.report_progress(step)


app = App(
    queues=[Queue("default", concurrency=4)],
    workers=[wrapped, WrappedAsync, picky, final, Fragile, FragileAsync, hopeless, speaks, creep],
    middleware=[outer],
)


def babble() -> None:
    """Write into every socket of this process: whoever listens hears no frames."""
    for descriptor in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")


def lines(path: Path) -> list[str]:
    """What was left so far."""
    return path.read_text().splitlines() if path.exists() else []
