"""What a running job asks of its node: inserts and batches, over the channel of its worker process.

In a plain worker each call waits; in an async one it gives an awaitable, and a batch is opened with `async with`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs import runtime

if TYPE_CHECKING:
    from kathikon_actors.jobs.asking import JobBatch
    from kathikon_actors.jobs.batch import Batch
    from kathikon_actors.jobs.inserted import OnError
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.jobs.record import Record

__all__ = ["Inside"]


class Inside:
    """The part of `Job` that works in a worker only."""

    __slots__ = ()

    _record: Record

    def insert(self, job: object, args: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Insert another job; it is committed when this returns (in an async worker: when it is awaited).

        Its `parent_id` is this job. This job may run again, and insert again then: give a `unique` or an `id`
        where that matters.

        Args:
            job: `worker.new(...)`, or a worker's name with `args`.
            args: arguments by name.
            **options: see `NewJob.options`.

        Raises:
            RuntimeError: this is not the job that runs here.
            UnknownWorker, UnknownQueue, UnknownOption, InvalidJob, TypeError: it does not fit; nothing was stored.
            StoreUnavailable: not committed in time.

        Example:
            ```python
            @worker
            async def crawl(job: Job, url: str) -> None:
                for link in await links_of(url):
                    await job.insert(crawl.new(link).options(unique=Unique()))
            ```
        """
        return _asking().insert(runtime.of(self._record.id), job, args, options)

    def insert_many(self, jobs: Iterable[NewJob] | AsyncIterable[NewJob], *, on_error: OnError = "continue") -> Any:
        """Insert any number of jobs by chunks of 1,000 or 16 MB; gives (in an async worker: awaits) an `InsertedMany`.

        With `on_error="abort"` the first job that does not fit ends it: nothing of its chunk is stored nor anything
        behind it.

        Example:
            ```python
            job.insert_many(resize.new(path) for path in paths)
            ```
        """
        return _asking().insert_many(runtime.of(self._record.id), jobs, None, on_error)

    def open_batch(self, batch: Batch | None = None) -> JobBatch:
        """Open a batch of children and wait for them: this job ends when they all have.

        When `perform` has returned the batch is closed, and the job is `waiting`: it holds no process, and survives
        restarts. It is completed when the batches that it opened succeed, discarded otherwise; the result is what
        `perform` returned. When the attempt fails, the batch goes on by itself.

        Example:
            ```python
            @worker
            def import_file(job: Job, path: str) -> None:
                with job.open_batch(Batch(policy="any")) as batch:
                    batch.insert_many(import_line.new(line) for line in open(path))
            ```
        """
        opened: JobBatch = _asking().JobBatch(runtime.of(self._record.id), batch)
        return opened


def _asking() -> Any:
    """Give what stands on `Job`, of which this is a part."""
    from kathikon_actors.jobs import asking

    return asking
