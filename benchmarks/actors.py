"""What actors cost: `python -m benchmarks.actors [--quick] [--json]`.

Each figure stands beside the bare operation (`floor`: a deque as a mailbox on trio, a socketpair between two processes,
a fork) and what a user would pick instead (`peer`), both measured in the same run. Runs are repeated, and the median is
printed.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio
import trio.lowlevel

from benchmarks.actor_floor import bare_forks, bare_mailbox, socket_calls, socket_casts
from benchmarks.actor_kinds import Echo, PykkaEcho
from benchmarks.actor_peers import executor_calls, executor_recovery, forked_starts, pool_casts, pykka_calls
from benchmarks.report import Row, print_rows, row
from kathikon_actors import ActorRef, open_actor_system

__all__ = ["SIZES", "Sizes", "main", "measure"]

BIG = b"x" * 100_000


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        calls: to a task actor; a tenth of it to a process actor.
        casts: one way.
        large: calls with 100 kB.
        starts: processes started, and killed.
        idle: task actors of the figure of memory; pykka's are a tenth of it, as each has a thread.
        rounds: of which the median is taken.
    """

    calls: int
    casts: int
    large: int
    starts: int
    idle: int
    rounds: int


SIZES = {
    "quick": Sizes(calls=20_000, casts=40_000, large=1_000, starts=20, idle=10_000, rounds=3),
    "full": Sizes(calls=100_000, casts=400_000, large=5_000, starts=100, idle=10_000, rounds=5),
    "tiny": Sizes(calls=50, casts=50, large=5, starts=2, idle=50, rounds=1),
}


def median(measure_once: Callable[[], float], times: int) -> float:
    """Give the median of several runs."""
    return statistics.median([measure_once() for _ in range(times)])


async def calls_per_second(ref: ActorRef[Echo], calls: int, outstanding: int, value: Any) -> float:
    """Round trips per second from `outstanding` tasks, each with one call on its way."""
    numbers = iter(range(calls))

    async def caller() -> None:
        for _ in numbers:
            await ref.call(Echo.echo, value)

    began = time.perf_counter()
    if outstanding == 1:
        await caller()
    else:
        async with trio.open_nursery() as nursery:
            for _ in range(outstanding):
                nursery.start_soon(caller)
    return calls / (time.perf_counter() - began)


async def casts_per_second(ref: ActorRef[Echo], casts: int) -> float:
    """Casts per second until the last one is handled; other tasks get their turn every 1,000."""
    before = await ref.call(Echo.noted)
    began = time.perf_counter()
    for number in range(casts):
        ref.cast(Echo.note, number)
        if number % 1000 == 999:
            await trio.lowlevel.checkpoint()
    after = await ref.call(Echo.noted, timeout=60.0)
    taken = time.perf_counter() - began
    assert after - before == casts
    return casts / taken


async def start_times(starts: int) -> list[float]:
    """Milliseconds from the start of a process actor until it has answered a call; the fork server runs already."""
    times = []
    async with open_actor_system() as system:
        await (await system.start(Echo, isolation="process")).stop()
        for _ in range(starts):
            began = time.perf_counter()
            ref = await system.start(Echo, isolation="process")
            await ref.call(Echo.echo, 0)
            times.append((time.perf_counter() - began) * 1e3)
            await ref.stop()
    return times


async def recovery_times(kills: int) -> list[float]:
    """Milliseconds from SIGKILL of a process actor until its next life answers, under the system's supervisor."""
    times = []
    async with open_actor_system(max_restarts=10**9) as system:
        ref = await system.start(Echo, name="echo", isolation="process")
        for _ in range(kills):
            await ref.call(Echo.echo, 0)
            down = ref.monitor()
            began = time.perf_counter()
            ref.kill()
            await down.wait()
            while True:
                found = system.whereis("echo")
                if found is not None:
                    await found.call(Echo.echo, 0)
                    break
                await trio.lowlevel.checkpoint()
            times.append((time.perf_counter() - began) * 1e3)
    return times


async def with_actor(isolation: Any, use: Callable[[ActorRef[Echo]], Awaitable[float]], rounds: int) -> float:
    """Give the median of several uses of one actor, after a first use that warms it."""
    async with open_actor_system() as system:
        ref = await system.start(Echo, isolation=isolation)
        await ref.call(Echo.echo, 0)
        return statistics.median([await use(ref) for _ in range(rounds)])


