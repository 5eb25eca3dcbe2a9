"""The part of the memory store that knows what workers declare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kathikon_actors.store.declaring import KEPT

if TYPE_CHECKING:
    from kathikon_actors.jobs.declaration import Declaration
    from kathikon_actors.store.memory import MemoryData
    from kathikon_actors.store.protocol import Membership

__all__ = ["DeclarationData", "MemoryDeclarations", "withdraw_workers"]


@dataclass
class DeclarationData:
    """What several stores share.

    Attributes:
        workers: by name, the newest last.
        had: the workers of each node, and which start that was.
    """

    workers: dict[str, Declaration] = field(default_factory=dict)
    had: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    starts: int = 0


class MemoryDeclarations(ABC):
    """`DeclarationStore` on a `MemoryData`."""

    data: MemoryData

    @abstractmethod
    async def _begin(self) -> None: ...

    async def declare_workers(
        self, membership: Membership, declarations: Sequence[Declaration], *, starts: bool
    ) -> None:
        """See `Store.declare_workers`."""
        await self._begin()
        data, name = self.data.declared, membership.node
        if self.data.nodes[name].epoch != membership.epoch:
            return
        for new in declarations:
            if new.name not in data.workers or (starts and data.workers[new.name] != new):
                data.workers.pop(new.name, None)
                data.workers[new.name] = new
        data.starts += 1
        start = data.starts if starts or name not in data.had else data.had[name][0]
        data.had[name] = start, frozenset(new.name for new in declarations)
        withdraw_workers(self.data)

    async def declared_workers(self) -> list[Declaration]:
        """See `Store.declared_workers`."""
        await self._begin()
        return list(reversed(self.data.declared.workers.values()))


def withdraw_workers(data: MemoryData) -> None:
    """Forget the workers that no node has any more; see `DeclarationStore.declare_workers`."""
    declared = data.declared
    alive = [had for name, had in declared.had.items() if data.is_alive(name)]
    long_ago = data.clock() - KEPT * 1_000_000
    for name, (start, workers) in list(declared.had.items()):
        followed = any(later > start and not workers.isdisjoint(others) for later, others in alive)
        if not data.is_alive(name) and (followed or data.nodes[name].lease_until < long_ago):
            del declared.had[name]
    wanted = {worker for _, workers in declared.had.values() for worker in workers}
    for name in declared.workers.keys() - wanted:
        del declared.workers[name]
