"""How long a job stands still when its worker process is killed."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import trio

from benchmarks.job_queue.common import NAME, Setup, percentiles, say
from benchmarks.job_queue.workers import linger, victim_app
from benchmarks.report import Row, row
from kathikon_actors import open_node
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.processes.handle import WorkerDied, Zygote
from kathikon_actors.processes.messages import Run

__all__ = ["recovery_rows"]


def lines_of(path: Path) -> list[str]:
    """Give the whole lines of a file that may not exist yet."""
    text = path.read_text() if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


async def started(path: Path, lives: int) -> tuple[int, int]:
    """Wait for the line of that life; give its process and its time."""
    while len(lines := lines_of(path)) < lives:
        await trio.sleep(0.001)
    pid, at = lines[lives - 1].split()
    return int(pid), int(at)


async def kill_in_node(directory: Path, dsn: str, deaths: int) -> list[float]:
    """Milliseconds from SIGKILL until the same job runs again in the queue's only process.

    Each job dies once and then ends: a queue whose processes only ever die is given pauses, by design.
    """
    times = []
    async with open_node(victim_app, store=dsn, name=NAME) as node:
        for number in range(deaths):
            path = directory / str(number)
            job = await node.insert(linger.new(str(path)))
            pid, _ = await started(path, 1)
            killed = time.monotonic_ns()
            os.kill(pid, signal.SIGKILL)
            _, again = await started(path, 2)
            times.append((again - killed) / 1e6)
            path.with_name(f"{path.name}.end").touch()
            await node.wait(job.id)
    return times


async def kill_bare(path: Path, deaths: int) -> list[float]:
    """The same with a fork server and nothing around it."""
    record = build_record(linger.new(str(path)), linger.definition, victim_app.defaults, IdSource(), 0)
    times = []
    zygote = await Zygote.start([linger.definition])
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(zygote.serve)
            killed = time.monotonic_ns()
            for life in range(1, deaths + 2):
                process = await zygote.fork("plain", 1, "bare")
                process.send([Run(1, record)])
                pid, at = await started(path, life)
                times.append((at - killed) / 1e6)
                killed = time.monotonic_ns()
                os.kill(pid, signal.SIGKILL)
                with suppress(WorkerDied):
                    await process.receive()
            nursery.cancel_scope.cancel()
    finally:
        await zygote.aclose()
    return times[1:]


async def recovery_rows(setup: Setup) -> list[Row]:
    """Measure everything here."""
    say("the deaths of worker processes")
    with tempfile.TemporaryDirectory(prefix="kathikon-bench-") as directory:
        bare, _ = percentiles(await kill_bare(Path(directory) / "bare", setup.deaths))
        again, _ = percentiles(await kill_in_node(Path(directory), setup.dsn, setup.deaths))
    return [
        row(
            "a killed worker's job runs again, p50 (floor: bare zygote)",
            again,
            "ms",
            goal=15,
            better="lower",
            floor=bare,
        )
    ]
