"""Snapshots of actors in a store: the protocol, in memory, and on Postgres.

Both are fenced like every other write: a membership whose epoch was replaced keeps nothing more, so that the state of
a node's new life is never overwritten by its old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from kathikon_actors.actors.snapshots.sink import KEPT, StoredSnapshot
from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kathikon_actors.store.connection import Pool, Raw
    from kathikon_actors.store.memory import MemoryData
    from kathikon_actors.store.protocol import Membership

__all__ = ["MemorySnapshotStore", "PostgresSnapshotStore", "SnapshotStore"]


class SnapshotStore(Protocol):
    """The part of a store that keeps snapshots, by node and actor. Each method raises `StoreUnavailable` when cut."""

    async def save(self, membership: Membership, actor: str, snapshot: StoredSnapshot) -> int:
        """Keep a snapshot and the one before it, drop what is older; all in one transaction. Give its version.

        Saves of one actor come one after another.

        Raises:
            LeaseLost: the epoch was replaced; nothing was changed.
        """
        ...

    async def load(self, membership: Membership, actor: str) -> list[StoredSnapshot]:
        """Give what is kept of an actor of this node, the newest first."""
        ...

    async def delete(self, membership: Membership, actor: str) -> None:
        """Forget the snapshots of an actor of this node.

        Raises:
            LeaseLost: the epoch was replaced; nothing was changed.
        """


class MemorySnapshotStore:
    """Snapshots beside the rows of a `MemoryStore`.

    Args:
        data: where nodes and snapshots are.
        begin: of the store: a checkpoint, and `StoreUnavailable` when it is closed.
    """

    def __init__(self, data: MemoryData, begin: Callable[[], Awaitable[None]]) -> None:
        self._data = data
        self._begin = begin

    async def save(self, membership: Membership, actor: str, snapshot: StoredSnapshot) -> int:
        """See `SnapshotStore.save`."""
        await self._begin()
        self._hold(membership)
        key = (membership.node_id, actor)
        kept = self._data.snapshots.get(key, [])
        version = kept[0].version + 1 if kept else 1
        new = StoredSnapshot(snapshot.codec, snapshot.state, version, self._data.clock())
        self._data.snapshots[key] = [new, *kept][:KEPT]
        return version

    async def load(self, membership: Membership, actor: str) -> list[StoredSnapshot]:
        """See `SnapshotStore.load`."""
        await self._begin()
        return list(self._data.snapshots.get((membership.node_id, actor), []))

    async def delete(self, membership: Membership, actor: str) -> None:
        """See `SnapshotStore.delete`."""
        await self._begin()
        self._hold(membership)
        self._data.snapshots.pop((membership.node_id, actor), None)

    def _hold(self, membership: Membership) -> None:
        node = self._data.nodes.get(membership.node)
        if node is None or node.epoch != membership.epoch:
            raise LeaseLost(membership.node, membership.epoch)


class PostgresSnapshotStore:
    """Snapshots in `kathikon.snapshots`.

    Args:
        pool: connections of their own: a large state holds nothing else up.
        check_open: of the store: `StoreUnavailable` when it is closed.
    """

    def __init__(self, pool: Pool, check_open: Callable[[], None]) -> None:
        self.pool = pool
        self._check_open = check_open

    async def save(self, membership: Membership, actor: str, snapshot: StoredSnapshot) -> int:
        """See `SnapshotStore.save`."""
        self._check_open()
        return await self.pool.run(_save, membership, actor, snapshot)

    async def load(self, membership: Membership, actor: str) -> list[StoredSnapshot]:
        """See `SnapshotStore.load`."""
        self._check_open()
        return await self.pool.run(_load, membership, actor)

    async def delete(self, membership: Membership, actor: str) -> None:
        """See `SnapshotStore.delete`."""
        self._check_open()
        await self.pool.run(_delete, membership, actor)


async def _save(raw: Raw, membership: Membership, actor: str, snapshot: StoredSnapshot) -> int:
    version: int | None = await raw.fetchval(
        statement("save_snapshot"), membership.node_id, membership.epoch, actor, snapshot.codec, snapshot.state
    )
    if version is None:
        raise LeaseLost(membership.node, membership.epoch)
    return version


async def _load(raw: Raw, membership: Membership, actor: str) -> list[StoredSnapshot]:
    rows = await raw.fetch(statement("load_snapshots"), membership.node_id, actor)
    return [StoredSnapshot(codec, state, version, taken_at) for version, taken_at, codec, state in rows]


async def _delete(raw: Raw, membership: Membership, actor: str) -> None:
    if not await raw.fetchval(statement("delete_snapshots"), membership.node_id, membership.epoch, actor):
        raise LeaseLost(membership.node, membership.epoch)
