"""Keeps the queues of a node as operators want them: paused, scaled, added, removed; for all nodes alike.

What is wanted lies in the store. It is loaded before the first queue starts, so that a paused queue runs nothing after
a restart either; afterwards a notice tells of changes, and a poll finds those whose notice was lost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from kathikon_actors.jobs.errors import BadConfiguration, StoreUnavailable
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.store.border import border_of
from kathikon_actors.store.queue_store import QUEUES
from kathikon_actors.telemetry.events import QueueChanged
from supervisors import ChildNotFound, SupervisionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kathikon_actors.node.state import NodeState
    from kathikon_actors.store.queue_store import QueueSettings
    from supervisors import ChildSpec

__all__ = ["QueueKeeper", "child_id", "load_queues", "wanted_queues"]

logger = logging.getLogger(__name__)

POLL: Final = 3.0
"""Seconds between two looks when no notice comes."""

GIVE_BACK_EVERY: Final = 0.05
"""Seconds between two tries to give back jobs of a queue that was removed: some still have to be committed."""


def child_id(queue: str) -> str:
    """Give the id of a queue's child in the supervision tree."""
    return f"queue {queue}"


def wanted_queues(declared: Mapping[str, Queue], settings: Mapping[str, QueueSettings]) -> dict[str, Queue]:
    """Give the queues that a node is to run, from what its app declares and what operators have set."""
    wanted = dict(declared)
    for name, setting in settings.items():
        if setting.declaration is not None:
            try:
                wanted[name] = msgspec.json.decode(setting.declaration, type=Queue)
            except (msgspec.DecodeError, BadConfiguration) as error:
                logger.warning('queue "%s" was added by a program that this one does not understand: %s', name, error)
        if setting.removed:
            wanted.pop(name, None)
        elif name in wanted and setting.concurrency is not None:
            wanted[name] = replace(wanted[name], concurrency=setting.concurrency)
    return wanted


async def load_queues(state: NodeState) -> None:
    """Take what operators have set before anything of this node's life runs.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    paused = [queue.name for queue in state.declared_queues.values() if queue.paused]
    if paused:
        await state.store.pause_new(paused)
    settings = await state.store.queue_settings()
    wanted = wanted_queues(state.declared_queues, settings)
    state.paused = {name for name, setting in settings.items() if setting.paused}
    state.queues.clear()
    state.queues.update(wanted)
    for name in wanted:  # added again before it was gone
        state.removing.pop(name, None)
    table = state.table
    if table is not None:
        for name in table.borders.keys() - wanted.keys():
            del table.borders[name]
        for name in wanted.keys() - table.borders.keys():
            table.bound(name, border_of(wanted[name]))


class QueueKeeper:
    """Applies what operators have set until cancelled.

    Args:
        state: of the node.
        spec: makes the child that runs a queue.
    """

    def __init__(self, state: NodeState, spec: Callable[[str], ChildSpec]) -> None:
        self._state = state
        self._spec = spec
        self._wake = trio.Event()
        self._lock = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._published: dict[str, Queue] | None = None

    async def run(self, *, task_status: trio.TaskStatus[QueueKeeper] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for changes and apply them."""
        self._state.queue_keeper = self
        try:
            async with trio.open_nursery() as self._nursery:
                for name in self._state.removing:  # by an earlier life of this child
                    self._nursery.start_soon(self._remove, name)
                started = False
                while True:
                    self._wake = trio.Event()
                    try:
                        await self._state.store.listen_control(QUEUES, self._wake_up)
                        await self.refresh()
                        available = True
                    except StoreUnavailable:
                        available = False
                    if not started:  # with what this node runs told to all, if the store answers
                        started = True
                        task_status.started(self)
                    if not available:
                        await self._state.link.reopened()
                        continue
                    with trio.move_on_after(self._state.backstop(POLL)):
                        await self._wake.wait()
        finally:
            self._nursery = None
            if self._state.queue_keeper is self:
                self._state.queue_keeper = None

    def _wake_up(self) -> None:
        self._wake.set()

    async def refresh(self) -> None:
        """Load what is set now and apply it; a removed queue is still finishing what runs when this returns.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        async with self._lock:
            state = self._state
            settings = await state.store.queue_settings()
            if state.draining:
                return
            wanted = wanted_queues(state.declared_queues, settings)
            self._pause({name for name, setting in settings.items() if setting.paused})
            for name in state.queues.keys() - wanted.keys():
                self._begin_to_remove(name)
            for name, queue in wanted.items():
                if name not in state.queues:
                    if name not in state.removing:
                        await self._add(queue)
                elif state.queues[name].concurrency != queue.concurrency:
                    self._scale(queue)
            runs = {**state.removing, **state.queues}
            publish = state.store.publish_queues
            if self._published != runs and await publish(state.the_membership(), runs.values()):
                self._published = runs

    def _pause(self, paused: set[str]) -> None:
        state = self._state
        state.paused = paused
        for name, crew in state.crews.items():
            if crew.paused != (name in paused):
                if name in paused:
                    crew.pause()
                else:
                    crew.resume()
                self._tell(name, "paused" if name in paused else "resumed")

    def _scale(self, queue: Queue) -> None:
        self._state.queues[queue.name] = queue
        crew = self._state.crews.get(queue.name)
        if crew is not None:
            crew.scale(queue)
        self._tell(queue.name, "scaled", queue.concurrency)

    async def _add(self, queue: Queue) -> None:
        state, name = self._state, queue.name
        tree = state.queue_tree
        if tree is None:
            return
        state.queues[name] = queue
        state.the_table().bound(name, border_of(queue))
        try:
            await tree.start_child(self._spec(name))
        except SupervisionError:
            logger.exception('queue "%s" was added and cannot be started', name)
            del state.queues[name]
            return
        self._tell(name, "added")

    def _begin_to_remove(self, name: str) -> None:
        # From here on nothing of it is inserted, claimed or started.
        self._state.removing[name] = self._state.queues.pop(name)
        assert self._nursery is not None
        self._nursery.start_soon(self._remove, name)

    async def _remove(self, name: str) -> None:
        """Wait for what runs, then take the queue out of the tree and give its jobs back."""
        state = self._state
        if name in state.crews:
            state.crews[name].drain()
            self._tell(name, "draining")
            while not state.crews[name].idle:  # another one each time that the queue's own child is started again
                await trio.sleep(0.01)
        tree = state.queue_tree
        if tree is not None:
            try:
                await tree.terminate_child(child_id(name))
                await tree.delete_child(child_id(name))
            except ChildNotFound:
                pass
            except SupervisionError:
                logger.exception('queue "%s" runs nothing more, but what ran it cannot be stopped', name)
        state.crews.pop(name, None)
        await self._give_back(name)
        state.the_table().borders.pop(name, None)
        state.removing.pop(name, None)
        self._tell(name, "removed")
        self._wake_up()

    async def _give_back(self, name: str) -> None:
        while True:
            intake = self._state.intake
            try:
                if intake is not None and await intake.give_queue_back(name):
                    return
            except StoreUnavailable:
                await self._state.link.reopened()
            await trio.sleep(GIVE_BACK_EVERY)

    def _tell(self, queue: str, action: str, value: int | None = None) -> None:
        logger.info('queue "%s" is %s', queue, action)
        self._state.bus.emit(QueueChanged(queue=queue, action=action, value=value))
