"""The children of a node's tree, in the order in which they start."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from functools import partial
from typing import Any, cast

import trio

from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.node.actors import run_actors
from kathikon_actors.node.broadcaster import Announcements, Broadcaster
from kathikon_actors.node.claimer import Claimer
from kathikon_actors.node.commands import Commands
from kathikon_actors.node.cron_clock import CronClock
from kathikon_actors.node.database import STOP_SERVER_TIMEOUT, keep_open, run_server
from kathikon_actors.node.declarer import declare
from kathikon_actors.node.forwarder import Forwarder
from kathikon_actors.node.holding import hold_membership, start_again
from kathikon_actors.node.inside import Inside
from kathikon_actors.node.limiter import Limiter
from kathikon_actors.node.mourning import Wake
from kathikon_actors.node.pruner import Pruner
from kathikon_actors.node.queue_keeper import QueueKeeper
from kathikon_actors.node.rescuer import Rescuer
from kathikon_actors.node.scheduler import LONGEST_SLEEP, Scheduler
from kathikon_actors.node.state import NodeState
from kathikon_actors.processes.execution import Executables
from kathikon_actors.processes.handle import Zygote
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.gatekeeper import Gatekeeper
from kathikon_actors.queue.one_loop import LoopZygote
from kathikon_actors.queue.tree import queue_spec
from kathikon_actors.store.border import border_of
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.store.event_post import EventPost
from kathikon_actors.store.journal import FLUSH_TIMEOUT, Journal
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry.events import NodeChanged
from supervisors import ChildSpec, Supervisor, supervisor_spec

__all__ = ["launch_zygote", "node_children"]

logger = logging.getLogger(__name__)

EXPIRE_EVERY = 0.25
"""Seconds between two looks for inserts whose time is up."""


def node_children(state: NodeState, server: EmbeddedServer | None) -> list[ChildSpec]:
    """Give the specs of everything that runs in a node.

    Args:
        state: what they share.
        server: the embedded server, when the node has one of its own.
    """
    store = [ChildSpec("table", _table, args=(state,), child_intensity=(0, 1.0))]
    if server is not None:
        store.append(ChildSpec("server", run_server, args=(state, server), shutdown=STOP_SERVER_TIMEOUT + 2.0))
    store += [
        ChildSpec("database", keep_open, args=(state,)),
        ChildSpec("membership", hold_membership, args=(state,)),
        ChildSpec("journal", _journal, args=(state,), shutdown=FLUSH_TIMEOUT + 2.0),
    ]
    children = [
        supervisor_spec("store", store, strategy="rest_for_one"),
        ChildSpec("declarer", declare, args=(state,)),
        ChildSpec("inside", _inside, args=(state,)),
        ChildSpec("zygote", _zygote, args=(state,)),
        _queues_spec(state),
        ChildSpec("mourners", _mourners, args=(state,)),
        ChildSpec("scheduler", _scheduler, args=(state,)),
        ChildSpec("claimer", _claimer, args=(state,)),
        supervisor_spec(
            "maintenance",
            [
                ChildSpec("rescuer", _rescuer, args=(state,)),
                ChildSpec("pruner", Pruner(state).run),
                ChildSpec("figures", state.figures.run, args=(state,)),
            ],
            max_restarts=10,
            max_seconds=5.0,
        ),
        ChildSpec("queue keeper", _queue_keeper, args=(state,)),
        ChildSpec("commands", _commands, args=(state,)),
        ChildSpec("leadership", state.leadership.run, args=(state,)),
        ChildSpec("limiter", _limiter, args=(state,)),
        ChildSpec("broadcaster", _broadcaster, args=(state,)),
        ChildSpec("crons", _crons, args=(state,)),
    ]
    children.append(ChildSpec("actors", run_actors, args=(state,), type="supervisor", shutdown=math.inf))
    if state.app.children:
        children.append(supervisor_spec("children", list(state.app.children)))
    children.append(ChildSpec("telemetry", state.bus.serve))
    if state.store.post is not None:
        children.append(ChildSpec("forwarder", _forwarder, args=(state, state.store.post)))
    return children


async def _table(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Hold the jobs. Its end ends everything that stands on it: the store gives up and the node starts again."""
    table = state.table = Table({name: border_of(queue) for name, queue in state.queues.items()})
    table.on_stored, table.on_progress = state.watch.inserted, state.watch.progressed
    table.on_ended, table.on_failed = state.figures.ended, state.figures.failed
    table.mourners = state.wake = Wake(state.mourned_as, table)
    state.membership = None
    state.announcements = Announcements()
    state.gatekeeper = Gatekeeper(state.definitions, state.monotonic, bus=state.bus)
    state.lease_lost = trio.Event()
    try:
        task_status.started()
        while not state.lease_lost.is_set():
            with trio.move_on_after(state.backstop(EXPIRE_EVERY)):
                await state.lease_lost.wait()
            table.expire(trio.current_time())
        lost = state.the_membership()
        state.bus.emit(NodeChanged(action="lease_lost"))
        raise LeaseLost(lost.node, lost.epoch)
    finally:
        table.close()


async def _journal(state: NodeState, *, task_status: trio.TaskStatus[Journal] = trio.TASK_STATUS_IGNORED) -> None:
    """Commit."""
    link = state.link
    journal = state.journal = Journal(
        state.the_table(),
        state.store,
        state.the_membership(),
        link.reopened,
        lambda: link.is_closed,
        state.bus,
        snapshot_interval=state.snapshot_interval,
    )
    await journal.run(task_status=task_status)


