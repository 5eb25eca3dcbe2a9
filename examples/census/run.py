"""One run of the census on a node, from its first job to its report; and the same without any queue."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from uuid import UUID

import trio

from examples.census.app import count_job, plan_census, report_id, report_job
from examples.census.counting import FileCount, count_file_at, find_files, stdlib_root
from examples.census.report import render_report, write_files
from kathikon_actors import AlreadyExists, Job, JobNotFound, NewJob, Node

__all__ = ["Census", "CensusFailed", "Progress", "count_serially", "run_census"]

PAGE = 1_000
"""Jobs of one page when a run that goes on looks at what is done already."""

Progress = Callable[[int, int, float], None]
"""Told `(files done, files in all, share of the work done)`. Work is bytes: large files go first, and take longer."""


class CensusFailed(Exception):
    """Some job of the run did not complete; says which and why."""


@dataclass(frozen=True)
class Census:
    """What to count, and where to write it.

    Attributes:
        root: absolute.
        out: the Markdown file, absolute; the SVG lies beside it.
    """

    root: Path
    out: Path

    @property
    def title(self) -> str:
        """The report's heading: it names no path."""
        version = platform.python_version()
        if self.root == stdlib_root():
            return f"The standard library of Python {version}, counted"
        return f"A tree of Python files, counted with Python {version}"


def count_serially(census: Census, progress: Progress) -> int:
    """Do it all in a plain loop; give the number of files."""
    files = find_files(census.root)
    rows = []
    done, work = 0, sum(size for _, size in files) or 1
    for path, size in files:
        rows.append(count_file_at(census.root, path))
        done += size
        progress(len(rows), len(files), done / work)
    report, chart = render_report(census.title, rows)
    write_files(census.out, report, chart)
    return len(rows)


async def run_census(node: Node, census: Census, progress: Progress, *, fresh: bool = False) -> int:
    """Do it all by jobs; give the number of files.

    A run of the same census that was begun in this store and has not written its report goes on, unless `fresh`.
    May be cancelled or killed at any point and called again.

    Raises:
        CensusFailed: a job was given up.
        StoreUnavailable: the store did not take the jobs in time.
    """
    plan = None if fresh else await _unfinished(node, census)
    if plan is None:
        plan = await node.insert(plan_census.new(*_facts(census).values()))
    run = plan.id
    files = _completed(await node.wait(run)).result["files"]
    rows = await _count(node, run, census.root, files, progress)
    with suppress(AlreadyExists):
        await node.insert(report_job(run, census.title, rows, str(census.out)))
    _completed(await node.wait(report_id(run)))
    return len(rows)


def _facts(census: Census) -> dict[str, str]:
    """What makes two runs the same census: the arguments of `plan_census`."""
    return {"root": str(census.root), "python": platform.python_version(), "out": str(census.out)}


async def _unfinished(node: Node, census: Census) -> Job | None:
    """Find the newest run of this census, unless it has ended."""
    facts = _facts(census)
    for plan in await node.list(worker=plan_census.definition.name, limit=PAGE):
        if plan.args == facts:
            try:
                report = await node.get(report_id(plan.id))
            except JobNotFound:
                ended = plan.is_terminal and plan.state != "completed"
            else:
                ended = report.is_terminal
            return None if ended else plan
    return None


async def _count(
    node: Node, run: UUID, root: Path, files: Sequence[tuple[str, int]], progress: Progress
) -> list[FileCount]:
    """Have every file counted; give the rows in no particular order."""
    jobs: dict[UUID, NewJob] = {}
    sizes: dict[UUID, int] = {}
    for path, size in files:
        job = count_job(run, str(root), path, size)
        job_id: UUID = job.given["id"]
        jobs[job_id], sizes[job_id] = job, size
    inserted = await node.insert_many(jobs.values())
    for _, error in inserted.errors:
        if not isinstance(error, AlreadyExists):
            raise CensusFailed(str(error))
    ended = {} if len(inserted.ids) == len(jobs) else await _ended(node, run)
    work = sum(sizes.values()) or 1
    done = sum(sizes[job_id] for job_id in ended)
    progress(len(ended), len(jobs), done / work)

    async def wait(job_id: UUID) -> None:
        nonlocal done
        ended[job_id] = await node.wait(job_id)
        done += sizes[job_id]
        progress(len(ended), len(jobs), done / work)

    # A waiting task costs a few microseconds, and sees the very job that ended, without asking the store.
    async with trio.open_nursery() as nursery:
        for job_id in jobs.keys() - ended.keys():
            nursery.start_soon(wait, job_id)
    return [cast(FileCount, _completed(job).result) for job in ended.values()]


async def _ended(node: Node, run: UUID) -> dict[UUID, Job]:
    """Page through the files of a run that are done."""
    ended: dict[UUID, Job] = {}
    after: UUID | None = None
    while True:
        page = await node.list(
            queue="files", state=("completed", "discarded", "cancelled"), tags=[str(run)], after=after,
            newest_first=False, limit=PAGE,
        )  # fmt: skip
        ended.update((job.id, job) for job in page)
        if len(page) < PAGE:
            return ended
        after = page[-1].id


def _completed(job: Job) -> Job:
    if job.state != "completed":
        last = job.errors[-1]["message"] if job.errors else "nobody said why"
        what = job.args["path"] if job.queue == "files" else job.worker
        raise CensusFailed(
            f"{what}: {job.state} after {job.attempt} attempts ({last}); put it right and start again with --fresh"
        )
    return job
