"""Workers that the tests of this folder run in real processes."""

from __future__ import annotations

import atexit
import contextvars
import ctypes
import multiprocessing
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from kathikon_actors import Cancel, Discard, Fail, Job, Retry, Snooze, Worker, worker

NOTE: contextvars.ContextVar[str] = contextvars.ContextVar("NOTE", default="untouched")


@worker
def noop() -> None: ...


@worker
async def async_noop() -> None: ...


@worker
def double(number: int) -> int:
    return 2 * number


@worker
def write_line(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@worker
def write_then_sleep(path: str, seconds: float) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(seconds)


@worker
def sleep_plain(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@worker
def wait_plain(path: str) -> str:
    """Run until the test makes the file."""
    while not Path(path).exists():
        time.sleep(0.002)
    return "released"


@worker
def spin_forever() -> None:
    while True:
        pass


@worker
def hold_everything_back(path: str) -> None:
    while True:
        try:
            Path(path).touch()
            time.sleep(1000)
        except BaseException:  # the very fault this worker shows
            continue


@worker
def swallow_once(path: str) -> str:
    try:
        Path(path).touch()
        time.sleep(1000)
    except BaseException:  # the very fault this worker shows
        return "finished all the same"
    return "not interrupted"


@worker
def segfault() -> None:
    ctypes.string_at(0)


@worker
def leave(code: int) -> None:
    os._exit(code)


@worker
def close_everything() -> None:
    os.closerange(3, 256)
    time.sleep(1000)


@worker
def print_much(lines: int) -> None:
    for number in range(lines):
        print("out", number)
        print("err", number, file=sys.stderr)


@worker
def print_gigabytes(gigabytes: float) -> None:
    """Half of it by `print`, half by the descriptor of standard error."""
    block = "\n".join(["x" * 1023] * 1024)
    for _ in range(int(gigabytes * 512)):
        print(block)
    raw = f"{block}\n".encode()
    for _ in range(int(gigabytes * 512)):
        rest = memoryview(raw)
        while rest:
            rest = rest[os.write(2, rest) :]


def _write(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(text)


@worker
def write_at_exit(path: str) -> None:
    """Have something done when the process ends: by `atexit`, and by a thread that has to be waited for."""
    atexit.register(_write, path, "at exit")
    threading.Timer(0.05, _write, (path, "thread, ")).start()


@worker
def last_words() -> None:
    print("on standard output")
    os.write(2, b"in the middle of a line")
    os._exit(1)


@worker
def fork_and_die(path: str) -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(1000)
    Path(path).write_text(str(pid))
    os._exit(7)


@worker
def fork_unseen_and_die(path: str) -> None:
    """As a C library would: no hook of Python's runs, and the copy is in nobody's group."""
    libc = ctypes.CDLL(None)
    pid = libc.fork()
    if pid == 0:
        libc.setsid()
        libc.sleep(20)
        libc._exit(0)
    while os.getsid(pid) != pid:
        time.sleep(0.001)
    Path(path).write_text(str(pid))
    os._exit(7)


@worker
def fork_and_return() -> str:
    pid = os.fork()
    if pid == 0:
        return "the copy"
    os.waitpid(pid, 0)
    return "the worker"


@worker
async def async_fork_and_return() -> str:
    pid = os.fork()
    if pid == 0:
        return "the copy"
    os.waitpid(pid, 0)  # noqa: ASYNC222 the copy ends at once
    return "the worker"


@worker
def terminate_own_child() -> str:
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(1000,))
    child.start()
    child.terminate()
    child.join(5)
    return f"exit {child.exitcode}"


@worker
def who_am_i() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "stdin": str(Path("/proc/self/fd/0").readlink()),
        "stdout_is_stderr": os.fstat(1).st_ino == os.fstat(2).st_ino,
        "modules": sorted(sys.modules),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


@worker
def chance() -> float:
    import random

    return random.random()


@worker
def remember(note: str) -> str:
    before = NOTE.get()
    NOTE.set(note)
    return before


@worker
async def async_remember(note: str) -> str:
    before = NOTE.get()
    NOTE.set(note)
    await trio.lowlevel.checkpoint()
    return before


@worker
def tell_progress(job: Job, percents: list[int]) -> list[Any]:
    for percent in percents:
        job.report_progress(percent)
    return [job.attempt, job.is_cancelled]


@worker
async def async_tell_progress(job: Job, percents: list[int]) -> list[Any]:
    for percent in percents:
        job.report_progress(percent)
        await trio.lowlevel.checkpoint()
    return [job.attempt, job.is_cancelled]


@worker
def tight_progress(job: Job, seconds: float) -> list[float]:
    """Give how many calls there were, and how long they took: on a busy machine longer than was wanted."""
    began = time.monotonic()
    calls = 0
    while calls <= 1_000 or time.monotonic() < began + seconds:
        job.report_progress(calls % 101)
        calls += 1
    return [calls, time.monotonic() - began]


@worker
async def async_sleep(seconds: float) -> str:
    await trio.sleep(seconds)
    return "slept"


@worker
async def async_wait(path: str) -> str:
    """Run until the test makes the file."""
    while not await trio.Path(path).exists():
        await trio.sleep(0.002)
    return "released"


@worker
async def async_swallow(path: str) -> str:
    with trio.CancelScope() as scope:
        try:
            await trio.Path(path).touch()
            await trio.sleep(1000)
        except trio.Cancelled:
            scope.shield = True
            return "finished all the same"
    return "not interrupted"


@worker
async def async_report_cancelled(job: Job, path: str) -> None:
    try:
        await trio.sleep(1000)
    finally:
        with trio.CancelScope(shield=True):
            await trio.Path(path).write_text(str(job.is_cancelled))


@worker
async def block_the_loop() -> None:
    time.sleep(1000)  # noqa: ASYNC251 the very fault this worker shows


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


def _recurse() -> None:
    _recurse()


def outcome_of(what: str) -> Any:
    """Give or raise what the name says: one case for each row of the contract."""
    match what:
        case "none":
            return None
        case "value":
            return {"a": [1, "ü", None]}
        case "not_json":
            return object()
        case "nan":
            return float("nan")
        case "snooze":
            return Snooze(2.5)
        case "raise_snooze":
            raise Snooze(2.5)
        case "bad_snooze":
            return Snooze(-1)
        case "far_snooze":
            return Snooze(3e11)
        case "text_snooze":
            return Snooze("soon")  # type: ignore[arg-type]
        case "fail":
            return Fail("no money")
        case "raise_fail":
            raise Fail("no money")
        case "retry":
            return Retry("busy", 7)
        case "retry_far":
            raise Retry("busy", 40 * 86_400)
        case "retry_at_once":
            return Retry("busy", 0)
        case "retry_too_far":
            return Retry("busy", 3e11)
        case "retry_default":
            raise Retry("busy")
        case "discard":
            raise Discard("bad row")
        case "cancel":
            return Cancel("not wanted")
        case "raise":
            raise ValueError("no such invoice")
        case "raise_bad_text":
            raise BadText
        case "surrogate":
            raise ValueError("\ud800 and \0")
        case "recursion":
            _recurse()
        case "exit":
            sys.exit(4)
        case "keyboard":
            raise KeyboardInterrupt
        case "base":
            raise BaseException("bare")
        case "group":
            raise ExceptionGroup("of one", [Discard("bad row")])
    raise LookupError(what)


@worker
def plain_outcome(what: str) -> Any:
    return outcome_of(what)


@worker
async def async_outcome(what: str) -> Any:
    await trio.lowlevel.checkpoint()
    return outcome_of(what)


@worker(backoff=lambda attempt, error: 10.0 * attempt + len(str(error)))
def own_backoff() -> None:
    raise ValueError("four")


@worker(backoff=lambda attempt, error: float("nan"))
def useless_backoff() -> None:
    raise ValueError("x")


@worker(backoff=lambda attempt, error: sys.exit(3))
def raising_backoff() -> None:
    raise ValueError("x")


class ClassForm(Worker):
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def perform(self, job: Job, start: int = 5) -> list[Any]:
        return [job.worker, start, self.made]

    def backoff(self, attempt: int, error: BaseException) -> float:
        return 3.0


class AsyncClassForm(Worker):
    async def perform(self, job: Job) -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return job.args


@worker
def fork_child_and_spin(path: str) -> None:
    pid = os.fork()
    if pid:
        Path(path).write_text(str(pid))
    time.sleep(1000)
