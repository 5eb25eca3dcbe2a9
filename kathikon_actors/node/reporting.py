"""Reports and health: of a whole store, by a few indexed queries; of a node, from its memory."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import trio

from kathikon_actors.jobs.actions import check_seconds
from kathikon_actors.node.figures import WINDOW
from kathikon_actors.node.queue_operations import QueueOperations, QueueStatus
from kathikon_actors.node.report import Health, Report, health_of, make_report, queue_problems, store_health
from kathikon_actors.store.table import MAX_PENDING_INSERTS, MAX_PENDING_OUTCOMES

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.store.figures import Cell, KnownNode, LastError

__all__ = ["NodeReports", "StoreReports"]

CHUNK: Final = 5_000
"""Records that are counted between two checkpoints."""

FULL: Final = 0.5
"""The share of a buffer from which on it is called full."""

LONGEST_WINDOW = 3_600.0
"""Seconds; figures are kept for little longer."""

OVERDUE: Final = 30.0
"""Seconds beyond its timeout after which a run is called stale: its process should be gone by then."""


class FigureStoreClient(Protocol):
    """What reports need of a store."""

    async def figures(self, window: float) -> dict[tuple[str, str], Cell]:
        """See `Store.figures`."""
        ...

    async def last_errors(self) -> dict[str, LastError]:
        """See `Store.last_errors`."""
        ...

    async def oldest_waiting(self) -> dict[str, float]:
        """See `Store.oldest_waiting`."""
        ...

    async def worker_totals(self) -> dict[str, dict[str, int]]:
        """See `Store.worker_totals`."""
        ...

    async def known_nodes(self) -> list[KnownNode]:
        """See `Store.known_nodes`."""
        ...


class StoreReports(QueueOperations):
    """The part of a `Client` that reports on the whole store."""

    @abstractmethod
    def _figure_store(self) -> FigureStoreClient: ...

    async def nodes(self) -> Sequence[KnownNode]:
        """Give every node that lives on the store or once did, by name.

        Raises:
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            print([node.name for node in await client.nodes() if node.alive])
            ```
        """
        return await self._figure_store().known_nodes()

    async def report(self, window: float = WINDOW) -> Report:
        """Tell how the work of all nodes stands; finished jobs are not looked at, their counters are.

        Args:
            window: seconds that throughput and durations are of, at most an hour; nodes tell theirs every 10 s.

        Raises:
            ValueError: `window` is not above 0, or above an hour.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            report = await client.report()
            print(report.dead_letters, [(queue.name, queue.throughput) for queue in report.queues])
            ```
        """
        window = check_seconds("window", window, LONGEST_WINDOW, "an hour")
        store = self._figure_store()
        return make_report(
            scope=None,
            now=time.time_ns() // 1000,
            window=window,
            queues=await self.queues(),
            oldest=await store.oldest_waiting(),
            cells=await store.figures(window),
            totals=await store.worker_totals(),
            errors=await store.last_errors(),
        )

    async def health(self) -> Health:
        """Tell whether work gets done on this store, and why not.

        Raises:
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            health = await client.health()
            print(health.status, health.reasons)
            ```
        """
        return store_health(await self.nodes(), await self.report())


class NodeReports(QueueOperations):
    """The part of a `Node` that reports from its memory."""

    _state: NodeState

    async def nodes(self) -> Sequence[KnownNode]:
        """Give every node that lives on the store or once did, by name; as `Client.nodes`."""
        return await self._state.store.known_nodes()

    async def report(self, window: float = WINDOW) -> Report:
        """Tell how this node's work stands, live from its memory: its own jobs, and what it did since it was opened.

        The store is not asked. For all nodes together there is `Client.report`.

        Args:
            window: seconds that throughput and durations are of; of a longer time than 300 it does not know.

        Raises:
            ValueError: `window` is not above 0, or above an hour.

        Example:
            ```python
            report = await node.report()
            print([(queue.name, queue.by_state, queue.wait.p99) for queue in report.queues])
            ```
        """
        window = check_seconds("window", window, LONGEST_WINDOW, "an hour")
        state = self._state
        now = state.clock()
        queues = {
            name: QueueStatus(name, name in state.paused, False, None, {state.name: queue.concurrency})
            for name, queue in state.queues.items()
        }
        oldest: dict[str, float] = {}
        records = list(state.table.records.values()) if state.table is not None else []
        for at in range(0, len(records), CHUNK):
            for record in records[at : at + CHUNK]:
                by_state = queues.setdefault(record.queue, QueueStatus(record.queue)).by_state
                by_state[record.state] = by_state.get(record.state, 0) + 1
                if record.state == "available":
                    oldest[record.queue] = max(oldest.get(record.queue, 0.0), (now - record.scheduled_at) / 1e6)
            await trio.lowlevel.checkpoint()
        totals: dict[str, dict[str, int]] = {}
        for (queue, worker), cell in state.figures.all_time().items():
            ended = {"completed": cell.completed, "cancelled": cell.cancelled, "discarded": cell.discarded}
            mine = totals.setdefault(worker, dict.fromkeys(ended, 0))
            by_state = queues.setdefault(queue, QueueStatus(queue)).by_state
            for name, number in ended.items():
                mine[name] += number
                if number:
                    by_state[name] = by_state.get(name, 0) + number  # type: ignore[index, call-overload]
        cells, seconds = state.figures.window(window)
        state.figures.note_errors()
        return make_report(
            scope=state.name,
            now=now,
            window=seconds,
            queues=[queues[name] for name in sorted(queues)],
            oldest=oldest,
            cells=cells,
            totals=totals,
            errors=state.figures.errors,
        )

    async def health(self) -> Health:
        """Tell whether this node gets its work done, and why not; from its memory.

        Example:
            ```python
            assert (await node.health()).status == "ok"
            ```
        """
        state = self._state
        report = await self.report()
        unhealthy, degraded = [], []
        if not state.link.is_open:
            unhealthy.append(f"the store {state.store.url} is cut off; results wait in memory")
        if state.table is None or state.membership is None:
            unhealthy.append("the node is starting again")
        else:
            outcomes, inserts = state.table.outcomes.rows, state.table.inserts.rows
            if outcomes > FULL * MAX_PENDING_OUTCOMES:
                degraded.append(f"{outcomes} results wait for the store; at {MAX_PENDING_OUTCOMES} nothing is started")
            if inserts > FULL * MAX_PENDING_INSERTS:
                degraded.append(f"{inserts} inserts wait for the store; at {MAX_PENDING_INSERTS} they wait for room")
        for name in state.queues:
            crew = state.crews.get(name)
            if crew is None or crew.ready is None:
                degraded.append(f'queue "{name}" is down; its supervisor is starting it again')
            elif crew.degraded:
                degraded.append(f'worker processes of queue "{name}" die one after the other')
        degraded += queue_problems(report.queues)
        degraded += self._stale_runs()
        return health_of(unhealthy, degraded)

    def _stale_runs(self) -> list[str]:
        table, now = self._state.table, self._state.clock()
        return [
            f"job {record.id.hex()} runs for longer than its timeout of {record.timeout:g} s"
            for record in (table.records.values() if table is not None else ())
            if record.state == "executing"
            and record.attempted_at is not None
            and (now - record.attempted_at) / 1e6 > record.timeout + OVERDUE
        ][:10]
