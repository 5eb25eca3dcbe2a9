"""The jobs that the benchmarks run, and the apps that run them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

from kathikon_actors import App, Queue, constant, worker


@worker(queue="q")
def noop() -> None:
    """Do nothing: what is left is the system's own cost."""


@worker(queue="q")
def started_after(called: int) -> int:
    """Say how many nanoseconds after `called` (since 1970) the job started."""
    return time.time_ns() - called


@worker(queue="naps")
async def nap() -> None:
    """Wait 10 ms, as for an answer of the network."""
    await trio.sleep(0.01)


@worker(queue="async")
async def async_noop() -> None:
    """Do nothing, in a trio task."""


@worker(queue="victim", backoff=constant(0.0))
def linger(path: str) -> None:
    """Say in a file which process runs it since when, then wait to be killed, or to be let go."""
    line = f"{os.getpid()} {time.monotonic_ns()}\n"
    with Path(path).open("a") as file:
        file.write(line)
    while not Path(f"{path}.end").exists():
        time.sleep(0.002)


app = App([Queue("q", processes=2)], [noop, started_after])
async_app = App([Queue("async", processes=2, concurrency=512)], [async_noop])
nap_app = App([Queue("naps", processes=2, concurrency=512)], [nap])
victim_app = App([Queue("victim")], [linger])
