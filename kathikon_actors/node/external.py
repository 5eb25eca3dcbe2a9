"""External runners: a program without a node takes work itself, runs it, and says how it ended."""

from __future__ import annotations

import os
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID, uuid4

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.actions import check_delay, check_seconds
from kathikon_actors.jobs.backoff import default_backoff
from kathikon_actors.jobs.errors import ClaimLost, InvalidJob
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.sealed_record import is_sealed, seal_report_parts
from kathikon_actors.jobs.sealing import Keyring, bound_id
from kathikon_actors.store.external import claim_external, extend_external, finish_external

__all__ = ["ExternalRuns"]

T = TypeVar("T")

LONGEST_LEASE = 86_400.0


class ExternalRuns(ABC):
    """The part of a `Client` that runs jobs itself."""

    _claims: dict[bytes, tuple[int, UUID]]
    """Attempt and token of what this client has claimed."""

    _keyring: Keyring | None

    @abstractmethod
    async def _run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...

    async def claim(self, queue: str, limit: int = 1, lease: float = 30.0) -> Sequence[Job]:
        """Take due jobs of a queue that no node owns, best priority first, to run them here.

        They are `executing` from now on, and yours until `lease` seconds have passed: say how each ended with
        `complete`, `fail`, `snooze` or `discard` before that, or `extend` the lease. A job whose lease ran out is given
        back, its attempt uncounted; at the third time it is a dead letter. Of concurrent claims of one job exactly one
        wins. A paused queue gives nothing. Limits of the worker (rates, concurrency) are not kept for external runners.

        Args:
            queue: its name.
            limit: the most jobs, 1 to 1,000.
            lease: seconds, up to a day.

        Raises:
            ValueError: `limit` or `lease` is out of range, or `queue` is no name.
            StoreUnavailable: the store did not answer; what may have been claimed is given back when its lease ends.

        Example:
            ```python
            for job in await client.claim("renders", limit=5, lease=60):
                await client.complete(job, {"frames": render(**job.args)})
            ```
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= 1_000:
            raise ValueError(f"limit is {limit!r}; give 1 to 1,000")
        if not queue or not isinstance(queue, str):
            raise ValueError(f"queue is {queue!r}; give its name")
        json.check_text(queue, "queue")
        token = uuid4()
        runner = f"{socket.gethostname()}:{os.getpid()}"
        records = await self._run(claim_external, queue, limit, _lease(lease), token, runner, _now())
        for record in records:
            self._claims[record.id] = record.attempt, token
        return [Job.of(record) for record in records]

    async def extend(self, job: Job, lease: float = 30.0) -> None:
        """Keep a claimed job for `lease` more seconds from now.

        Raises:
            ClaimLost: its lease ran out, or an operator took it away: stop working on it.
            ValueError: `lease` is out of range.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            await client.extend(job, lease=60)
            ```
        """
        attempt, token = self._claim_of(job)
        try:
            await self._run(extend_external, job.id.bytes, attempt, token, _lease(lease))
        except ClaimLost:
            self._claims.pop(job.id.bytes, None)
            raise

    async def complete(self, job: Job, result: Any = None) -> Job:
        """Say that a claimed job is done; give it as stored.

        Args:
            job: from `claim`.
            result: a JSON value.

        Raises:
            ClaimLost: see `extend`; nothing was changed.
            InvalidJob: the result is not JSON; nothing was changed.
            StoreUnavailable: the store did not answer; it may or may not be stored.

        Example:
            ```python
            await client.complete(job, {"frames": 250})
            ```
        """
        try:
            encoded = None if result is None else json.encode_strict(result, "result")
        except json.NotJson as error:
            raise InvalidJob(job.worker, error.path, error.problem) from None
        now = _now()

        def end(record: Record, _runner: str) -> None:
            machine.complete(record, now, self._sealed(record, encoded, None)[0])

        return await self._finish(job, end)

    async def fail(self, job: Job, reason: object, delay: float | None = None) -> Job:
        """Say that the attempt failed: it is tried again, or a dead letter when it was the last one.

        Args:
            job: from `claim`.
            reason: the message of the error entry; an exception's own text.
            delay: seconds until the next attempt; default: the usual backoff.

        Raises:
            ClaimLost, StoreUnavailable: see `complete`.
            ValueError: `delay` is below 0, or above 100 years.

        Example:
            ```python
            await client.fail(job, "the renderer has no licence", delay=600)
            ```
        """
        pause = None if delay is None else check_delay(delay)
        now = _now()

        def end(record: Record, runner: str) -> None:
            message = self._sealed(record, None, _words(reason))[1] or ""
            error = machine.quote_error(now, record.attempt, "failed", message, None, runner)
            usual = default_backoff(record.attempt, random.random())  # noqa: S311
            machine.fail(record, now, error, usual if pause is None else pause)

        return await self._finish(job, end)

    async def snooze(self, job: Job, seconds: float) -> Job:
        """Give a claimed job back, to run in `seconds`; the attempt is not counted.

        Raises:
            ClaimLost, StoreUnavailable: see `complete`.
            ValueError: `seconds` is not above 0, or above 100 years.

        Example:
            ```python
            await client.snooze(job, 30)
            ```
        """
        pause, now = check_seconds("seconds", seconds), _now()
        return await self._finish(job, lambda record, _: machine.snooze(record, now, pause))

    async def _discard_claimed(self, job: Job, reason: object) -> Job:
        now = _now()

        def end(record: Record, runner: str) -> None:
            message = self._sealed(record, None, _words(reason))[1] or ""
            error = machine.quote_error(now, record.attempt, "discarded", message, None, runner)
            machine.discard(record, now, message, error=error)

        return await self._finish(job, end)

    def _sealed(self, record: Record, result: bytes | None, message: str | None) -> tuple[bytes | None, str | None]:
        """Give result and message as they are stored: encrypted where the job is."""
        if not is_sealed(record):
            return result, message
        if self._keyring is None:
            raise InvalidJob(record.worker, "result", "is to be encrypted, and this client has no encryption_keys")
        sealed = seal_report_parts(self._keyring, bound_id(record), result, message, None)
        return sealed[0], sealed[1]

    def _has_claimed(self, job: object) -> bool:
        return isinstance(job, Job) and job.id.bytes in self._claims

    def _claim_of(self, job: Job) -> tuple[int, UUID]:
        if not isinstance(job, Job):
            raise TypeError(f"job is {job!r}; give a Job that claim gave")
        claim = self._claims.get(job.id.bytes)
        if claim is None or claim[0] != job.attempt:
            raise ClaimLost(job.id)
        return claim

    async def _finish(self, job: Job, end: Callable[[Record, str], None]) -> Job:
        attempt, token = self._claim_of(job)
        try:
            record = await self._run(finish_external, job.id.bytes, attempt, token, end)
        except ClaimLost:
            self._claims.pop(job.id.bytes, None)
            raise
        self._claims.pop(job.id.bytes, None)
        return Job(record)


def _lease(lease: float) -> float:
    return check_seconds("lease", lease, LONGEST_LEASE, "a day")


def _words(reason: object) -> str:
    """Give a reason as text that UTF-8 and Postgres can hold."""
    return str(reason).encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _now() -> int:
    return time.time_ns() // 1000
