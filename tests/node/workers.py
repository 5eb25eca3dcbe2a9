"""Workers for the tests of the node: each does one thing that a job may do."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path
from typing import Any

import trio

from kathikon_actors import App, Cancel, Discard, Fail, Job, Queue, Retry, Snooze, Worker, constant, worker


@worker
def add(a: int, b: int = 0) -> int:
    return a + b


@worker
async def add_async(a: int, b: int = 0) -> int:
    await trio.lowlevel.checkpoint()
    return a + b


@worker
def note(path: str, text: str) -> None:
    """Leave a line that tells the job ran."""
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


@worker(backoff=constant(0.01))
def fail_until(job: Job, attempt: int) -> int:
    if job.attempt < attempt:
        raise ValueError(f"attempt {job.attempt}")
    return job.attempt


@worker(backoff=constant(0.01))
async def fail_until_async(job: Job, attempt: int) -> int:
    if job.attempt < attempt:
        raise ValueError(f"attempt {job.attempt}")
    return job.attempt


@worker
def end_as(outcome: str) -> Any:
    match outcome:
        case "fail":
            return Fail("no")
        case "retry":
            return Retry("again", delay=0.02)
        case "discard":
            raise Discard("hopeless")
        case "cancel":
            return Cancel("not wanted")
        case "exit":
            raise SystemExit(3)
        case "not json":
            return {1, 2}
        case "invalid snooze":
            return Snooze(-1)
    return outcome


@worker
def snooze_until(path: str, times: int) -> int:
    """Snooze `times` times, then complete."""
    with Path(path).open("a") as file:
        file.write("x")
    done = len(Path(path).read_text())
    return done if done > times else Snooze(0.01)  # type: ignore[return-value]


@worker(timeout=0.3, max_attempts=1)
def spin() -> None:
    while True:
        pass


@worker(timeout=0.3, max_attempts=1)
def sleep_for_ever() -> None:
    time.sleep(1e9)


@worker(timeout=0.3, max_attempts=1)
async def sleep_for_ever_async() -> None:
    await trio.sleep_forever()


class Kill(Worker):
    """End the worker process in the first `times` attempts."""

    max_attempts = 3

    def perform(self, job: Job, how: str, times: int) -> int:
        if job.attempt > times:
            return job.attempt
        match how:
            case "segfault":
                ctypes.string_at(0)
            case "exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
        return -1

    def backoff(self, attempt: int, error: BaseException) -> float:
        return 0.01


@worker(backoff=constant(0.01))
def hold(path: str, seconds: float) -> int:
    """Say the process id, then stay for a while."""
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return os.getpid()


@worker
async def hold_async(path: str, seconds: float) -> int:
    with Path(path).open("a") as file:  # noqa: ASYNC230 a few bytes on a local disk
        file.write(f"{os.getpid()}\n")
    await trio.sleep(seconds)
    return os.getpid()


@worker(backoff=constant(0.01))
def stay(path: str, gate: str) -> int:
    """Say the process id, then stay until the test makes the file `gate`."""
    note(path, str(os.getpid()))
    while not Path(gate).exists():
        time.sleep(0.002)
    return os.getpid()


@worker
async def stay_async(path: str, gate: str) -> int:
    note(path, str(os.getpid()))
    while not await trio.Path(gate).exists():
        await trio.sleep(0.002)
    return os.getpid()


@worker(backoff=constant(0.01))
async def poison(path: str) -> None:
    """Kill the process while others run in it."""
    await trio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


WORKERS = [
    add,
    add_async,
    note,
    fail_until,
    fail_until_async,
    end_as,
    snooze_until,
    spin,
    sleep_for_ever,
    sleep_for_ever_async,
    Kill,
    hold,
    hold_async,
    stay,
    stay_async,
    poison,
]

app = App(queues=[Queue("default"), Queue("wide", concurrency=8, processes=2)], workers=WORKERS)
