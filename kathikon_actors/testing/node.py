"""A node for tests: on the memory store, in one loop, under the clock of the test."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import trio

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.record import Job, from_us, to_us
from kathikon_actors.jobs.states import TERMINAL_STATES, State
from kathikon_actors.node.app import App
from kathikon_actors.node.children import node_children
from kathikon_actors.node.node import Node
from kathikon_actors.node.opening import run_node
from kathikon_actors.node.state import NodeState
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.memory_data import MemoryData

__all__ = ["Mode", "drain", "open_test_node"]

Mode = Literal["run", "manual", "inline"]
"""`run`: jobs run as on any node. `manual`: they wait until `drain`. `inline`: insert returns when the job has run."""

START: Final = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
LEASE: Final = 3600.0
PAGE: Final = 1_000
UNENDED: Final[tuple[State, ...]] = ("scheduled", "retryable", "available", "executing")


@asynccontextmanager
async def open_test_node(
    app: App, *, mode: Mode = "run", now: dt.datetime | None = None, name: str = "test"
) -> AsyncIterator[Node]:
    """Run a node that keeps everything in memory and starts no process.

    Jobs run in the test's own loop, plain functions too; so do middleware and `on_discard`. Time is that of trio: under
    a `MockClock` (pytest-trio's `autojump_clock`) backoffs, schedules, cron ticks and timeouts take no real time. What
    needs a process (a crash, a blocked loop) is tested on a real node.

    Args:
        app: as it is; the isolation of its queues does not count here.
        mode: see `Mode`.
        now: what the node's clock says when it starts, aware; default: midnight UTC of the first of January 2030, so
            that two runs are alike.
        name: the node's name.

    Raises:
        BadConfiguration: the app does not fit, or an unknown mode.

    Example:
        ```python
        async def test_a_failed_charge_is_tried_again(autojump_clock):
            async with open_test_node(shop.app) as node:
                job = await node.insert(charge.new("INV-7"))
                done = await node.wait(job.id, timeout=3600)    # virtual seconds
                assert done.attempt == 2
        ```
    """
    if mode not in ("run", "manual", "inline"):
        raise BadConfiguration(f'open_test_node: mode is {mode!r}; give "run", "manual" or "inline"')
    if not isinstance(app, App):
        raise BadConfiguration(f"open_test_node takes an App, not {app!r}")
    began, start = trio.current_time(), to_us(START if now is None else now)

    def clock() -> int:
        return start + round((trio.current_time() - began) * 1e6)

    store = MemoryStore(MemoryData(clock=clock))
    state = NodeState(
        app, app.definitions(), store, name, LEASE, clock=clock, monotonic=trio.current_time, one_loop=True
    )
    async with run_node(state, node_children(state, None), shutdown_timeout=25.0, insert_timeout=30.0) as node:
        if mode == "manual":
            for queue in app.queues:
                await node.pause(queue)
        elif mode == "inline":
            node.insert = _inline(node)  # type: ignore[method-assign]
        yield node


async def drain(node: Node, *, with_scheduled: bool = False, timeout: float = 300.0) -> Counter[str]:
    """Run all that is due, and what that inserts; give how many jobs ended in each state since.

    Args:
        node: also one whose queues are paused, such as one in `manual` mode: they are again afterwards.
        with_scheduled: also what is due later, waiting for its time (which a virtual clock makes short).
        timeout: seconds that each thing has once it is due.

    Raises:
        QueueTimeout, WaitTimeout: something is still due.

    Example:
        ```python
        async with open_test_node(shop.app, mode="manual") as node:
            await sign_up(node, "ada@example.org")
            assert await drain(node) == {"completed": 1}
        ```
    """
    before = {job.id for job in await _ended(node)}
    paused = [queue.name for queue in await node.queues() if queue.paused]
    for name in paused:
        await node.resume(name)
    try:
        await node.drain(timeout=timeout)
        while with_scheduled and (waiting := await node.list(state=UNENDED, limit=PAGE)):
            first = min(waiting, key=lambda job: job.scheduled_at)
            ahead = (first.scheduled_at - _now(node)).total_seconds()
            await node.wait(first.id, timeout=max(0.0, ahead) + timeout)
    finally:
        with trio.CancelScope(shield=True):
            for name in paused:
                await node.pause(name)
    return Counter(job.state for job in await _ended(node) if job.id not in before)


def _now(node: Node) -> dt.datetime:
    return from_us(node._state.clock())  # noqa: SLF001 the clock of the test


async def _ended(node: Node) -> list[Job]:
    found: list[Job] = []
    after = None
    while page := await node.list(state=TERMINAL_STATES, after=after, newest_first=False, limit=PAGE):
        found += page
        after = page[-1].id
    return found


def _inline(node: Node) -> Any:
    insert = node.insert

    async def insert_and_run(
        job: object, args: Mapping[str, Any] | None = None, *, connection: object = None, **options: Any
    ) -> Job:
        inserted = await insert(job, args, connection=connection, **options)
        while inserted.state in ("available", "executing"):
            await trio.sleep(0.001)
            inserted = await node.get(inserted.id)
        return inserted

    return insert_and_run