def launch_zygote(state: NodeState) -> Zygote:
    """Start the fork server; the first one imports the workers while the store is being opened."""
    keys = () if state.app.keyring is None else state.app.keyring.raw
    return Zygote.launch(list(state.definitions.values()), middleware=state.app.middleware, keys=keys)


async def _inside(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve what running jobs ask."""
    await Inside(state).run(task_status=task_status)


async def _zygote(state: NodeState, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Run the fork server."""
    if state.one_loop:
        stand_in = LoopZygote(_executables(state))
        state.zygote = cast("Zygote", stand_in)
        task_status.started(stand_in.pid)
        await stand_in.serve()
    launched, state.launched = state.launched or launch_zygote(state), None
    zygote = state.zygote = await launched.ready()
    zygote.hold(state.held_until)
    try:
        task_status.started(zygote.pid)
        await zygote.serve()
    finally:
        with trio.CancelScope(shield=True):
            await zygote.aclose()


def _executables(state: NodeState) -> Executables:
    """Make the workers ready to be called in the node's own loop."""
    return Executables(dict(state.definitions), {}, state.app.middleware, state.app.keyring)


def _crew(state: NodeState, name: str) -> Crew:
    leaves = state.removing.get(name)  # it may crash then, too, and must not take the other queues with it
    queue = leaves or state.queues[name]
    crew = Crew(
        queue,
        state.the_table(),
        state.name,
        state.clock,
        state.kind_of,
        state.backoff,
        bus=state.bus,
        executables=lambda: _executables(state),
        monotonic=state.monotonic,
        takes_plain=state.one_loop,
    )
    crew.draining = state.draining or leaves is not None
    crew.doors = state.doors
    crew.paused = name in state.paused
    if queue.broadcast:
        crew.announce = state.announcements.offer
    if state.gatekeeper is not None and state.gatekeeper.concerns(queue):
        crew.gatekeeper = state.gatekeeper
    state.crews[name] = crew
    return crew


async def _mourners(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Call `on_discard`."""
    assert state.wake is not None
    await state.wake.run(state.the_zygote, task_status=task_status)


async def _scheduler(state: NodeState, *, task_status: trio.TaskStatus[Scheduler] = trio.TASK_STATUS_IGNORED) -> None:
    """Run the timer of due jobs."""
    await Scheduler(state.the_table(), state.clock, state.backstop(LONGEST_SLEEP)).run(task_status=task_status)


async def _crons(state: NodeState, *, task_status: trio.TaskStatus[CronClock] = trio.TASK_STATUS_IGNORED) -> None:
    """Fire cron entries."""
    await CronClock(state).run(task_status=task_status)


async def _claimer(state: NodeState, *, task_status: trio.TaskStatus[Claimer] = trio.TASK_STATUS_IGNORED) -> None:
    """Claim what nobody owns."""
    assert state.intake is not None
    try:
        await Claimer(state, state.intake).run(task_status=task_status)
    except LeaseLost:
        await start_again(state)


async def _broadcaster(
    state: NodeState, *, task_status: trio.TaskStatus[Broadcaster] = trio.TASK_STATUS_IGNORED
) -> None:
    """Announce the jobs of broadcast queues, and take this node's own."""
    try:
        await Broadcaster(state).run(task_status=task_status)
    except LeaseLost:
        await start_again(state)


async def _limiter(state: NodeState, *, task_status: trio.TaskStatus[Limiter] = trio.TASK_STATUS_IGNORED) -> None:
    """Speak with the store about limits."""
    assert state.gatekeeper is not None
    try:
        await Limiter(state, state.gatekeeper).run(task_status=task_status)
    except LeaseLost:
        await start_again(state)


async def _rescuer(state: NodeState, *, task_status: trio.TaskStatus[Rescuer] = trio.TASK_STATUS_IGNORED) -> None:
    """Take over what dead nodes left."""
    assert state.intake is not None
    try:
        await Rescuer(state, state.intake).run(task_status=task_status)
    except LeaseLost:
        await start_again(state)


def _queues_spec(state: NodeState) -> ChildSpec:
    """Give the supervisor of the queues; started again it runs those that the node runs then."""
    spec = supervisor_spec(
        "queues", lambda: [_queue_spec(state, name) for name in state.queues], max_restarts=10, max_seconds=5.0
    )

    async def run(*args: Any, task_status: trio.TaskStatus[Supervisor] = trio.TASK_STATUS_IGNORED) -> None:
        class Introduce:
            def started(self, tree: Supervisor) -> None:
                state.queue_tree = tree
                task_status.started(tree)

        await spec.start(*args, task_status=Introduce())

    return replace(spec, start=run)


def _queue_spec(state: NodeState, name: str) -> ChildSpec:
    return queue_spec(partial(_crew, state, name), name, state.the_zygote)


async def _queue_keeper(
    state: NodeState, *, task_status: trio.TaskStatus[QueueKeeper] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep the queues as operators want them."""
    await QueueKeeper(state, partial(_queue_spec, state)).run(task_status=task_status)


async def _commands(state: NodeState, *, task_status: trio.TaskStatus[Commands] = trio.TASK_STATUS_IGNORED) -> None:
    """Carry out what operators ask for from elsewhere."""
    await Commands(state).run(task_status=task_status)


async def _forwarder(
    state: NodeState, post: EventPost, *, task_status: trio.TaskStatus[Forwarder] = trio.TASK_STATUS_IGNORED
) -> None:
    """Send events to programs outside that listen."""
    await Forwarder(state, post).run(task_status=task_status)
