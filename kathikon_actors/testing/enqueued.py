"""Assertions about jobs that wait: what was enqueued, by worker, queue, arguments, tags and time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import trio

from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.states import State
from kathikon_actors.testing.audit import Auditable

__all__ = ["all_enqueued", "assert_enqueued", "refute_enqueued"]

WAITING: Final[tuple[State, ...]] = ("available", "scheduled", "retryable", "blocked")
"""States of a job that waits to be run."""

SHOWN: Final = 20
PAGE: Final = 1_000
LOOK_AGAIN: Final = 0.01


async def all_enqueued(
    where: Auditable,
    worker: object = None,
    *,
    queue: str | None = None,
    args: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    tags: Iterable[str] = (),
    priority: int | None = None,
    scheduled_at: dt.datetime | None = None,
    within: float = 1.0,
) -> list[Job]:
    """Give the jobs that wait and fit, in the order of their insert.

    Args:
        where: a `Node` or a `Client`.
        worker: a worker, or its name.
        queue: a queue's name.
        args: these arguments, among others.
        meta: these entries, among others; inner objects likewise.
        tags: all of these.
        priority: exactly.
        scheduled_at: due at this time, `within` so many seconds of it.
        within: seconds.

    Example:
        ```python
        jobs = await all_enqueued(node, send_mail, args={"to": "ada@example.org"})
        assert [job.args["subject"] for job in jobs] == ["Welcome"]
        ```
    """
    wanted = _Wanted(worker, queue, args, meta, tags, priority, scheduled_at, within)
    return [job for job in await _waiting(where) if not wanted.misses(job)]


async def assert_enqueued(
    where: Auditable, worker: object = None, *, count: int | None = None, timeout: float = 0.0, **fields: Any
) -> list[Job]:
    """Give the waiting jobs that fit; there must be one, or exactly `count`.

    Args:
        where: a `Node` or a `Client`.
        worker: a worker, or its name.
        count: exactly so many; `None` means one or more.
        timeout: seconds to wait for them.
        **fields: as of `all_enqueued`.

    Raises:
        AssertionError: with what does wait, and how each of those differs.

    Example:
        ```python
        await sign_up("ada@example.org")
        await assert_enqueued(node, send_mail, args={"to": "ada@example.org"})
        ```
    """
    deadline = trio.current_time() + timeout
    while True:
        found = await all_enqueued(where, worker, **fields)
        if found if count is None else len(found) == count:
            return found
        if trio.current_time() >= deadline:
            break
        await trio.sleep(LOOK_AGAIN)
    wanted = _Wanted.of(worker, fields)
    some = "a job" if count is None else f"{count} jobs"
    raise AssertionError(
        f"{some} expected with {wanted}, {len(found)} found; {_listing(await _waiting(where), wanted)}"
    )


async def refute_enqueued(where: Auditable, worker: object = None, *, timeout: float = 0.0, **fields: Any) -> None:
    """Make sure that no waiting job fits, now and for `timeout` seconds.

    Raises:
        AssertionError: with the jobs that do.

    Example:
        ```python
        await refute_enqueued(node, send_mail, args={"to": "nobody@example.org"})
        ```
    """
    deadline = trio.current_time() + timeout
    while True:
        found = await all_enqueued(where, worker, **fields)
        if found:
            raise AssertionError(f"no job expected with {_Wanted.of(worker, fields)}; {_listing(found, None)}")
        if trio.current_time() >= deadline:
            return
        await trio.sleep(LOOK_AGAIN)


class _Wanted:
    """What a job should be like."""

    def __init__(
        self,
        worker: object = None,
        queue: str | None = None,
        args: Mapping[str, Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        priority: int | None = None,
        scheduled_at: dt.datetime | None = None,
        within: float = 1.0,
    ) -> None:
        definition = getattr(worker, "definition", worker)
        name = worker if worker is None or isinstance(worker, str) else getattr(definition, "name", None)
        if worker is not None and not isinstance(name, str):
            raise TypeError(f"{worker!r} is no worker; give a worker or its name")
        self.fields: dict[str, Any] = {
            field: value
            for field, value in {
                "worker": name, "queue": queue, "args": args, "meta": meta, "tags": tuple(tags) or None,
                "priority": priority, "scheduled_at": scheduled_at,
            }.items()
            if value is not None
        }  # fmt: skip
        self._within = within

    @classmethod
    def of(cls, worker: object, fields: Mapping[str, Any]) -> _Wanted:
        return cls(worker, **fields)

    def misses(self, job: Job) -> list[str]:
        """Say how a job differs; nothing when it fits."""
        missed = []
        for field, wanted in self.fields.items():
            value = getattr(job, field)
            if field in ("args", "meta"):
                fits = _contains(value, wanted)
            elif field == "tags":
                fits = set(wanted) <= set(value)
            elif field == "scheduled_at":
                fits = abs((value - wanted).total_seconds()) <= self._within
            else:
                fits = value == wanted
            if not fits:
                missed.append(f"{field} is {value!r}")
        return missed

    def __str__(self) -> str:
        return ", ".join(f"{field} {value!r}" for field, value in self.fields.items()) or "anything"


def _contains(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping) and isinstance(value, Mapping):
        return all(key in value and _contains(value[key], item) for key, item in wanted.items())
    return bool(value == wanted)


async def _waiting(where: Auditable) -> Sequence[Job]:
    found: list[Job] = []
    after = None
    while page := await where.list(state=WAITING, after=after, newest_first=False, limit=PAGE):
        found += page
        after = page[-1].id
    return found


def _listing(jobs: Sequence[Job], wanted: _Wanted | None) -> str:
    if not jobs:
        return "no job waits"
    lines = [f"{len(jobs)} wait:"]
    for job in jobs[:SHOWN]:
        line = (
            f"  {job.worker} on {job.queue}, {job.state}, args {job.args!r}, priority {job.priority}, tags {job.tags}"
        )
        lines.append(line if wanted is None else f"{line}: {'; '.join(wanted.misses(job)) or 'fits'}")
    if len(jobs) > SHOWN:
        lines.append(f"  ... and {len(jobs) - SHOWN} more")
    return "\n".join(lines)
