"""Who keeps snapshots. An actor system has one sink; a node gives its own store, a bare system keeps them in memory."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import trio

__all__ = ["KEPT", "MAX_STATE", "Codec", "MemorySnapshots", "SnapshotSink", "SnapshotTooLarge", "StoredSnapshot"]

KEPT: Final = 2
"""Versions kept of each actor."""

MAX_STATE: Final = 64 * 1024 * 1024
"""Bytes that one snapshot may have."""

Codec = Literal["msgpack", "pickle"]


class SnapshotTooLarge(ValueError):
    """A state is larger than a snapshot may be.

    Attributes:
        actor: whose.
        size: its bytes.
        limit: bytes it may have.
    """

    def __init__(self, actor: str, size: int, limit: int = MAX_STATE) -> None:
        self.actor = actor
        self.size = size
        self.limit = limit
        super().__init__(actor, size, limit)

    def __str__(self) -> str:
        return (
            f"the state of actor {self.actor} takes {self.size} bytes, a snapshot may take {self.limit}; "
            "keep large data in a store of its own and only the way to it in the actor"
        )


@dataclass(frozen=True)
class StoredSnapshot:
    """One snapshot as it is kept.

    Attributes:
        codec: how `state` is written.
        state: the bytes.
        version: grows with every snapshot of the actor; 0 until it is kept.
        taken_at: microseconds since 1970, by the keeper's clock; 0 until it is kept.
    """

    codec: Codec
    state: bytes
    version: int = 0
    taken_at: int = 0


class SnapshotSink(Protocol):
    """Keeps the last two snapshots of each actor, by the actor's name."""

    async def save(self, actor: str, snapshot: StoredSnapshot) -> int:
        """Keep a snapshot, all of it or nothing; give its version.

        Raises:
            Exception: it is not kept; what was kept before is. Whoever calls tries again later.
        """
        ...

    async def load(self, actor: str) -> list[StoredSnapshot]:
        """Give what is kept, the newest first."""
        ...

    async def delete(self, actor: str) -> None:
        """Forget an actor's snapshots."""


class MemorySnapshots:
    """Keeps snapshots as long as the process lives: an actor's crash loses nothing, the process' end everything."""

    def __init__(self) -> None:
        self._kept: dict[str, list[StoredSnapshot]] = {}

    async def save(self, actor: str, snapshot: StoredSnapshot) -> int:
        """See `SnapshotSink.save`."""
        await trio.lowlevel.checkpoint()
        kept = self._kept.get(actor, [])
        version = kept[0].version + 1 if kept else 1
        new = StoredSnapshot(snapshot.codec, snapshot.state, version, time.time_ns() // 1000)
        self._kept[actor] = [new, *kept][:KEPT]
        return version

    async def load(self, actor: str) -> list[StoredSnapshot]:
        """See `SnapshotSink.load`."""
        await trio.lowlevel.checkpoint()
        return list(self._kept.get(actor, []))

    async def delete(self, actor: str) -> None:
        """See `SnapshotSink.delete`."""
        await trio.lowlevel.checkpoint()
        self._kept.pop(actor, None)
