"""The child of a node's tree that holds the node's name on its store."""

from __future__ import annotations

import logging
import time
from typing import Final, NoReturn

import trio

from kathikon_actors import faults
from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken, StoreUnavailable
from kathikon_actors.node.intake import Intake
from kathikon_actors.node.manage import take_up_doubtful
from kathikon_actors.node.queue_keeper import load_queues
from kathikon_actors.node.state import NodeState
from kathikon_actors.store.protocol import Membership
from kathikon_actors.telemetry.events import Recovered

__all__ = ["hold_membership", "start_again"]

logger = logging.getLogger(__name__)

LEAVE_TIMEOUT: Final = 2.0
"""Seconds that a stopping node takes to end its lease."""


async def hold_membership(state: NodeState, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Hold the node's name: join, take up the work of the earlier life, renew the lease until told to leave."""
    store, lease = state.store, state.lease
    if state.membership is None:
        membership = await _join(state)
        await _take_up(state, membership)
    else:
        membership = state.membership
        begun = time.monotonic()
        try:
            await store.renew(membership, lease)
            state.hold_from(begun)
        except LeaseLost:
            # We left, or were replaced, while this child was down: all that works under that epoch starts again.
            task_status.started(membership.epoch)
            await start_again(state)
    renewed = trio.current_time()
    task_status.started(membership.epoch)
    try:
        while True:
            await trio.sleep_until(renewed + lease / 3)
            begun, now = trio.current_time(), time.monotonic()
            if now > state.held_until:
                # We were stopped. What ran is dead, and others may have what we held: we are another life now.
                await start_again(state)
            try:
                if faults.armed:
                    await faults.reach("membership.before_renew", node=state.name)
                await store.renew(membership, lease)
                renewed = begun
                state.hold_from(now)
                await take_up_doubtful(state)
            except StoreUnavailable:
                # What runs must have stopped when the lease ends: others take the jobs then.
                with trio.move_on_at(renewed + lease * 0.8) as patience:
                    await state.link.reopened()
                if patience.cancelled_caught:
                    raise LeaseLost(membership.node, membership.epoch) from None
    except trio.Cancelled:
        with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
            try:
                await store.leave(membership)
            except StoreUnavailable as error:
                logger.warning("the lease could not be ended, it runs out by itself: %s", error)
        raise


async def _join(state: NodeState) -> Membership:
    while True:
        begun = time.monotonic()
        try:
            membership = await state.store.join(state.name, state.lease)
            state.hold_from(begun)
            return membership
        except NodeNameTaken as taken:
            if not state.joined_before:
                raise
            logger.warning("%s", taken)
            await trio.sleep(min(1.0, state.lease / 3))


async def _take_up(state: NodeState, membership: Membership) -> None:
    """Load the rows that this name owns; what was running when its last life ended is available again."""
    table = state.table
    assert table is not None
    intake = state.intake = Intake(table, state.store, membership, state.queues, state.clock)
    await load_queues(state)
    state.store.attach_ready(state.queues, table.adopt)
    await intake.take_up()
    state.membership = membership
    state.joined_before = True
    if table.records:
        state.bus.emit(Recovered(source="restart", of_node=state.name, jobs=len(table.records)))
        logger.info("node %s goes on with %d jobs of its earlier life", state.name, len(table.records))


async def start_again(state: NodeState) -> NoReturn:
    """Have the table end, and with it all that works under the epoch that was replaced; we are restarted after it."""
    state.lease_lost.set()
    await trio.sleep_forever()
