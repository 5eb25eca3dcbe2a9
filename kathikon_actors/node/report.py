"""What a report and a health check say: plain data, the same from a node and from a client."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from kathikon_actors.jobs.durations import percentile
from kathikon_actors.jobs.record import from_us
from kathikon_actors.jobs.states import State
from kathikon_actors.store.figures import Cell, KnownNode, LastError

if TYPE_CHECKING:
    from kathikon_actors.node.queue_operations import QueueStatus

__all__ = [
    "STALE_AFTER",
    "Health",
    "Percentiles",
    "QueueReport",
    "Report",
    "WorkerError",
    "WorkerReport",
    "health_of",
    "make_report",
    "queue_problems",
    "store_health",
]

STALE_AFTER: Final = 300.0
"""Seconds: a job that is due for longer, in a queue that is not paused, is stale."""


@dataclass(frozen=True)
class Percentiles:
    """Seconds below which so many per cent lie; `None` when there was nothing. Off by a fifth at the most."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class QueueReport:
    """One queue.

    Attributes:
        by_state: how many of its jobs are in each state.
        oldest_waiting: seconds for which the job has been due that waits longest; `None` when none waits.
        throughput: jobs a second that ended, over the window.
        wait: from due to start; `run` from start to end.
        nodes: those that run it, with their concurrency.
    """

    name: str
    paused: bool = False
    by_state: dict[State, int] = field(default_factory=dict)
    oldest_waiting: float | None = None
    throughput: float = 0.0
    wait: Percentiles = Percentiles()
    run: Percentiles = Percentiles()
    nodes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerError:
    """The newest failed attempt of a worker."""

    at: dt.datetime
    job_id: UUID
    kind: str
    message: str


@dataclass(frozen=True)
class WorkerReport:
    """One worker: how many of its jobs ended how, its pace over the window, and its newest error."""

    name: str
    completed: int = 0
    cancelled: int = 0
    discarded: int = 0
    throughput: float = 0.0
    failed_attempts: int = 0
    last_error: WorkerError | None = None


@dataclass(frozen=True)
class Report:
    """How the work stands.

    Attributes:
        scope: the node's name when it is one node's own view from memory, `None` for the whole store.
        window: seconds that throughput and durations are of.
        dead_letters: discarded jobs.
    """

    at: dt.datetime
    scope: str | None
    window: float
    queues: tuple[QueueReport, ...]
    workers: tuple[WorkerReport, ...]
    dead_letters: int

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON data, times as ISO 8601."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


@dataclass(frozen=True)
class Health:
    """Whether work gets done.

    Attributes:
        status: `ok`; `degraded` when some of it does not; `unhealthy` when none does.
        reasons: why, one sentence each; empty when all is well.
    """

    status: Literal["ok", "degraded", "unhealthy"]
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON data."""
        return {"status": self.status, "reasons": list(self.reasons)}


def health_of(unhealthy: Iterable[str], degraded: Iterable[str]) -> Health:
    """Give the verdict of these reasons."""
    worse, bad = tuple(unhealthy), tuple(degraded)
    return Health("unhealthy" if worse else "degraded" if bad else "ok", (*worse, *bad))


def make_report(
    *,
    scope: str | None,
    now: int,
    window: float,
    queues: Iterable[QueueStatus],
    oldest: Mapping[str, float],
    cells: Mapping[tuple[str, str], Cell],
    totals: Mapping[str, Mapping[str, int]],
    errors: Mapping[str, LastError],
) -> Report:
    """Put a report together.

    Args:
        scope: see `Report`.
        now: microseconds since 1970.
        window: seconds that `cells` are of.
        queues: with their counts.
        oldest: seconds by queue.
        cells: what ended lately, by queue and worker.
        totals: what ended at all, by worker and state.
        errors: by worker.
    """
    of_queue: dict[str, Cell] = {}
    of_worker: dict[str, Cell] = {}
    for (queue, worker), cell in cells.items():
        of_queue.setdefault(queue, Cell()).add(cell)
        of_worker.setdefault(worker, Cell()).add(cell)
    listed = tuple(
        QueueReport(
            status.name,
            status.paused,
            dict(status.by_state),
            oldest.get(status.name),
            _pace(of_queue.get(status.name), window),
            _percentiles(of_queue[status.name].waits) if status.name in of_queue else Percentiles(),
            _percentiles(of_queue[status.name].runs) if status.name in of_queue else Percentiles(),
            dict(status.nodes),
        )
        for status in queues
    )
    names = sorted({*totals, *of_worker, *errors})
    workers = tuple(
        WorkerReport(
            name,
            totals.get(name, {}).get("completed", 0),
            totals.get(name, {}).get("cancelled", 0),
            totals.get(name, {}).get("discarded", 0),
            _pace(of_worker.get(name), window),
            of_worker[name].failed if name in of_worker else 0,
            _error(errors.get(name)),
        )
        for name in names
    )
    dead = sum(queue.by_state.get("discarded", 0) for queue in listed)
    return Report(from_us(now), scope, window, listed, workers, dead)


def store_health(nodes: Iterable[KnownNode], report: Report) -> Health:
    """Judge a whole store by its nodes and its report."""
    unhealthy, degraded = [], []
    alive = [node for node in nodes if node.alive]
    if not alive:
        unhealthy.append("no node lives on this store; start one: python -m kathikon_actors node APP")
    degraded += [
        f'node "{node.name}" is silent for {-node.lease_left:.0f} s longer than its lease'
        for node in nodes
        if not node.alive and not node.left
    ]
    degraded += queue_problems(report.queues, named=bool(alive))
    return health_of(unhealthy, degraded)


def queue_problems(queues: Iterable[QueueReport], *, named: bool = True) -> list[str]:
    """Name queues whose jobs wait for too long, or that no node runs."""
    found = []
    for queue in queues:
        if queue.paused or queue.oldest_waiting is None:
            continue
        if named and not queue.nodes:
            found.append(f'no live node runs queue "{queue.name}", and jobs wait there')
        elif queue.oldest_waiting > STALE_AFTER:
            found.append(f'a job of queue "{queue.name}" has been due for {queue.oldest_waiting:.0f} s')
    return found


def _pace(cell: Cell | None, window: float) -> float:
    return 0.0 if cell is None else (cell.completed + cell.cancelled + cell.discarded) / window


def _percentiles(counts: list[int]) -> Percentiles:
    return Percentiles(*(percentile(counts, share) for share in (0.5, 0.9, 0.99)))


def _error(error: LastError | None) -> WorkerError | None:
    return None if error is None else WorkerError(from_us(error.at), error.job_id, error.kind, error.message)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