def call_rows(sizes: Sizes) -> list[Row]:
    """Calls, to a task and to a process."""
    say("calls to a task actor")
    rounds, calls = sizes.rounds, sizes.calls
    task = trio.run(with_actor, "task", lambda ref: calls_per_second(ref, calls, 1, 7), rounds)
    rows = [
        row(
            "calls to a task actor, one outstanding (peer: pykka)",
            task,
            "calls/s",
            goal=60_000,
            floor=median(lambda: trio.run(bare_mailbox, calls), rounds),
            peer=median(lambda: pykka_calls(max(20, calls // 5)), rounds),
        )
    ]
    for outstanding, goal in ((1, 9_000), (64, 40_000)):
        say(f"calls to a process actor, {outstanding} outstanding")
        count = calls // (10 if outstanding == 1 else 2)
        mine = trio.run(
            with_actor, "process", lambda ref, n=count, o=outstanding: calls_per_second(ref, n, o, 7), rounds
        )
        rows.append(
            row(
                f"calls to a process actor, {outstanding} outstanding (peer: executor)",
                mine,
                "calls/s",
                goal=goal,
                floor=median(lambda n=count, o=outstanding: socket_calls(n, o, 7), rounds),
                peer=median(lambda n=count, o=outstanding: executor_calls(max(20, n // 4), o, 7), rounds),
            )
        )
    say("calls with 100 kB")
    large = sizes.large
    rows.append(
        row(
            "calls with 100 kB there and back (peer: executor)",
            trio.run(with_actor, "process", lambda ref: calls_per_second(ref, large, 1, BIG), rounds),
            "calls/s",
            goal=3_000,
            floor=median(lambda: socket_calls(large, 1, BIG), rounds),
            peer=median(lambda: executor_calls(large, 1, BIG), rounds),
        )
    )
    return rows


def cast_rows(sizes: Sizes) -> list[Row]:
    """Casts to a process."""
    say("casts to a process actor")
    casts = sizes.casts
    return [
        row(
            "casts to a process actor (peer: multiprocessing.Pool)",
            trio.run(with_actor, "process", lambda ref: casts_per_second(ref, casts), sizes.rounds),
            "casts/s",
            goal=200_000,
            floor=median(lambda: socket_casts(casts), sizes.rounds),
            peer=median(lambda: pool_casts(max(20, casts // 8)), sizes.rounds),
        )
    ]


def life_rows(sizes: Sizes) -> list[Row]:
    """The start of a process actor, and its recovery."""
    say("starts and kills of process actors")
    starts = sizes.starts
    fork = bare_forks(starts)
    return [
        row(
            "start of a process actor until it answers, p50 (peer: fork)",
            statistics.median(trio.run(start_times, starts)),
            "ms",
            goal=8,
            better="lower",
            floor=fork,
            peer=forked_starts(starts),
        ),
        row(
            "kill -9 to answering again, p50 (peer: new executor)",
            statistics.median(trio.run(recovery_times, starts)),
            "ms",
            goal=15,
            better="lower",
            floor=fork,
            peer=executor_recovery(max(1, starts // 5)),
        ),
    ]


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096


async def plain_tasks(count: int) -> float:
    """Bytes per idle task with a memory channel of its own."""

    async def serve(receive: trio.MemoryReceiveChannel[int], task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        async for _ in receive:
            pass

    async with trio.open_nursery() as nursery:
        sends = []
        before = resident()
        for _ in range(count):
            send, receive = trio.open_memory_channel[int](0)
            await nursery.start(serve, receive)
            sends.append(send)
        gc.collect()
        after = resident()
        nursery.cancel_scope.cancel()
    return (after - before) / count


async def idle_actors(count: int) -> float:
    """Bytes per idle task actor."""
    async with open_actor_system() as system:
        refs = [await system.start(Echo)]
        gc.collect()
        before = resident()
        refs += [await system.start(Echo) for _ in range(count)]
        gc.collect()
        after = resident()
    return (after - before) / count


def idle_pykka(count: int) -> float:
    """Bytes per idle pykka actor."""
    refs = [PykkaEcho.start()]
    gc.collect()
    before = resident()
    refs += [PykkaEcho.start() for _ in range(count)]
    gc.collect()
    after = resident()
    for ref in refs:
        ref.stop(block=False)
    return (after - before) / count


def memory_of(kind: str, count: int) -> float:
    """Measure in this process, which should be a fresh one."""
    if kind == "pykka":
        return idle_pykka(count)
    return trio.run(plain_tasks if kind == "task" else idle_actors, count)


def memory_rows(sizes: Sizes) -> list[Row]:
    """Memory, each kind in a process of its own."""
    if not sys.platform.startswith("linux"):
        return []
    say("memory of idle actors")
    figures = {}
    for kind, count in (("actor", sizes.idle), ("task", sizes.idle), ("pykka", max(1, sizes.idle // 10))):
        command = [sys.executable, "-m", "benchmarks.actors", "--memory", kind, "--count", str(count)]
        figures[kind] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return [
        row(
            f"memory per idle task actor, {sizes.idle:,} (peer: pykka)",
            figures["actor"],
            "bytes",
            goal=10_240,
            better="lower",
            floor=figures["task"],
            peer=figures["pykka"],
        )
    ]


def say(what: str) -> None:
    """Show progress on stderr."""
    print(f"measuring {what} ...", file=sys.stderr, flush=True)


def measure(sizes: Sizes) -> list[Row]:
    """Take all figures."""
    return [*call_rows(sizes), *cast_rows(sizes), *life_rows(sizes), *memory_rows(sizes)]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.actors", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="end within 60 s")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.add_argument("--memory", choices=["actor", "task", "pykka"], help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=10_000, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory is not None:
        print(memory_of(options.memory, options.count))
        return
    print_rows(measure(SIZES["quick" if options.quick else "full"]), as_json=options.json)


if __name__ == "__main__":
    main()
