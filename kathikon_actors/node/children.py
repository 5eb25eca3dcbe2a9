"""The children of a node's tree, in the order in which they start."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn, cast

import trio

from kathikon_actors import faults
from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken, StoreUnavailable
from kathikon_actors.node.actors import run_actors
from kathikon_actors.node.broadcaster import Announcements, Broadcaster
from kathikon_actors.node.claimer import Claimer
from kathikon_actors.node.commands import Commands
from kathikon_actors.node.cron_clock import CronClock
from kathikon_actors.node.inside import Inside
from kathikon_actors.node.intake import Intake
from kathikon_actors.node.limiter import Limiter
from kathikon_actors.node.manage import take_up_doubtful
from kathikon_actors.node.mourning import Wake
from kathikon_actors.node.pruner import Pruner
from kathikon_actors.node.queue_keeper import QueueKeeper, load_queues
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
from kathikon_actors.store.journal import FLUSH_TIMEOUT, Journal
from kathikon_actors.store.protocol import Membership
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry.events import NodeChanged, Recovered, StoreCut, StoreReopened
from supervisors import ChildSpec, Supervisor, supervisor_spec

__all__ = ["launch_zygote", "node_children"]

logger = logging.getLogger(__name__)

EXPIRE_EVERY = 0.25
"""Seconds between two looks for inserts whose time is up."""

LEAVE_TIMEOUT = 2.0
"""Seconds that a stopping node takes to end its lease and close its connections."""

STOP_SERVER_TIMEOUT = 15.0
"""Seconds that an embedded server has for its last checkpoint."""


def node_children(state: NodeState, server: EmbeddedServer | None) -> list[ChildSpec]:
    """Give the specs of everything that runs in a node.

    Args:
        state: what they share.
        server: the embedded server, when the node has one of its own.
    """
    store = [ChildSpec("table", _table, args=(state,), child_intensity=(0, 1.0))]
    if server is not None:
        store.append(ChildSpec("server", _server, args=(state, server), shutdown=STOP_SERVER_TIMEOUT + 2.0))
    store += [
        ChildSpec("database", _database, args=(state,)),
        ChildSpec("membership", _membership, args=(state,)),
        ChildSpec("journal", _journal, args=(state,), shutdown=FLUSH_TIMEOUT + 2.0),
    ]
    children = [
        supervisor_spec("store", store, strategy="rest_for_one"),
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
    return children


async def _table(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Hold the jobs. Its end ends everything that stands on it: the store gives up and the node starts again."""
    table = state.table = Table({name: border_of(queue) for name, queue in state.queues.items()})
    table.on_stored, table.on_progress = state.watch.inserted, state.watch.progressed
    table.on_ended = state.figures.committed
    table.mourners = state.wake = Wake(state.mourned_as, table)
    state.membership = None
    state.announcements = Announcements()
    state.gatekeeper = Gatekeeper(state.queues, state.definitions, state.monotonic, bus=state.bus)
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


async def _server(
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


async def _database(state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
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
        with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
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


async def _membership(state: NodeState, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
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
            await _start_again(state)
    renewed = trio.current_time()
    task_status.started(membership.epoch)
    try:
        while True:
            await trio.sleep_until(renewed + lease / 3)
            begun, now = trio.current_time(), time.monotonic()
            if now > state.held_until:
                # We were stopped. What ran is dead, and others may have what we held: we are another life now.
                await _start_again(state)
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
    crew = Crew(
        state.queues[name],
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
    crew.draining = state.draining
    crew.doors = state.doors
    crew.paused = name in state.paused
    if state.queues[name].broadcast:
        crew.announce = state.announcements.offer
    if state.gatekeeper is not None and state.gatekeeper.concerns(name):
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
        await _start_again(state)


async def _broadcaster(
    state: NodeState, *, task_status: trio.TaskStatus[Broadcaster] = trio.TASK_STATUS_IGNORED
) -> None:
    """Announce the jobs of broadcast queues, and take this node's own."""
    try:
        await Broadcaster(state).run(task_status=task_status)
    except LeaseLost:
        await _start_again(state)


async def _limiter(state: NodeState, *, task_status: trio.TaskStatus[Limiter] = trio.TASK_STATUS_IGNORED) -> None:
    """Speak with the store about limits."""
    assert state.gatekeeper is not None
    try:
        await Limiter(state, state.gatekeeper).run(task_status=task_status)
    except LeaseLost:
        await _start_again(state)


async def _rescuer(state: NodeState, *, task_status: trio.TaskStatus[Rescuer] = trio.TASK_STATUS_IGNORED) -> None:
    """Take over what dead nodes left."""
    assert state.intake is not None
    try:
        await Rescuer(state, state.intake).run(task_status=task_status)
    except LeaseLost:
        await _start_again(state)


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


async def _start_again(state: NodeState) -> NoReturn:
    """Have the table end, and with it all that works under the epoch that was replaced; we are restarted after it."""
    state.lease_lost.set()
    await trio.sleep_forever()
