"""Workers and an app for the tests of isolation and of faults: each does one bad thing, or tells where it runs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import signal
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio

from kathikon_actors import App, Job, Queue, constant, worker

MB = 2**20
KEPT: list[bytearray] = []
SHARED: dict[str, int] = {}


@worker
def where() -> int:
    return os.getpid()


@worker(backoff=constant(0.001))
async def where_async() -> int:
    await trio.sleep(0.002)
    return os.getpid()


@worker(backoff=constant(0.001))
def brief() -> None:
    time.sleep(0.002)


@worker
def leak(megabytes: int) -> int:
    KEPT.append(bytearray(os.urandom(1) * (megabytes * MB)))
    return os.getpid()


@worker
async def leak_async(megabytes: int) -> int:
    await trio.sleep(0.01)
    KEPT.append(bytearray(os.urandom(1) * (megabytes * MB)))
    await trio.sleep(0.05)
    return os.getpid()


@worker(backoff=constant(0.01), max_attempts=1)
def hog(megabytes: int) -> None:
    """Allocate step by step, for ever when nobody steps in."""
    for _ in range(megabytes):
        KEPT.append(bytearray(b"x" * MB))
        time.sleep(0.0002)
    time.sleep(30)


@worker(backoff=constant(0.01), max_attempts=1)
async def hog_async(megabytes: int) -> None:
    for _ in range(megabytes):
        KEPT.append(bytearray(b"x" * MB))
        await trio.sleep(0.0002)
    await trio.sleep(30)


@worker
async def nap(seconds: float) -> int:
    await trio.sleep(seconds)
    return os.getpid()


@worker(backoff=constant(0.01), max_attempts=1)
def die() -> None:
    os._exit(9)


@worker(backoff=constant(0.01), max_attempts=1)
def misbehave(how: str, path: str = "") -> Any:
    """Do one thing that no job should do."""
    FAULTS[how](path)
    return "survived"


@worker(max_attempts=1)
def insert_much(job: Job) -> list[object]:
    """Insert one job that is too large, then many that are too large together."""
    try:
        job.insert(swallow.new("x" * 70 * MB))
    except ValueError as error:
        refused = str(error)
    return [refused, job.insert_many(swallow.new("x" * MB).options(schedule_in=1000) for _ in range(80)).inserted]


@worker(max_attempts=1)
async def insert_much_async(job: Job) -> list[object]:
    try:
        await job.insert(swallow.new("x" * 70 * MB))
    except ValueError as error:
        refused = str(error)
    return [
        refused,
        (await job.insert_many(swallow.new("x" * MB).options(schedule_in=1000) for _ in range(80))).inserted,
    ]


@worker(max_attempts=1)
def swallow(text: str) -> int:
    return len(text)


@worker(max_attempts=1)
def mark_and_close(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("x\n")
    os.closerange(3, 256)


def _close_and_return(_path: str) -> None:
    os.closerange(3, 256)


def _speak_to_the_node(_path: str) -> None:
    for descriptor in range(3, 64):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, b"GET / HTTP/1.1\r\nHost: example\r\n\r\n")
    time.sleep(1000)


def _close_and_stay(_path: str) -> None:
    os.closerange(3, 256)
    time.sleep(1000)


def _leave_a_child(path: str) -> None:
    """Fork behind Python's back: the copy keeps the socket open and leads a session of its own."""
    libc = ctypes.CDLL(None)
    pid = libc.fork()
    if pid == 0:
        libc.setsid()
        libc.sleep(120)  # longer than the test waits for what the node says of this death
        libc._exit(0)
    while os.getsid(pid) != pid:
        time.sleep(0.001)
    Path(path).write_text(str(pid))
    os._exit(7)


def _ignore_signals(_path: str) -> None:
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))


def _overflow(_path: str) -> None:
    """Recursion through C code, on a stack that ends before the limits of any Python do."""
    resource.setrlimit(resource.RLIMIT_STACK, (256 * 1024, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    sys.setrecursionlimit(10**9)

    def deeper(_: object) -> int:
        return min([0], key=deeper)

    deeper(0)


def _recur(path: str) -> None:
    _recur(path)


def _raise(error: BaseException) -> Any:
    raise error


class Odd(BaseException):
    """An exception of a job's own that is no `Exception`."""


class Unpicklable(Exception):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.lock = sys.stderr


class Unspeakable(Exception):
    """Every way to look at it raises."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


FAULTS: dict[str, Any] = {
    "segfault": lambda _: ctypes.string_at(0),
    "_exit": lambda _: os._exit(3),
    "SIGKILL": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "SIGABRT": lambda _: os.abort(),
    "close and return": _close_and_return,
    "close and stay": _close_and_stay,
    "speak to the node": _speak_to_the_node,
    "exec another": lambda _: os.execv("/bin/sleep", ["sleep", "1000"]),
    "exec and end": lambda _: os.execv("/bin/true", ["true"]),
    "leave a child": _leave_a_child,
    "ignore signals": _ignore_signals,
    "overflow": _overflow,
    "recursion": _recur,
    "sys.exit": lambda _: sys.exit(4),
    "base exception": lambda _: _raise(Odd("odd")),
    "keyboard interrupt": lambda _: _raise(KeyboardInterrupt()),
    "generator exit": lambda _: _raise(GeneratorExit()),
    "unpicklable": lambda _: _raise(Unpicklable()),
    "unspeakable": lambda _: _raise(Unspeakable()),
}


@worker
def big_result(megabytes: int) -> str:
    return "x" * (megabytes * MB)


@worker(max_attempts=1)
def print_much(megabytes: int) -> str:
    """Fill standard output and standard error, by `print` and by file descriptor."""
    line = "x" * 1023
    for _ in range(megabytes // 2):
        print("\n".join([line] * 1024))
    block = (line + "\n").encode() * 1024
    for _ in range(megabytes // 2):
        sys.stderr.flush()
        rest = memoryview(block)
        while rest:
            rest = rest[os.write(2, rest) :]
    return "printed"


@worker(timeout=0.2, max_attempts=1)
def spin(how: str) -> None:
    """Never end, in a way that is hard to stop."""
    match how:
        case "loop":
            while True:
                pass
        case "sleep":
            time.sleep(1e9)
        case "c call":
            hashlib.pbkdf2_hmac("sha256", b"x", b"x", 2**31 - 1)
        case "bare except":
            while True:
                try:  # noqa: SIM105 the very fault
                    time.sleep(0.01)
                except:  # noqa: E722
                    pass


WORKERS = [
    where, where_async, brief, leak, leak_async, hog, hog_async, nap, die, misbehave, mark_and_close, big_result,
    print_much, spin, insert_much, insert_much_async, swallow,
]  # fmt: skip

app = App(
    queues=[
        Queue("default"),
        Queue("fresh", concurrency=4, isolation="fresh"),
        Queue("three", processes=2, max_jobs_per_process=3),
        Queue("lean", max_memory="120MB"),
    ],
    workers=WORKERS,
)
