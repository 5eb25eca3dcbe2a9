"""The part of the memory store that keeps figures, and tells of nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kathikon_actors.store.figures import Cell, KnownNode, LastError

if TYPE_CHECKING:
    from kathikon_actors.store.memory_data import MemoryData
    from kathikon_actors.store.protocol import Membership

__all__ = ["MemoryFigures"]


class MemoryFigures(ABC):
    """`FigureStore` on a `MemoryData`."""

    data: MemoryData

    @abstractmethod
    async def _begin(self) -> None: ...

    async def put_figures(self, membership: Membership, at: int, cells: Mapping[tuple[str, str], Cell]) -> None:
        """See `Store.put_figures`."""
        await self._begin()
        hour = self.data.clock() - 3_600_000_000
        for key in [key for key in self.data.figures if key[0] < hour]:
            del self.data.figures[key]
        self.data.figures.setdefault((at, membership.node_id), dict(cells))

    async def put_errors(self, errors: Mapping[str, LastError]) -> None:
        """See `Store.put_errors`."""
        await self._begin()
        for worker, error in errors.items():
            known = self.data.last_errors.get(worker)
            if known is None or known.at < error.at:
                self.data.last_errors[worker] = error

    async def figures(self, window: float) -> dict[tuple[str, str], Cell]:
        """See `Store.figures`."""
        await self._begin()
        since = self.data.clock() - int(window * 1e6)
        found: dict[tuple[str, str], Cell] = {}
        for (at, _), cells in self.data.figures.items():
            if at > since:
                for key, cell in cells.items():
                    found.setdefault(key, Cell()).add(cell)
        return found

    async def last_errors(self) -> dict[str, LastError]:
        """See `Store.last_errors`."""
        await self._begin()
        return dict(self.data.last_errors)

    async def oldest_waiting(self) -> dict[str, float]:
        """See `Store.oldest_waiting`."""
        await self._begin()
        now = self.data.clock()
        found: dict[str, float] = {}
        for record in self.data.live.values():
            if record.state == "available":
                found[record.queue] = max(found.get(record.queue, 0.0), (now - record.scheduled_at) / 1e6)
        return found

    async def worker_totals(self) -> dict[str, dict[str, int]]:
        """See `Store.worker_totals`."""
        await self._begin()
        found: dict[str, dict[str, int]] = {}
        for record in self.data.finished.values():
            totals = found.setdefault(record.worker, {})
            totals[record.state] = totals.get(record.state, 0) + 1
        return found

    async def known_nodes(self) -> list[KnownNode]:
        """See `Store.known_nodes`."""
        await self._begin()
        data = self.data
        leader, _, until = data.leader
        now = data.clock()
        return [
            KnownNode(
                name,
                data.is_alive(name),
                node.left,
                0.0,
                (node.lease_until - now) / 1e6,
                node.epoch,
                leader == node.node_id and until > now,
                tuple(queue.queue for queue in data.node_queues.get(name, [])),
            )
            for name, node in sorted(data.nodes.items())
        ]
