"""What an operator does to queues: the same on nodes and on clients, for all nodes, and kept in the store."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from kathikon_actors.jobs.actions import check_timeout
from kathikon_actors.jobs.errors import BadConfiguration, NoNode, QueuePaused, QueueTimeout, UnknownQueue
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.store.queue_store import QueueChange, QueueSettings, RunningQueue

if TYPE_CHECKING:
    from kathikon_actors.jobs.states import State
    from kathikon_actors.store.protocol import Counts

__all__ = ["QueueOperations", "QueueStatus", "QueueStoreClient"]

POLL: Final = (0.01, 0.2)
"""Seconds between two looks of a drain: the first, and the longest."""


@dataclass(frozen=True)
class QueueStatus:
    """A queue as all nodes see it.

    Attributes:
        paused: nothing of it is started.
        removed: no node runs it, also where its app declares it.
        concurrency: of each node, as operators have set it; `None` for what the app declares.
        nodes: the live nodes that run it, each with its concurrency.
        by_state: how many of its jobs are in each state, finished ones included.
    """

    name: str
    paused: bool = False
    removed: bool = False
    concurrency: int | None = None
    nodes: dict[str, int] = field(default_factory=dict)
    by_state: dict[State, int] = field(default_factory=dict)


class QueueStoreClient(Protocol):
    """What these operations need of a store."""

    async def queue_settings(self) -> dict[str, QueueSettings]:
        """See `Store.queue_settings`."""
        ...

    async def change_queue(self, change: QueueChange) -> QueueSettings:
        """See `Store.change_queue`."""
        ...

    async def running_queues(self) -> list[RunningQueue]:
        """See `Store.running_queues`."""
        ...

    async def is_due(self, queues: Sequence[str] | None) -> bool:
        """See `Store.is_due`."""
        ...

    async def counts(self) -> list[Counts]:
        """See `Store.counts`."""
        ...


class QueueOperations(ABC):
    """The part of `Node` and `Client` that looks at queues and changes them."""

    @abstractmethod
    def _queue_store(self) -> QueueStoreClient: ...

    @abstractmethod
    async def _sleep(self, seconds: float) -> None: ...

    async def _queues_changed(self) -> None:  # noqa: B027 most have nothing to do
        """Settings were changed: a node applies them before the call returns."""

    def _own_queues(self) -> Sequence[str]:
        """Give the queues that are known here without asking the store."""
        return ()

    async def queues(self) -> Sequence[QueueStatus]:
        """Give every queue that a live node runs, that holds jobs, or for which something was set.

        Raises:
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            for queue in await node.queues():
                print(queue.name, "paused" if queue.paused else "runs", queue.by_state)
            ```
        """
        store = self._queue_store()
        settings = await store.queue_settings()
        found = {
            name: QueueStatus(name, setting.paused, setting.removed, setting.concurrency)
            for name, setting in settings.items()
        }
        for running in await store.running_queues():
            status = found.setdefault(running.queue, QueueStatus(running.queue))
            status.nodes[running.node] = running.concurrency
        for counts in await store.counts():
            found.setdefault(counts.queue, QueueStatus(counts.queue)).by_state.update(counts.by_state)
        return [found[name] for name in sorted(found)]

    async def queue_status(self, queue: str) -> QueueStatus:
        """Give one queue; see `queues`.

        Raises:
            UnknownQueue: there is none of this name.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            print((await node.queue_status("billing")).nodes)
            ```
        """
        known = {status.name: status for status in await self.queues()}
        if not isinstance(queue, str):
            raise UnknownQueue(repr(queue), {*known, *self._own_queues()})
        if queue not in known:
            if queue in self._own_queues():
                return QueueStatus(queue)
            raise UnknownQueue(queue, sorted({*known, *self._own_queues()}))
        return known[queue]

    async def pause(self, queue: str) -> None:
        """Start nothing more of a queue, on any node, until `resume`; what runs goes on, inserts are taken.

        It is kept in the store: a node that starts later does not run the queue either.

        Raises:
            UnknownQueue: there is none of this name.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            await node.pause("billing")
            ```
        """
        await self._change_queue(QueueChange(queue, paused=True))

    async def resume(self, queue: str) -> None:
        """Run a paused queue again, on every node; without effect when it is not paused.

        Raises:
            UnknownQueue, StoreUnavailable: see `pause`.

        Example:
            ```python
            await node.resume("billing")
            ```
        """
        await self._change_queue(QueueChange(queue, paused=False))

    async def scale(self, queue: str, concurrency: int | None) -> None:
        """Run so many jobs of a queue at the same time, on each node that runs it, from now on.

        What runs goes on. A plain function has a process to itself, so more of them than the queue's `processes` do not
        run at the same time.

        Args:
            queue: its name.
            concurrency: 1 to 1024; `None` goes back to what the app declares.

        Raises:
            UnknownQueue, StoreUnavailable: see `pause`.
            BadConfiguration: `concurrency` is out of range.

        Example:
            ```python
            await node.scale("billing", 50)
            ```
        """
        if concurrency is not None:
            Queue(queue, concurrency=concurrency)
        await self._change_queue(QueueChange(queue, concurrency=concurrency or 0))

    async def add_queue(self, queue: Queue) -> None:
        """Have every node run one more queue, now and after restarts; one that was removed comes back like this.

        Raises:
            BadConfiguration: a queue of this name is run already; or this is no queue.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            await node.add_queue(Queue("imports", concurrency=2))
            ```
        """
        if not isinstance(queue, Queue):
            raise BadConfiguration(f"add_queue takes Queue(...), not {queue!r}")
        store = self._queue_store()
        setting = (await store.queue_settings()).get(queue.name)
        removed = setting is not None and setting.removed
        runs = queue.name in self._own_queues() or any(r.queue == queue.name for r in await store.running_queues())
        if not removed and (runs or (setting is not None and setting.declaration is not None)):
            raise BadConfiguration(f'there is a queue "{queue.name}" already; change it with scale, pause or resume')
        declaration = msgspec.json.encode(queue).decode()
        await store.change_queue(
            QueueChange(queue.name, paused=queue.paused, concurrency=0, removed=False, declaration=declaration)
        )
        await self._queues_changed()

    async def remove_queue(self, queue: str, timeout: float = 300.0) -> None:
        """Have no node run a queue any more; returns when what ran of it has ended everywhere.

        Jobs that wait stay in the store. It stays removed, also where an app declares it, until `add_queue`.

        Args:
            queue: its name.
            timeout: seconds.

        Raises:
            UnknownQueue, StoreUnavailable: see `pause`.
            QueueTimeout: something of it still runs; it is removed when that has ended.
            ValueError: `timeout` is no number from 0; nothing was changed.

        Example:
            ```python
            await node.remove_queue("imports")
            ```
        """
        timeout = check_timeout(timeout)
        await self._change_queue(QueueChange(queue, removed=True))
        end = time.monotonic() + timeout
        pause, longest = POLL
        while True:
            nodes = [entry.node for entry in await self._queue_store().running_queues() if entry.queue == queue]
            if not nodes:
                return
            left = end - time.monotonic()
            if left <= 0:
                raise QueueTimeout(queue, "removed", timeout, f"it still runs on {', '.join(nodes)}")
            await self._sleep(min(pause, left))
            pause = min(pause * 1.5, longest)

    async def drain(self, queue: str | None = None, timeout: float = 300.0) -> None:
        """Return when nothing of a queue is due any more: all of it has run, and what it has inserted has too.

        What is scheduled for later, or failed and is due later, is not waited for. Without a name: all queues that live
        nodes run, paused ones left out.

        Args:
            queue: its name.
            timeout: seconds.

        Raises:
            UnknownQueue, StoreUnavailable: see `pause`.
            QueuePaused: it is paused, so nothing of it would run.
            NoNode: no live node runs it.
            QueueTimeout: something is still due; it goes on.
            ValueError: `timeout` is no number from 0.

        Example:
            ```python
            await node.drain("billing", timeout=60)
            ```
        """
        timeout = check_timeout(timeout)
        store = self._queue_store()
        names = await self._drainable(queue)
        end = time.monotonic() + timeout
        pause, longest = POLL
        while await store.is_due(names):
            left = end - time.monotonic()
            if left <= 0:
                raise QueueTimeout(queue or "every queue", "drained", timeout, "jobs are still due")
            await self._sleep(min(pause, left))
            pause = min(pause * 1.5, longest)

    async def _drainable(self, queue: str | None) -> list[str]:
        store = self._queue_store()
        settings = await store.queue_settings()
        paused = {name for name, setting in settings.items() if setting.paused}
        running = {entry.queue for entry in await store.running_queues()}
        if queue is None:
            if not running:
                raise NoNode(None)
            return sorted(running - paused)
        await self._check(queue)
        if queue in paused:
            raise QueuePaused(queue)
        if queue not in running and queue not in self._own_queues():
            raise NoNode(queue)
        return [queue]

    async def _change_queue(self, change: QueueChange) -> None:
        await self._check(change.name)
        await self._queue_store().change_queue(change)
        await self._queues_changed()

    async def _check(self, queue: str) -> None:
        if not isinstance(queue, str) or queue not in self._own_queues():
            await self.queue_status(queue)
