"""What supervision costs: `python -m benchmarks.supervision [--quick] [--json]`.

Each figure is taken beside the bare operation in the same run (`floor`): a plain nursery that starts, holds, or cancels
the same children without supervising them. `ratio` is value by floor.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import ChildSpec, open_dynamic_supervisor, open_supervisor


class Row(TypedDict):
    """One figure, as it is printed."""

    figure: str
    value: float
    unit: str
    goal: float | None
    better: str
    floor: float | None
    peer: float | None
    ratio: float | None


def row(figure: str, value: float, unit: str, goal: float | None, floor: float | None) -> Row:
    """Make a row; less is better in all of them."""
    return {
        "figure": figure,
        "value": round(value, 3),
        "unit": unit,
        "goal": None if goal is None else round(goal, 3),
        "better": "lower",
        "floor": None if floor is None else round(floor, 3),
        "peer": None,
        "ratio": None if not floor else round(value / floor, 2),
    }


async def idle(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Be a child that waits."""
    task_status.started()
    await trio.sleep_forever()


async def time_starts(start: Callable[[int], Awaitable[object]], count: int) -> float:
    """Microseconds per start, the middle of several rounds."""
    rounds = []
    for turn in range(5):
        began = time.perf_counter()
        for number in range(count):
            await start(turn * count + number)
        rounds.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(rounds)


async def starts(count: int) -> list[Row]:
    """Starting one child and waiting until it is up."""
    async with trio.open_nursery() as nursery:

        async def start_bare(_: int) -> None:
            await nursery.start(idle)

        floor = await time_starts(start_bare, count)
        nursery.cancel_scope.cancel()
    async with open_supervisor() as tree:
        static = await time_starts(lambda number: tree.start_child(ChildSpec(number, idle)), count)
    async with open_dynamic_supervisor() as pool:
        dynamic = await time_starts(lambda number: pool.start_child(ChildSpec(number, idle)), count)
    return [
        row("start a child, static supervisor", static, "us", 3 * floor, floor),
        row("start a child, dynamic supervisor", dynamic, "us", 3 * floor, floor),
    ]


async def restart_times(siblings: int, count: int) -> list[float]:
    """Microseconds from a child's crash to its next life, one after the other."""
    died = born = 0.0
    go = trio.Event()

    async def crashing(*, task_status: trio.TaskStatus[None]) -> None:
        nonlocal died, born, go
        born = time.perf_counter()
        mine = go = trio.Event()
        task_status.started()
        await mine.wait()
        died = time.perf_counter()
        raise ValueError("crash")

    specs = [ChildSpec("crashing", crashing), *(ChildSpec(number, idle) for number in range(siblings))]
    times = []
    async with open_supervisor(specs, max_restarts=10**9):
        for _ in range(count):
            await wait_all_tasks_blocked()
            go.set()
            await wait_all_tasks_blocked()
            times.append((born - died) * 1e6)
    return times


async def bare_restart_times(count: int) -> list[float]:
    """The same without a supervisor: the task that starts the child catches its crash and starts the next one."""
    died = born = 0.0
    go = trio.Event()

    async def crashing(ended: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        nonlocal died, born, go
        born = time.perf_counter()
        mine = go = trio.Event()
        task_status.started()
        await mine.wait()
        died = time.perf_counter()
        ended.set()

    async def loop() -> None:
        async with trio.open_nursery() as nursery:
            while True:
                ended = trio.Event()
                await nursery.start(crashing, ended)
                await ended.wait()

    times = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop)
        for _ in range(count):
            await wait_all_tasks_blocked()
            go.set()
            await wait_all_tasks_blocked()
            times.append((born - died) * 1e6)
        nursery.cancel_scope.cancel()
    return times


async def restarts(count: int, many: int) -> list[Row]:
    """Restarting one child, alone and among many."""
    bare = statistics.median(await bare_restart_times(count))
    alone = sorted(await restart_times(1, count))
    crowded = statistics.median(await restart_times(many, count))
    middle = statistics.median(alone)
    return [
        row("restart, p50", middle, "us", 100.0, bare),
        row("restart, p99", alone[int(len(alone) * 0.99)], "us", None, bare),
        row(f"restart among {many} siblings, p50 (floor: among 1)", crowded, "us", 1.5 * middle, middle),
    ]


def resident() -> int:
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096


async def memory(kind: str, count: int) -> float:
    """Bytes per idle child; to be called in a fresh process."""
    if kind == "nursery":
        async with trio.open_nursery() as nursery:
            gc.collect()
            before = resident()
            for _ in range(count):
                await nursery.start(idle)
            gc.collect()
            after = resident()
            nursery.cancel_scope.cancel()
    else:
        gc.collect()
        before = resident()
        async with open_supervisor([ChildSpec(number, idle) for number in range(count)]):
            gc.collect()
            after = resident()
    return (after - before) / count


def memory_rows(count: int) -> list[Row]:
    """Memory per idle child, each kind in a process of its own."""
    if not sys.platform.startswith("linux"):
        return []
    figures = []
    for kind in ("nursery", "supervisor"):
        command = [sys.executable, "-m", "benchmarks.supervision", "--memory", kind, "--count", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures.append(float(done.stdout))
    floor, value = figures
    return [row(f"memory per idle child, {count} children", value, "bytes", 8192.0, floor)]


async def stops(count: int) -> list[Row]:
    """Stopping many children, in order and in parallel."""
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            await nursery.start(idle)
        began = time.perf_counter()
        nursery.cancel_scope.cancel()
    floor = time.perf_counter() - began
    async with open_supervisor([ChildSpec(number, idle) for number in range(count)]):
        began = time.perf_counter()
    ordered = time.perf_counter() - began
    async with open_dynamic_supervisor() as pool:
        for number in range(count):
            await pool.start_child(ChildSpec(number, idle))
        began = time.perf_counter()
    parallel = time.perf_counter() - began
    scale = count / 10_000
    return [
        row(f"stop {count} children in order", ordered, "s", 2.0 * scale, floor),
        row(f"stop {count} children in parallel", parallel, "s", 2.0 * scale, floor),
    ]


def measure(*, quick: bool) -> list[Row]:
    """Take all figures."""
    rows: list[Row] = []
    rows += trio.run(starts, 300 if quick else 2000)
    rows += trio.run(restarts, 500 if quick else 5000, 1000 if quick else 10_000)
    rows += memory_rows(2000 if quick else 10_000)
    rows += trio.run(stops, 2000 if quick else 10_000)
    return rows


def show(rows: list[Row]) -> None:
    """Print the rows as a table."""

    def cell(value: Any) -> str:
        return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    columns: tuple[str, ...] = ("figure", "value", "unit", "goal", "floor", "ratio")
    table = [columns, *(tuple(cell(dict(line)[name]) for name in columns) for line in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(columns))]
    for line in table:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller numbers, ends within a minute")
    parser.add_argument("--json", action="store_true", help="one JSON list of rows instead of a table")
    parser.add_argument("--memory", choices=["nursery", "supervisor"], help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=10_000, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory is not None:
        print(trio.run(memory, options.memory, options.count))
        return
    rows = measure(quick=options.quick)
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        show(rows)


if __name__ == "__main__":
    main()
