"""Which node leads: who does the work that is done once for all nodes (cron ticks, retention, statistics).

How to use it from another child of the tree:

    async def run(self) -> None:
        while True:
            await state.leadership.wait()            # until this node leads
            await do_one_round()                      # short; look at state.leadership.leads between rounds
            await trio.sleep(1.0)

A node that was stopped and goes on may take itself for the leader for a moment after another one has become it. So the
work must be idempotent: by a unique key, or by one atomic statement. Then two leaders for a moment do no harm.
"""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.telemetry.events import NodeChanged

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState

__all__ = ["LEADER_LEASE", "Leadership"]

logger = logging.getLogger(__name__)

LEADER_LEASE = 10.0
"""Seconds that a leader which is silent stays the leader."""

RESIGN_TIMEOUT = 1.0
"""Seconds that a stopping node takes to hand leadership on."""


class Leadership:
    """Whether this node leads now. One object for the node's whole life; the child `leadership` keeps it true.

    Attributes:
        term: of this node's leadership, or of the last one it had: it grows with every change of the leader.
    """

    def __init__(self) -> None:
        self.term = 0
        self._until = -math.inf
        self._leads = trio.Event()
        self._led = False

    @property
    def leads(self) -> bool:
        """Whether this node leads, as far as it knows: its lease has not run out by its own clock."""
        return self._until > trio.current_time()

    async def wait(self) -> None:
        """Return as soon as this node leads."""
        while not self.leads:
            if self._leads.is_set():
                self._leads = trio.Event()
            await self._leads.wait()
        await trio.lowlevel.checkpoint()

    async def run(self, state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Try to lead, and go on leading, until cancelled; then let another node lead at once."""
        membership = state.the_membership()
        lease = min(state.backstop(LEADER_LEASE), state.lease)
        task_status.started()
        try:
            while True:
                begun = trio.current_time()
                try:
                    term = None if state.draining else await state.store.lead(membership, lease)
                except StoreUnavailable:
                    await state.link.reopened()
                    continue
                led = self._led
                self._note(term, begun + lease * 0.9)
                if (term is not None) != led:
                    self._led = term is not None
                    state.bus.emit(NodeChanged(action="leading" if self._led else "following"))
                await trio.sleep(lease / 3 * random.uniform(0.7, 1.0))  # noqa: S311 spreads the nodes
        finally:
            led, self._until = self.leads, -math.inf
            if led:
                with trio.move_on_after(RESIGN_TIMEOUT, shield=True):
                    try:
                        await state.store.resign(membership)
                    except StoreUnavailable as error:
                        logger.info("leadership runs out by itself: %s", error)

    def _note(self, term: int | None, until: float) -> None:
        if term is None:
            self._until = -math.inf
            return
        if not self.leads:
            logger.info("this node leads, in term %d", term)
        self.term, self._until = term, until
        self._leads.set()
