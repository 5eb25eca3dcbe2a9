"""What a client can do on a store: the same pieces of work that a node's store does, on the client's connections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kathikon_actors.store import commanding, outside, queue_rows, retaining
from kathikon_actors.store import figures as kept

if TYPE_CHECKING:
    from kathikon_actors.jobs.actions import Change
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.jobs.retention import Retention
    from kathikon_actors.store.commands import Requested
    from kathikon_actors.store.protocol import Counts, Page
    from kathikon_actors.store.queue_store import QueueChange, QueueSettings, RunningQueue

__all__ = ["RemoteStore"]

T = TypeVar("T")


class _Runs(Protocol):
    async def __call__(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...


class RemoteStore:
    """An `OperatorStore` without a node.

    Args:
        run: runs a piece of work on a connection of the client.
    """

    def __init__(self, run: _Runs) -> None:
        self._run = run

    async def get(self, job_id: bytes) -> Record | None:
        """See `Store.get`."""
        return await self._run(outside.get_row, job_id)

    async def find(self, page: Page) -> list[Record]:
        """See `Store.find`."""
        return await self._run(outside.find_rows, page)

    async def ask(self, job_id: bytes, change: Change) -> int:
        """See `Store.ask`."""
        return await self._run(commanding.ask, job_id, change)

    async def progress(self, job_id: bytes, percent: int) -> str | None:
        """See `Store.progress`."""
        return await self._run(commanding.progress, job_id, percent)

    async def ask_progress(self, job_id: bytes, percent: int) -> int:
        """See `Store.ask_progress`."""
        return await self._run(commanding.ask_progress, job_id, percent)

    async def request(self, wanted: Filter, change: Change) -> Requested:
        """See `Store.request`."""
        return await self._run(commanding.request_change, wanted, change)

    async def carry_out(self, number: int) -> bool:
        """See `Store.carry_out`."""
        return await self._run(commanding.carry_out, number)

    async def read_answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """See `Store.read_answers`."""
        return await self._run(commanding.read_answers, numbers)

    async def ask_node(self, node: str, what: str, seconds: float) -> int | None:
        """See `Store.ask_node`."""
        return await self._run(commanding.ask_node, node, what, seconds)

    async def take_answer(self, number: int) -> str | None:
        """See `Store.take_answer`."""
        return await self._run(commanding.take_answer, number)

    async def withdraw(self, number: int) -> None:
        """See `Store.withdraw`."""
        await self._run(commanding.withdraw, number)

    async def purge(self, ids: Sequence[bytes]) -> set[bytes]:
        """See `Store.purge`."""
        return await self._run(commanding.purge_rows, ids)

    async def purge_meeting(self, wanted: Filter) -> int:
        """See `Store.purge_meeting`."""
        return await self._run(commanding.purge_meeting, wanted)

    async def count_meeting(self, wanted: Filter) -> int:
        """See `Store.count_meeting`."""
        return await self._run(commanding.count_meeting, wanted)

    async def counts(self) -> list[Counts]:
        """See `Store.counts`."""
        return await self._run(outside.count_rows)

    async def queue_settings(self) -> dict[str, QueueSettings]:
        """See `Store.queue_settings`."""
        return await self._run(queue_rows.queue_settings)

    async def change_queue(self, change: QueueChange) -> QueueSettings:
        """See `Store.change_queue`."""
        return await self._run(queue_rows.change_queue, change)

    async def running_queues(self) -> list[RunningQueue]:
        """See `Store.running_queues`."""
        return await self._run(queue_rows.running_queues)

    async def is_due(self, queues: Sequence[str] | None) -> bool:
        """See `Store.is_due`."""
        return await self._run(queue_rows.is_due, queues)

    async def prune(self, retention: Retention) -> retaining.Pruned:
        """See `Store.prune`."""
        return await self._run(retaining.prune, retention)

    async def promote(self) -> int:
        """See `Store.promote`."""
        return await self._run(retaining.promote)

    async def figures(self, window: float) -> dict[tuple[str, str], kept.Cell]:
        """See `Store.figures`."""
        return await self._run(kept.figures, window)

    async def last_errors(self) -> dict[str, kept.LastError]:
        """See `Store.last_errors`."""
        return await self._run(kept.last_errors)

    async def oldest_waiting(self) -> dict[str, float]:
        """See `Store.oldest_waiting`."""
        return await self._run(kept.oldest_waiting)

    async def worker_totals(self) -> dict[str, dict[str, int]]:
        """See `Store.worker_totals`."""
        return await self._run(kept.worker_totals)

    async def known_nodes(self) -> list[kept.KnownNode]:
        """See `Store.known_nodes`."""
        return await self._run(kept.known_nodes)
