"""The block that a node lives in."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from kathikon_actors.actors.systems import inside
from kathikon_actors.jobs.build import build_record
from kathikon_actors.jobs.errors import BadConfiguration, shown
from kathikon_actors.jobs.sealing import known_keyrings
from kathikon_actors.node.app import App
from kathikon_actors.node.children import launch_zygote, node_children
from kathikon_actors.node.control import ControlSocket
from kathikon_actors.node.crons import declared_rows
from kathikon_actors.node.node import Node
from kathikon_actors.node.options import check_seconds
from kathikon_actors.node.state import NodeState
from kathikon_actors.node.telemetry import report_supervisors, telemetry_of
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.store.journal import SNAPSHOT_INTERVAL
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Store
from kathikon_actors.store.urls import parse_store_url
from kathikon_actors.telemetry.events import NodeChanged
from supervisors import ChildSpec, FailedToStart, open_supervisor

__all__ = ["open_node", "open_nodes", "run_node"]

logger = logging.getLogger(__name__)

_open: list[Node] = []


def open_nodes() -> list[Node]:
    """Give the nodes whose blocks run in this process, the latest last."""
    return list(_open)


@asynccontextmanager
async def open_node(
    app: App,
    *,
    store: str = "memory:",
    name: str | None = None,
    lease: float = 30.0,
    shutdown_timeout: float = 25.0,
    insert_timeout: float = 30.0,
    snapshot_interval: float = SNAPSHOT_INTERVAL,
) -> AsyncIterator[Node]:
    """Run a node round a block.

    Leaving the block, or cancelling it, stops gracefully: nothing new is taken, what runs may finish within
    `shutdown_timeout`, the rest is given back, everything is committed, the tree stops in reverse order. An exception
    of the block stops at once: what runs is given back.

    Args:
        app: what to run.
        store: `"memory:"`, `"embedded:PATH"` (a private Postgres in that directory) or `"postgresql://..."`.
        name: the node's name on the store; a node that starts again under its name goes on with its jobs. Default:
            the host's name.
        lease: seconds after which others may take the jobs of a node that is silent; at most 100 days, as all of
            these times.
        shutdown_timeout: seconds that running jobs have to finish, from 0.
        insert_timeout: seconds that an insert waits for its commit; may be infinite.
        snapshot_interval: seconds after which the changes of jobs with `durability="snapshot"` are written.

    Raises:
        BadConfiguration: the app, the name, the store URL or one of the times does not fit.
        NodeNameTaken: a live node has this name on this store.
        StoreUnavailable: the store cannot be reached.
        RestartLimitReached: the tree gave up, after its ordered stop.

    Example:
        ```python
        async with open_node(app, store="embedded:./jobs") as node:
            job = await node.insert(render_invoice.new("INV-99"))
            print(await node.wait(job.id, timeout=90))
        ```
    """
    if not isinstance(app, App):
        raise BadConfiguration(f"open_node takes an App, not {app!r}")
    lease = check_seconds("open_node", "lease", lease, 0.01)
    shutdown_timeout = check_seconds("open_node", "shutdown_timeout", shutdown_timeout, 0)
    insert_timeout = check_seconds("open_node", "insert_timeout", insert_timeout, 0.001, most=math.inf)
    snapshot_interval = check_seconds("open_node", "snapshot_interval", snapshot_interval, 0.001)
    name = _node_name(name)
    definitions = app.definitions()
    url = parse_store_url(store)
    server: EmbeddedServer | None = None
    driver: Store
    if url.kind == "memory":
        driver = MemoryStore()
    elif url.kind == "embedded":
        assert url.path is not None
        server = EmbeddedServer(url.path)
        driver = PostgresStore(server.dsn)
    else:
        driver = PostgresStore(url.text)
    state = NodeState(app, definitions, driver, name, lease, snapshot_interval)
    running: list[Node] = []
    control = ControlSocket(url, name, lambda: running[0] if running else None)
    children = [*node_children(state, server), ChildSpec("control", control.run)]
    async with run_node(state, children, shutdown_timeout=shutdown_timeout, insert_timeout=insert_timeout) as node:
        running.append(node)
        yield node


@asynccontextmanager
async def run_node(
    state: NodeState, children: Sequence[ChildSpec], *, shutdown_timeout: float, insert_timeout: float
) -> AsyncIterator[Node]:
    """Run a node whose parts and children are chosen already; see `open_node`."""
    app, definitions, name = state.app, state.definitions, state.name
    state.declared_crons = declared_rows(
        list(app.crons.values()),
        definitions,
        lambda new: build_record(new, definitions[new.worker], app.defaults, state.ids, 0),
        app.keyring,
    )
    for handler in app.telemetry:
        state.bus.subscribe(handler)
    node = state.node = Node(state, insert_timeout)
    with known_keyrings(app.keyring), inside(state.system):
        async with open_loop(), telemetry_of(state):
            try:
                if not state.one_loop:
                    state.launched = launch_zygote(state)
                async with open_supervisor(children, strategy="rest_for_one", name=f"node {name}") as tree:
                    node._tree = tree  # noqa: SLF001 its own half
                    await state.declared.wait()
                    state.doors.open()
                    _open.append(node)
                    report_supervisors(state.bus, tree)
                    state.bus.emit(NodeChanged(action="started"))
                    try:
                        yield node
                    except BaseException as error:
                        if _is_cancellation(error):
                            with trio.CancelScope(shield=True):
                                await _drain(node, shutdown_timeout)
                        raise
                    else:
                        with trio.CancelScope(shield=True):
                            await _drain(node, shutdown_timeout)
                    finally:
                        _open.remove(node)
            except FailedToStart as error:
                raise _root_cause(error) from error
            finally:
                if state.launched is not None:
                    await state.launched.aclose()


async def _drain(node: Node, timeout: float) -> None:
    if not await node._finish(timeout):  # noqa: SLF001
        logger.warning("some jobs did not finish within %.0f s; they run again when the node is back", timeout)


def _is_cancellation(error: BaseException) -> bool:
    """Whether it says only that the block was cancelled, also through nurseries of its own."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


def _root_cause(error: BaseException) -> BaseException:
    """Give what kept the innermost child from starting: the reader wants the sentence, not the way to it."""
    while isinstance(error, FailedToStart) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _node_name(name: str | None) -> str:
    if name is None:
        name = socket.gethostname() or f"node-{os.getpid()}"
    if not isinstance(name, str) or not name or len(name) > 200 or not name.isprintable():
        raise BadConfiguration(f"node name {shown(name)}: give 1 to 200 printable characters")
    return name
