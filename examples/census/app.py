"""The census as an app: three workers, two queues.

The job `plan_census` lists the files. It is the run itself: its id is the namespace of all other ids of the run, so a
driver that was killed and comes back finds the unfinished run in the store and inserts only what is missing.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from examples.census.counting import FileCount, count_file_at, find_files
from examples.census.report import render_report, write_files
from kathikon_actors import App, NewJob, Queue, constant, worker

__all__ = ["COUNT_ATTEMPTS", "app", "count_file", "count_job", "plan_census", "report_id", "report_job", "write_report"]

COUNT_ATTEMPTS = 100
"""A worker process killed from outside costs the job in it an attempt: the node cannot tell who is to blame. A chaos
run kills fewer than this, so that even one job hit each time completes; a file that really kills the interpreter is
given up after as many tries."""


@worker(queue="report", timeout=60, backoff=constant(0.05), max_attempts=10)
def plan_census(root: str, python: str, out: str) -> dict[str, Any]:
    """List the files to count. `python` and `out` are here to tell runs apart."""
    if python != platform.python_version():
        raise RuntimeError(f"planned for Python {python}, but this is {platform.python_version()}")
    return {"files": find_files(Path(root))}


# A file is counted in milliseconds: to wait long after a death would only let the other files overtake it.
@worker(queue="files", timeout=60, max_attempts=COUNT_ATTEMPTS, backoff=constant(0.05))
def count_file(root: str, path: str) -> FileCount:
    """Count one file."""
    return count_file_at(Path(root), path)


@worker(queue="report", timeout=60, backoff=constant(0.05), max_attempts=10)
def write_report(title: str, rows: list[FileCount], out: str) -> dict[str, int]:
    """Write report and chart; run twice it writes the same again."""
    report, chart = render_report(title, rows)
    return write_files(Path(out), report, chart)


app = App(
    queues=[Queue("files", processes=2), Queue("report", concurrency=1)],
    workers=[plan_census, count_file, write_report],
)


def count_job(run: UUID, root: str, path: str, size: int) -> NewJob:
    """Make the job that counts one file of a run; the largest files go first, so that none is left at the end."""
    return count_file.new(root, path).options(id=uuid5(run, path), priority=size // 1024, tags=[str(run)])


def report_job(run: UUID, title: str, rows: list[FileCount], out: str) -> NewJob:
    """Make the last job of a run."""
    return write_report.new(title, rows, out).options(id=report_id(run), tags=[str(run)])


def report_id(run: UUID) -> UUID:
    """Give the id of a run's last job; no relative path begins with a slash."""
    return uuid5(run, "/report")
