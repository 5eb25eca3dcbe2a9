"""Workers with limits, which leave a line at their start and at their end for whoever counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import trio

from kathikon_actors import App, Breaker, Job, Limit, Queue, Rate, Unique, constant, worker


def mark(path: str, what: str, name: str) -> None:
    """One line a call, written at once: `start NAME ns`, by the system's monotonic clock."""
    line = f"{what} {name} {time.monotonic_ns()}\n".encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def is_open(gate: str) -> bool:
    """Whether the test has made the file, if the job is to wait for one."""
    return not gate or Path(gate).exists()


@worker(concurrency=Limit(3))
def three_plain(path: str, name: str, seconds: float) -> None:
    mark(path, "start", name)
    time.sleep(seconds)
    mark(path, "end", name)


@worker(concurrency=Limit(3))
async def three(path: str, name: str, seconds: float, gate: str = "") -> None:
    mark(path, "start", name)
    await trio.sleep(seconds)
    while not is_open(gate):
        await trio.sleep(0.005)
    mark(path, "end", name)


def beat(path: str, name: str, seconds: float) -> None:
    """Leave a line every few milliseconds: what runs is seen to run, also when its node is stopped or dead."""
    end = time.monotonic() + seconds
    while True:
        mark(path, "pulse", f"{name}/{os.getpid()}/{id(end)}")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, 0.005))


@worker(concurrency=Limit(3))
def pulse(path: str, name: str, seconds: float) -> None:
    beat(path, name, seconds)


@worker(concurrency=Limit(1, by="args.account"))
def pulse_an_account(path: str, account: int, name: str, seconds: float) -> None:
    beat(path, f"{account}.{name}", seconds)


@worker(concurrency=Limit(1, by="args.account"))
async def one_an_account(path: str, account: int, name: str, seconds: float, gate: str = "") -> None:
    mark(path, "start", f"{account}/{name}")
    await trio.sleep(seconds)
    while not is_open(gate):
        await trio.sleep(0.005)
    mark(path, "end", f"{account}/{name}")


@worker(concurrency=Limit(1), unique=Unique(keys=("args",), replace=("priority",)))
async def one_guarded(path: str, name: str) -> None:
    mark(path, "start", name)
    mark(path, "end", name)


@worker(rate_limit=Rate(50, per=1.0, burst=5))
async def fifty_a_second(path: str, name: str) -> None:
    mark(path, "start", name)


@worker(rate_limit=Rate(20, per=1.0, by="args.account"), concurrency=Limit(2, by="args.account"))
async def both(path: str, account: str, name: str) -> None:
    mark(path, "start", f"{account}/{name}")
    mark(path, "end", f"{account}/{name}")


@worker
def free(path: str, name: str) -> None:
    mark(path, "start", name)


@worker(breaker=Breaker(rest=0.5), max_attempts=1, backoff=constant(0.01))
def fragile(path: str, name: str, well: str) -> None:
    """Fails until the file `well` is there."""
    mark(path, "start", name)
    if not Path(well).exists():
        raise ValueError("not well")


WORKERS = [
    pulse,
    pulse_an_account,
    three_plain,
    three,
    one_an_account,
    one_guarded,
    fifty_a_second,
    both,
    free,
    fragile,
]

app = App(
    queues=[
        Queue("default", concurrency=20, processes=3),
        Queue("slow", concurrency=20, rate_limit=Rate(20, per=1.0)),
        Queue("fair", fair=True, concurrency=1),
    ],
    workers=WORKERS,
)


def most_at_once(lines: list[str], key: str = "") -> int:
    """Give how many ran at the same time at most, of names that begin with `key`."""
    moments = []
    for line in lines:
        what, name, at = line.split()
        if name.startswith(key):
            moments.append((int(at), 1 if what == "start" else -1))
    most = now = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    return most


def spans_of(lines: list[str]) -> dict[str, tuple[int, int]]:
    """Give from when to when each run gave a pulse."""
    spans: dict[str, tuple[int, int]] = {}
    for line in lines:
        what, run, text = line.split()
        if what == "pulse":
            at = int(text)
            first, last = spans.get(run, (at, at))
            spans[run] = (min(first, at), max(last, at))
    return spans


def most_pulses(lines: list[str]) -> int:
    """Give how many runs gave pulses at the same time at most."""
    spans = spans_of(lines).items()
    moments = [f"start {run} {first}" for run, (first, _) in spans] + [f"end {run} {last}" for run, (_, last) in spans]
    return most_at_once(moments)


def starts_of(lines: list[str], key: str = "") -> list[float]:
    """Give the seconds at which those began whose names begin with `key`."""
    return sorted(int(line.split()[2]) / 1e9 for line in lines if line.startswith(f"start {key}"))


def most_within(starts: list[float], seconds: float) -> int:
    """Give the most starts in any window of that length."""
    most = first = 0
    for last, at in enumerate(starts):
        while at - starts[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def margin(starts: list[float], began: float, rate: Rate) -> float:
    """Give by how many seconds all starts are behind the rate at least, counted from `began`; below 0 it was broken.

    However late a start may be, it is never before its slot: this needs no allowance, as a window does.
    """
    return min(_behind(starts, began, rate))


def most_allowed(starts: list[float], began: float, rate: Rate, seconds: float) -> int:
    """Give how many starts may be in a window of that length, when each may be as late as the latest of them all.

    Starts that a busy machine held up come together, and each had its slot all the same: a bound without their delay
    would judge the machine.
    """
    return rate.burst + int((seconds + max(_behind(starts, began, rate))) * rate.n / rate.per) + 1


def _behind(starts: list[float], began: float, rate: Rate) -> list[float]:
    """Give by how many seconds each start is behind the earliest slot that it can have had."""
    return [at - began - max(0, n + 1 - rate.burst) * rate.per / rate.n for n, at in enumerate(starts)]


@worker(backoff=constant(0.05), max_attempts=5)
def everywhere(job: Job, path: str, name: str, ill: str = "") -> str | None:
    """Leave a line with the node's name; fail once on the node `ill`."""
    mark(path, "start", f"{name}/{job.node}/{job.attempt}")
    if job.node == ill and job.attempt < 2:
        raise ValueError("ill")
    return job.node


@worker(backoff=constant(600), max_attempts=5)
def much_later(job: Job) -> None:
    """Fail once, and wait for long."""
    if job.attempt < 2:
        raise ValueError("not yet")


@worker
def what_others_gave(job: Job, path: str) -> None:
    """Leave a line with the partition and what the jobs that it waited for gave."""
    gave = ",".join(str(job.dependency_results[parent]) for parent in job.depends_on)
    mark(path, "start", f"{job.node}/{job.partition_key}/{gave}")


broadcast_app = App(
    queues=[Queue("all", broadcast=True), Queue("soon", broadcast=True, broadcast_window=60.0)],
    workers=[everywhere, much_later],
)
