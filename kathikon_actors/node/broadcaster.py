"""Announces the jobs of broadcast queues, and gives this node its own job of each announcement.

An announcement is written first and completed then: a node that dies in between leaves a job that another one, or its
own next life, announces again, without effect.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.broadcast import ANNOUNCED, is_delivery
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.store.broadcasts import BROADCASTS

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.node.state import NodeState

__all__ = ["Announcements", "Broadcaster"]

logger = logging.getLogger(__name__)

POLL: Final = 1.0
"""Seconds between two looks for announcements, when no notice comes."""

AT_ONCE: Final = 500
"""Announcements of one round."""

SWEEP_EVERY: Final = 600.0
"""Seconds between two looks for announcements that are over."""


class Announcements:
    """Jobs that wait to be announced: from the producers to the broadcaster, whichever of them is down."""

    def __init__(self) -> None:
        self.pending: dict[bytes, Record] = {}
        self.wake = trio.Event()

    def offer(self, record: Record) -> bool:
        """Take a job that is to be announced; leave one that is to be run."""
        if is_delivery(record):
            return False
        self.pending[record.id] = record
        self.wake.set()
        return True


class Broadcaster:
    """Announces and delivers until cancelled."""

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._announcements = state.announcements
        self._next_sweep = trio.current_time() + SWEEP_EVERY

    async def run(self, *, task_status: trio.TaskStatus[Broadcaster] = trio.TASK_STATUS_IGNORED) -> None:
        """Announce and deliver until cancelled."""
        state = self._state
        task_status.started(self)
        while True:
            self._announcements.wake = trio.Event()
            try:
                if self._queues():
                    await state.store.listen_control(BROADCASTS, self._wake_up)
                    await self._announce()
                    await self._deliver()
                    await self._sweep()
            except StoreUnavailable:
                await state.link.reopened()
                continue
            with trio.move_on_after(state.backstop(POLL) * random.uniform(0.8, 1.0)):  # noqa: S311 spreads the nodes
                await self._announcements.wake.wait()

    def _wake_up(self) -> None:
        self._announcements.wake.set()

    def _queues(self) -> list[str]:
        return [name for name, queue in self._state.queues.items() if queue.broadcast]

    async def _announce(self) -> None:
        state, pending = self._state, self._announcements.pending
        table = state.the_table()
        while pending:
            # What was cancelled meanwhile, or given to another node, is not announced by us. What is of a queue that
            # is being removed is given back: whoever runs the queue then claims it and announces it.
            batch = []
            for record in list(pending.values())[:AT_ONCE]:
                del pending[record.id]
                is_ours = record.queue in state.queues and table.records.get(record.id) is record
                if record.state == "available" and is_ours:
                    batch.append(record)
            if not batch:
                continue
            try:
                await state.store.broadcasts.announce(
                    [(record.id, record.queue, state.queues[record.queue].broadcast_window) for record in batch]
                )
            except BaseException:
                pending.update((record.id, record) for record in batch)
                raise
            now = state.clock()
            done = [r for r in batch if r.state == "available" and table.records.get(r.id) is r]
            for record in done:
                machine.begin(record, now)
                machine.complete(record, now, None, note=ANNOUNCED)
            table.changed(done)

    async def _deliver(self) -> None:
        state = self._state
        table, queues = state.the_table(), self._queues()
        while not state.draining:
            async with table.moving:
                try:
                    jobs = await state.store.broadcasts.deliver(state.the_membership(), queues, AT_ONCE)
                except BaseException:
                    table.in_doubt = True
                    raise
                table.adopt(jobs)
            if len(jobs) < AT_ONCE:
                return

    async def _sweep(self) -> None:
        if trio.current_time() > self._next_sweep:
            self._next_sweep = trio.current_time() + SWEEP_EVERY
            await self._state.store.broadcasts.sweep()
