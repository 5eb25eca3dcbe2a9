"""Takes over what nodes that left or died have left behind. Every live node does; each row goes to one of them."""

from __future__ import annotations

import logging
import random

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.node.intake import Intake
from kathikon_actors.node.state import NodeState
from kathikon_actors.telemetry.events import Recovered

__all__ = ["Rescuer"]

logger = logging.getLogger(__name__)

LONGEST = 3.0
"""Seconds between two looks at the other nodes at the most; with a short lease a third of it."""


class Rescuer:
    """Looks for dead nodes until cancelled.

    Args:
        state: of the node.
        intake: takes in what was rescued.
    """

    def __init__(self, state: NodeState, intake: Intake) -> None:
        self._state = state
        self._intake = intake

    async def run(self, *, task_status: trio.TaskStatus[Rescuer] = trio.TASK_STATUS_IGNORED) -> None:
        """Rescue until cancelled."""
        state = self._state
        task_status.started(self)
        while True:
            try:
                if not state.draining:
                    await self._round()
            except StoreUnavailable:
                await state.link.reopened()
                continue
            pause = min(state.lease / 3, state.backstop(LONGEST))
            await trio.sleep(pause * random.uniform(0.7, 1.0))  # noqa: S311 spreads the nodes

    async def _round(self) -> None:
        await self._intake.give_strangers_back()
        for dead in await self._state.store.fence_dead(self._state.the_membership()):
            rescued = await self._intake.rescue(dead)
            if rescued:
                self._state.bus.emit(Recovered(source="rescue", of_node=dead.node, jobs=rescued))
                how = "died" if dead.crashed else "left"
                logger.warning("node %s %s; %d of its jobs were taken over", dead.node, how, rescued)
