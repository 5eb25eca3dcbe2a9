"""Puts away what has ended long ago. The leader does it; two leaders for a moment do no harm, each row moves once."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.jobs.errors import StoreUnavailable

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState

__all__ = ["Pruner"]

logger = logging.getLogger(__name__)

PRUNE_EVERY: Final = 60.0
"""Seconds between two rounds when there is nothing more to put away."""

TIDY_EVERY: Final = 10.0
"""Seconds between two times that counters are added up."""

BATCHES: Final = 10_000
"""Batches that one round deletes."""


class Pruner:
    """Prunes and tidies until cancelled.

    Args:
        state: of the node.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state

    async def run(self, *, task_status: trio.TaskStatus[Pruner] = trio.TASK_STATUS_IGNORED) -> None:
        """Do rounds while this node leads."""
        state = self._state
        task_status.started(self)
        next_prune = trio.current_time()
        while True:
            await state.leadership.wait()
            try:
                await state.store.tidy()
                if trio.current_time() >= next_prune:
                    pruned = await state.store.prune(state.app.retention)
                    await self._prune_batches()
                    if pruned.archived or pruned.deleted:
                        logger.info("%d jobs were archived, %d deleted", pruned.archived, pruned.deleted)
                    else:
                        next_prune = trio.current_time() + PRUNE_EVERY
            except StoreUnavailable:
                await state.link.reopened()
                continue
            await trio.sleep(TIDY_EVERY * random.uniform(0.8, 1.0))  # noqa: S311 spreads the nodes

    async def _prune_batches(self) -> None:
        """Delete batches that were resolved so long ago that their children are put away."""
        state = self._state
        keep = state.app.retention.archive_after
        if keep is not None:
            await state.store.batches.prune(state.clock() - int(keep * 1e6), BATCHES)
