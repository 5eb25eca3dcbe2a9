"""Tells the store what this node's workers declare, so that others insert jobs by their names."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from kathikon_actors.jobs.declaration import declarations_of
from kathikon_actors.jobs.errors import StoreUnavailable

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState

__all__ = ["declare"]

logger = logging.getLogger(__name__)


async def declare(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Declare the workers once for each membership, beside the start of what comes after; a cut is waited out.

    A node is open when this was tried: what it has is known by then to whoever inserts by name.
    """
    membership = state.the_membership()
    declarations = declarations_of(state.definitions.values(), state.app.defaults)
    task_status.started()
    while True:
        try:
            await state.store.declare_workers(membership, declarations, starts=not state.has_declared)
        except StoreUnavailable:
            state.declared.set()
            await state.link.reopened()
            continue
        except Exception:  # text that this store cannot hold; what runs here needs none of it
            logger.exception("jobs of this node's workers cannot be inserted by name from outside")
        else:
            state.has_declared = True
        state.declared.set()
        await trio.sleep_forever()
