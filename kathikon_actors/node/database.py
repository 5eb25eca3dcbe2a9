"""The children of a node's tree that keep its database: an embedded server, and the connections."""

from __future__ import annotations

import logging
from typing import Final

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.node.state import NodeState
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.telemetry.events import StoreCut, StoreReopened

__all__ = ["STOP_SERVER_TIMEOUT", "keep_open", "run_server"]

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a stopping node takes to close its connections."""

STOP_SERVER_TIMEOUT: Final = 15.0
"""Seconds that an embedded server has for its last checkpoint."""


async def run_server(
    state: NodeState, server: EmbeddedServer, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run the embedded Postgres."""
    await server.start()
    try:
        task_status.started(server.pid)
        status = await server.wait_exit()
        raise StoreUnavailable(f"the embedded server {server.pid} ended by itself (status {status})")
    finally:
        # It comes back only when everything that stands on it has stopped: nobody must wait for it meanwhile.
        state.link.closed()
        with trio.move_on_after(STOP_SERVER_TIMEOUT, shield=True):
            await server.stop()


async def keep_open(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Keep the store open: a cut is waited out here, it is no crash."""
    store, link = state.store, state.link
    try:
        if state.started_before:
            await _reopen(state)
        else:
            await store.open()
            state.started_before = True
        link.opened()
        task_status.started()
        while True:
            await link.wait_cut()
            begun = trio.current_time()
            state.bus.emit(StoreCut(problem=f"{store.url} does not answer"))
            await _reopen(state)
            link.opened()
            state.bus.emit(StoreReopened(seconds=trio.current_time() - begun))
    finally:
        link.closed()
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            await store.close()


async def _reopen(state: NodeState) -> None:
    pause = 0.02
    while True:
        try:
            await state.store.open()
        except StoreUnavailable as error:
            logger.warning("the store is cut off, trying again in %.2f s: %s", pause, error)
            await trio.sleep(pause)
            pause = min(2 * pause, 2.0)
        else:
            return
