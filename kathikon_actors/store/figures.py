"""What nodes have done lately, in sums of a few seconds: the parts of a report that nobody can count from live rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from kathikon_actors.jobs.durations import SLOTS
from kathikon_actors.store.rows import pg_id, pg_us, us_of
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = [
    "Cell",
    "FigureStore",
    "KnownNode",
    "LastError",
    "figures",
    "known_nodes",
    "last_errors",
    "oldest_waiting",
    "put_errors",
    "put_figures",
    "worker_totals",
]


@dataclass
class Cell:
    """What ended of one worker's jobs in one queue within some seconds.

    Attributes:
        failed: attempts that are tried again.
        waits: histogram of the time from due to start, of a sample; `runs` from start to end.
    """

    completed: int = 0
    cancelled: int = 0
    discarded: int = 0
    failed: int = 0
    waits: list[int] = field(default_factory=lambda: [0] * SLOTS)
    runs: list[int] = field(default_factory=lambda: [0] * SLOTS)

    def add(self, other: Cell) -> None:
        """Add another one's numbers."""
        self.completed += other.completed
        self.cancelled += other.cancelled
        self.discarded += other.discarded
        self.failed += other.failed
        self.waits = [a + b for a, b in zip(self.waits, other.waits, strict=True)]
        self.runs = [a + b for a, b in zip(self.runs, other.runs, strict=True)]


@dataclass(frozen=True)
class LastError:
    """The newest failed attempt of a worker.

    Attributes:
        at: microseconds since 1970.
    """

    at: int
    job_id: UUID
    kind: str
    message: str


@dataclass(frozen=True)
class KnownNode:
    """A node that lives on the store, or once did.

    Attributes:
        alive: its lease runs.
        left: its last life left in order.
        up_for: seconds since its last start.
        lease_left: seconds, below 0 when it has run out.
        epoch: grows with each of its lives.
        leads: it does the work that is done once for all nodes.
        queues: that it runs, as it said itself.
    """

    name: str
    alive: bool
    left: bool
    up_for: float
    lease_left: float
    epoch: int
    leads: bool
    queues: tuple[str, ...] = ()


Cells = Mapping[tuple[str, str], Cell]
"""By queue and worker."""


class FigureStore(Protocol):
    """The part of a store that keeps figures, and tells of nodes."""

    async def put_figures(self, membership: Membership, at: int, cells: Cells) -> None:
        """Keep what ended in some seconds from `at` (microseconds since 1970) on; twice does no harm."""

    async def put_errors(self, errors: Mapping[str, LastError]) -> None:
        """Keep the newest error of workers, where it is newer than what is kept."""

    async def figures(self, window: float) -> dict[tuple[str, str], Cell]:
        """Give the sums of all nodes over the last `window` seconds, by queue and worker."""
        ...

    async def last_errors(self) -> dict[str, LastError]:
        """Give the newest error of each worker."""
        ...

    async def oldest_waiting(self) -> dict[str, float]:
        """Give by queue for how many seconds the job has been due that waits longest."""
        ...

    async def worker_totals(self) -> dict[str, dict[str, int]]:
        """Give by worker how many of its finished jobs are in each state."""
        ...

    async def known_nodes(self) -> list[KnownNode]:
        """Give every node, by name."""
        ...


async def put_figures(raw: Raw, membership: Membership, at: int, cells: Cells) -> None:
    """See `FigureStore.put_figures`."""
    await raw.execute(
        statement("put_figures"),
        membership.node_id,
        pg_us(at),
        [queue for queue, _ in cells],
        [worker for _, worker in cells],
        [cell.completed for cell in cells.values()],
        [cell.cancelled for cell in cells.values()],
        [cell.discarded for cell in cells.values()],
        [cell.failed for cell in cells.values()],
        [_array(cell.waits) for cell in cells.values()],
        [_array(cell.runs) for cell in cells.values()],
    )


def _array(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


async def put_errors(raw: Raw, errors: Mapping[str, LastError]) -> None:
    """See `FigureStore.put_errors`."""
    found = list(errors.values())
    await raw.execute(
        statement("put_errors"),
        list(errors),
        [pg_us(error.at) for error in found],
        [pg_id(error.job_id.bytes) for error in found],
        [error.kind for error in found],
        [error.message for error in found],
    )


async def figures(raw: Raw, window: float) -> dict[tuple[str, str], Cell]:
    """See `FigureStore.figures`."""
    found: dict[tuple[str, str], Cell] = {}
    for row in await raw.fetch(statement("figures"), float(window)):
        queue, worker, completed, cancelled, discarded, failed, waits, runs = row
        cell = Cell(completed, cancelled, discarded, failed, _whole(waits), _whole(runs))
        found.setdefault((queue, worker), Cell()).add(cell)
    return found


def _whole(counts: Sequence[int]) -> list[int]:
    return [*counts, *[0] * SLOTS][:SLOTS]


async def last_errors(raw: Raw) -> dict[str, LastError]:
    """See `FigureStore.last_errors`."""
    rows = await raw.fetch(statement("last_errors"))
    return {worker: LastError(us_of(at), job_id, kind, message) for worker, at, job_id, kind, message in rows}


async def oldest_waiting(raw: Raw) -> dict[str, float]:
    """See `FigureStore.oldest_waiting`."""
    return {row["queue"]: row["seconds"] for row in await raw.fetch(statement("oldest_waiting"))}


async def worker_totals(raw: Raw) -> dict[str, dict[str, int]]:
    """See `FigureStore.worker_totals`."""
    found: dict[str, dict[str, int]] = {}
    for worker, state, number in await raw.fetch(statement("worker_totals")):
        found.setdefault(worker, {})[state] = number
    return found


async def known_nodes(raw: Raw) -> list[KnownNode]:
    """See `FigureStore.known_nodes`."""
    return [
        KnownNode(name, alive, left, up_for, lease_left, epoch, leads, tuple(queues))
        for name, alive, left, up_for, lease_left, epoch, leads, queues in await raw.fetch(statement("known_nodes"))
    ]
