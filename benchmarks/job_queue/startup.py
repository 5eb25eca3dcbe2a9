"""What a start costs and what memory a waiting job takes, each in a fresh process: `python -m` this module."""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from benchmarks.job_queue.common import say
from benchmarks.job_queue.workers import app, noop
from benchmarks.report import Row, row
from kathikon_actors import open_node
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.queue.heap import PriorityHeap
from kathikon_actors.store.table import Table

__all__ = ["startup_rows"]


async def first_job(path: str) -> None:
    """Start a node on an embedded store and see a job done."""
    async with open_node(app, store=f"embedded:{path}") as node:
        job = await node.insert(noop.new())
        await node.wait(job.id)
        print(time.time_ns(), flush=True)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def bytes_per_job(jobs: int) -> float:
    """What a node holds of each job that waits: its record in the table, its place in the heap."""
    definition, ids = noop.definition, IdSource()
    gc.collect()
    before = resident()
    table, heap = Table(), PriorityHeap()
    table.attach_producer("q", lambda records: [heap.push(record) for record in records] and None)
    for _ in range(jobs):
        record = build_record(noop.new(), definition, app.defaults, ids, time.time_ns() // 1000)
        table.adopt([record])
    gc.collect()
    assert len(heap) == jobs
    return (resident() - before) / jobs


def in_fresh_process(*arguments: str) -> str:
    """Run this module; give what it printed."""
    command = [sys.executable, "-m", "benchmarks.job_queue.startup", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def start_seconds(path: Path) -> float:
    """Seconds from the start of the program to the end of its first job."""
    began = time.time_ns()
    return (int(in_fresh_process("--start", str(path))) - began) / 1e9


def startup_rows(jobs: int = 100_000) -> list[Row]:
    """Measure everything here."""
    say("starts of a node")
    with tempfile.TemporaryDirectory(prefix="kathikon-bench-") as directory:
        empty = start_seconds(Path(directory) / "pg")
        again = start_seconds(Path(directory) / "pg")
    rows = [
        row("start of the program on an empty embedded store to a job", empty, "s", goal=3, better="lower"),
        row("the same on an initialised store", again, "s", goal=1, better="lower"),
    ]
    if sys.platform.startswith("linux"):
        per_job = float(in_fresh_process("--memory", str(jobs)))
        rows.append(row("memory per waiting job", per_job, "bytes", goal=1024, better="lower"))
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--start")
    parser.add_argument("--memory", type=int)
    options = parser.parse_args()
    if options.start:
        trio.run(first_job, options.start)
    else:
        print(bytes_per_job(options.memory))
