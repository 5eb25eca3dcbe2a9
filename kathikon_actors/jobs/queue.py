"""The declaration of a queue: plain data, checked when it is made."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal, get_args

from kathikon_actors.jobs.definition import LARGEST, is_whole
from kathikon_actors.jobs.errors import BadConfiguration, did_you_mean, shown
from kathikon_actors.jobs.limits import Rate, check_queue_rate
from kathikon_actors.jobs.sizes import parse_size

__all__ = ["NAME_RULE", "Isolation", "OnFull", "Queue", "is_queue_name"]

Isolation = Literal["process", "task", "fresh"]

OnFull = Literal["refuse", "hold"]

SMALLEST_MEMORY = 16 * 2**20
"""Bytes: less than this an interpreter with nothing loaded holds."""

NAME_RULE: Final = "a name is 1 to 63 letters, digits, '_', '.', '-', the first a letter or digit"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def is_queue_name(value: object) -> bool:
    """Tell whether `value` can be the name of a queue."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


@dataclass(frozen=True)
class Queue:
    """One queue of an app.

    Attributes:
        name: letters, digits, `_`, `.`, `-`; at most 63 characters.
        concurrency: jobs of this queue that run at the same time on one node, default 10.
        processes: worker processes for its plain functions and as many for its async ones, default 1. A plain
            function has a process to itself while it runs; async jobs share one, `concurrency / processes` each.
        isolation: where its jobs run. `"process"` (default): in worker processes, which serve one job after another.
            `"fresh"`: each job in a process of its own, forked beforehand and gone afterwards; `concurrency` says how
            many at once. `"task"`: async jobs in the node's own loop, with its memory and at its risk: a job that
            blocks, blocks the node. Plain functions are refused there.
        max_jobs_per_process: jobs that a worker process runs before it is replaced; default: no limit.
        max_memory: resident memory that a worker process may hold, in bytes or as `"512MB"`. One that comes near it
            (four fifths) is replaced between two jobs; a job that drives it beyond loses its process, and its attempt
            fails with kind `memory`. What a job starts itself is not counted. Default: no limit.
        max_in_memory: jobs of this queue that one node holds in memory, default 100,000, at least 10; the rest waits
            in the store and is claimed when its turn comes. When what fills it cannot start, a few more
            come in: a tenth, or `concurrency` if that is more.
        fair: the partitions (`partition_key` of the insert) take turns, one job each; within a partition the best comes
            first. Jobs without a key share one partition.
        rate_limit: how many of its jobs start in a time, on all nodes together.
        broadcast: each node that runs the queue and lives within `broadcast_window` seconds (default 3600) of the
            insert runs each job once, with attempts of its own. The inserted job is completed when it is announced;
            the nodes' own jobs have it as their `parent_id`.
        max_depth: jobs that have not ended, from 1; default: no limit. Each node counts those that it holds and those
            that wait in the store for any node, as it saw them last; programs without a node count in the store.
        on_full: what becomes of an insert above `max_depth`. `"refuse"` (default): it fails with `QueueFull`, nothing
            is stored. `"hold"`: it is stored, and the lowest priority waits in the store while the best `max_depth`
            jobs (at least 10) are worked on.
        paused: start nothing of it until it is resumed. It holds where nothing was set for the queue yet: one that was
            resumed stays so, also when its node starts again.

    Raises:
        BadConfiguration: naming the queue, the field and what is legal.

    Example:
        ```python
        Queue("billing", concurrency=50)
        Queue("pdf", processes=2, max_jobs_per_process=1000, max_memory="512MB")
        Queue("fragile", concurrency=4, isolation="fresh")
        ```
    """

    name: str
    _: KW_ONLY
    concurrency: int = 10
    processes: int = 1
    max_in_memory: int = 100_000
    fair: bool = False
    rate_limit: Rate | None = None
    broadcast: bool = False
    broadcast_window: float = 3600.0
    max_depth: int | None = None
    on_full: OnFull = "refuse"
    isolation: Isolation = "process"
    max_jobs_per_process: int | None = None
    max_memory: int | str | None = None
    paused: bool = False

    def __post_init__(self) -> None:
        if not is_queue_name(self.name):
            raise BadConfiguration(f"queue {self.name!r}: {NAME_RULE}")
        for field in ("concurrency", "processes"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
                raise BadConfiguration(
                    f'queue "{self.name}": {field} is {shown(value)}; give a whole number from 1 to 1024'
                )
        held = self.max_in_memory
        if not is_whole(held, 10):
            raise self._problem("max_in_memory", f"a whole number from 10 to {LARGEST}")
        for field in ("fair", "paused"):
            if not isinstance(getattr(self, field), bool):
                raise self._problem(field, "True or False")
        check_queue_rate(self.name, self.rate_limit)
        self._check_depth()
        self._check_broadcast()
        self._check_isolation()

    def _check_isolation(self) -> None:
        legal = get_args(Isolation)
        if self.isolation not in legal:
            raise self._problem(
                "isolation", f"{', '.join(map(repr, legal))}.{did_you_mean(str(self.isolation), legal)}".rstrip(".")
            )
        jobs = self.max_jobs_per_process
        if jobs is not None and not is_whole(jobs, 1):
            raise self._problem("max_jobs_per_process", "a whole number from 1, or None")
        if self.max_memory is not None and (parse_size(self.max_memory) or 0) < SMALLEST_MEMORY:
            raise self._problem(
                "max_memory",
                f'bytes, or text as "512MB", at least {SMALLEST_MEMORY // 2**20}MB: so much a bare interpreter holds',
            )
        if self.isolation != "process" and self.processes != 1:
            raise self._problem("processes", f'none with isolation="{self.isolation}": concurrency says how many run')
        if self.isolation != "process" and jobs is not None:
            why = "a process runs one job" if self.isolation == "fresh" else "no process is used"
            raise self._problem("max_jobs_per_process", f'none with isolation="{self.isolation}": {why}')
        if self.isolation == "task" and self.max_memory is not None:
            raise self._problem("max_memory", 'none with isolation="task": its jobs share the node\'s memory')

    def _check_broadcast(self) -> None:
        if not isinstance(self.broadcast, bool):
            raise self._problem("broadcast", "True or False")
        window = self.broadcast_window
        if isinstance(window, bool) or not isinstance(window, int | float) or not 1 <= window <= 30 * 86_400:
            raise self._problem("broadcast_window", "seconds from 1, at most 30 days")
        if self.broadcast and self.max_depth is not None:
            raise self._problem("max_depth", "none with broadcast=True: every node has jobs of its own")

    def _check_depth(self) -> None:
        legal = get_args(OnFull)
        if self.on_full not in legal:
            near = did_you_mean(str(self.on_full), legal)
            raise self._problem("on_full", f"{', '.join(map(repr, legal))}.{near}".rstrip("."))
        depth, least = self.max_depth, 10 if self.on_full == "hold" else 1
        if depth is not None and not is_whole(depth, least):
            raise self._problem("max_depth", f'a whole number from {least} with on_full="{self.on_full}", or None')

    def _problem(self, field: str, legal: str) -> BadConfiguration:
        return BadConfiguration(f'queue "{self.name}": {field} is {shown(getattr(self, field))}; give {legal}')

    @property
    def memory_bound(self) -> int:
        """Jobs that one node holds in memory."""
        if self.max_depth is not None and self.on_full == "hold":
            return min(self.max_in_memory, self.max_depth)
        return self.max_in_memory

    @property
    def refuses_above(self) -> int | None:
        """The depth at which inserts are refused, `None` for never."""
        return self.max_depth if self.on_full == "refuse" else None

    @property
    def memory_limit(self) -> int | None:
        """`max_memory` in bytes."""
        return parse_size(self.max_memory)

    def refusal(self, worker: str, *, is_async: bool) -> str | None:
        """Say why jobs of a worker cannot run in this queue, `None` when they can."""
        if self.isolation != "task" or is_async:
            return None
        return (
            f'worker {worker} is a plain function, which would block the node in queue "{self.name}" '
            '(isolation="task"); make it async, or give it a queue with isolation="process"'
        )
