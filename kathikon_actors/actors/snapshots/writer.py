"""The one task of an actor system that hands snapshots to the sink, so that no actor waits for a store."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from kathikon_actors.actors.snapshots.sink import KEPT, SnapshotSink, StoredSnapshot
from kathikon_actors.jobs.errors import StoreUnavailable

__all__ = ["SnapshotEvent", "SnapshotLost", "SnapshotRejected", "SnapshotWriter"]

logger = logging.getLogger("kathikon_actors")

FIRST_RETRY: Final = 0.05
LAST_RETRY: Final = 5.0
"""Seconds between two tries while the sink does not keep anything."""

CLOSE_TIMEOUT: Final = 3.0
"""Seconds that the end of a system waits for its last snapshots."""


@dataclass(frozen=True)
class SnapshotEvent:
    """Something that whoever relies on snapshots wants to know.

    Attributes:
        actor: whose.
        error: what went wrong.
    """

    actor: str
    error: BaseException


@dataclass(frozen=True)
class SnapshotRejected(SnapshotEvent):
    """What is kept could not be read, or `restore_snapshot` raised: the actor has begun from scratch, or from older.

    Attributes:
        version: of the snapshot.
    """

    version: int


@dataclass(frozen=True)
class SnapshotLost(SnapshotEvent):
    """A snapshot was not kept: `take_snapshot` raised, or gave what cannot be written, or a later life has the name."""


class SnapshotWriter:
    """Keeps the newest snapshot of each actor until the sink has it.

    Whatever the sink's speed, at most one snapshot of each actor waits: a newer one takes its place.

    Args:
        sink: where they go.
    """

    def __init__(self, sink: SnapshotSink) -> None:
        self._sink = sink
        self._waiting: dict[str, StoredSnapshot] = {}
        self._put = trio.Event()
        self._changed = trio.Event()
        self._saving = trio.Lock()
        self._handlers: dict[object, Callable[[SnapshotEvent], object]] = {}

    def subscribe(self, handler: Callable[[SnapshotEvent], object]) -> Callable[[], None]:
        """Call `handler` with each event; what it raises is logged. Gives the way out."""
        key = object()
        self._handlers[key] = handler
        return lambda: self._handlers.pop(key, None) and None

    def report(self, event: SnapshotEvent) -> None:
        """Log an event and tell it to whoever subscribed."""
        what = "was rejected" if isinstance(event, SnapshotRejected) else "is lost"
        logger.warning(
            "a snapshot of actor %s %s: %s",
            event.actor,
            what,
            event.error,
            exc_info=event.error,
            extra={"snapshot_event": event},
        )
        for handler in list(self._handlers.values()):
            try:
                handler(event)
            except Exception:
                logger.exception("a handler of snapshot events raised")

    def put(self, actor: str, snapshot: StoredSnapshot) -> None:
        """Have a snapshot kept, soon."""
        self._waiting[actor] = snapshot
        self._put.set()

    async def load(self, actor: str) -> list[StoredSnapshot]:
        """Give an actor's last snapshots, the newest first, one that is not kept yet included."""
        waiting = self._waiting.get(actor)
        kept = await self._sink.load(actor)
        return [waiting, *kept][:KEPT] if waiting is not None else kept

    async def delete(self, actor: str) -> None:
        """Forget an actor's snapshots, so that its next life starts from scratch."""
        self._forget(actor)
        async with self._saving:
            self._forget(actor)
            await self._sink.delete(actor)

    async def flush(self, actor: str) -> None:
        """Wait until the sink has what was put of this actor."""
        while actor in self._waiting:
            await self._changed.wait()

    async def close(self) -> None:
        """Wait a little until everything is kept, as the system ends; what is not is logged."""
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            for actor in list(self._waiting):
                await self.flush(actor)
        if self._waiting:
            logger.warning("the last snapshots of these actors were not kept: %s", ", ".join(self._waiting))

    async def run(self, *, task_status: trio.TaskStatus[SnapshotWriter] = trio.TASK_STATUS_IGNORED) -> None:
        """Hand on what comes, one after another, until cancelled."""
        task_status.started(self)
        while True:
            await self._put.wait()
            self._put = trio.Event()
            for actor in list(self._waiting):
                await self._save(actor)

    async def _save(self, actor: str) -> None:
        """Hand on what waits of one actor; while the store is away nothing of the others could be kept either."""
        retry = FIRST_RETRY
        while (snapshot := self._waiting.get(actor)) is not None:
            try:
                async with self._saving:
                    await self._sink.save(actor, snapshot)
            except (StoreUnavailable, OSError) as error:
                logger.warning("the snapshot of actor %s waits, the store did not keep it: %s", actor, error)
                await trio.sleep(retry)
                retry = min(LAST_RETRY, retry * 2)
                continue
            except Exception as error:  # fenced (another life of the name goes on from what it has), or refused
                self.report(SnapshotLost(actor, error))
            if self._waiting.get(actor) is snapshot:
                self._forget(actor)
            else:
                self._put.set()
            return

    def _forget(self, actor: str) -> None:
        if self._waiting.pop(actor, None) is not None:
            self._changed.set()
            self._changed = trio.Event()
