"""The node: what a program holds of the running tree."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import trio

from kathikon_actors.actors.system import ActorSystem
from kathikon_actors.jobs.actions import check_timeout
from kathikon_actors.jobs.batch import Batch
from kathikon_actors.jobs.errors import (
    JobNotFound,
    StoreUnavailable,
    WaitTimeout,
)
from kathikon_actors.jobs.ids import IdSource, as_uuid, raw_id
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.jobs.sealing import Keyring
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.node.composition import Composition
from kathikon_actors.node.crons import Crons, Schedules
from kathikon_actors.node.inserting import NodeInserts
from kathikon_actors.node.manage import JobActions
from kathikon_actors.node.operations import Operations
from kathikon_actors.node.reporting import NodeReports
from kathikon_actors.node.rotation import Rotation
from kathikon_actors.node.state import NodeState
from kathikon_actors.node.telemetry import Telemetry
from kathikon_actors.store.cron_store import CronStore
from kathikon_actors.store.graph import BatchStore
from kathikon_actors.store.protocol import Counts, Store
from kathikon_actors.store.rotating import SealedStore
from kathikon_actors.telemetry.events import NodeChanged
from supervisors import Supervisor, TreeNode

__all__ = ["Node", "NodeStatistics"]

logger = logging.getLogger(__name__)

UNOWNED_POLL: Final = 0.2
"""Seconds between two looks at a job that this node does not own."""


@dataclass(frozen=True)
class NodeStatistics:
    """What a node is doing, from memory.

    Attributes:
        jobs: that it owns and that have not ended.
        running: given to worker processes.
        uncommitted_inserts: rows that wait for the journal or are in flight; likewise `uncommitted_outcomes`.
        commits: batches committed since the journal started, with `rows` rows in all.
        cuts: how often the store was cut off.
        degraded: queues whose worker processes keep dying; each is tried again after a pause.
    """

    jobs: int
    running: int
    uncommitted_inserts: int
    uncommitted_outcomes: int
    commits: int
    rows: int
    cuts: int
    degraded: tuple[str, ...] = ()


class Node(NodeInserts, JobActions, Operations, NodeReports, Composition, Telemetry, Schedules, Rotation):
    """A running node. Made by `open_node`."""

    def __init__(self, state: NodeState, insert_timeout: float) -> None:
        self._state = state
        self._tree: Supervisor | None = None
        self._insert_timeout = insert_timeout
        state.system.belong_to(self)

    @property
    def name(self) -> str:
        """The node's name on its store."""
        return self._state.name

    @property
    def supervisor(self) -> Supervisor:
        """The root of the node's supervision tree."""
        assert self._tree is not None  # who holds the node is within its block
        return self._tree

    @property
    def is_up(self) -> bool:
        """Whether its whole tree has started once."""
        return self._tree is not None

    @property
    def system(self) -> ActorSystem:
        """The node's actors: `await node.system.start(Counter, name="counter")`; their snapshots are in its store."""
        return self._state.system

    def tree(self) -> TreeNode:
        """Give this node's supervision tree as plain data, at once; `Client.tree` asks any node from outside."""
        return self.supervisor.tree()

    def format_tree(self) -> str:
        """Draw the supervision tree."""
        return self.supervisor.format_tree()

    @property
    def crons(self) -> Crons:
        """The cron entries of the store: add, change, pause, resume, run now, remove, list.

        Example:
            ```python
            await node.crons.pause("nightly")
            ```
        """
        return Crons(lambda: self._state.store.crons, self._built, self._ids_and_now, self._state.app.keyring)

    def _encrypts(self, worker: str | None) -> bool:
        if self._state.app.keyring is None:
            return False
        definition = None if worker is None else self._state.definitions.get(worker)
        return definition is None or definition.encrypt is not False

    def _rotating(self) -> tuple[Keyring | None, SealedStore, CronStore]:
        store = self._state.store
        return self._state.app.keyring, store.sealed, store.crons

    def _operator(self) -> Store:
        return self._state.store

    def _queue_store(self) -> Store:
        return self._state.store

    def _own_queues(self) -> Sequence[str]:
        return list(self._state.queues)

    async def _queues_changed(self) -> None:
        keeper = self._state.queue_keeper
        if keeper is not None:
            await keeper.refresh()

    def _retention(self) -> Retention:
        return self._state.app.retention

    def _ids_and_now(self) -> tuple[IdSource, int]:
        return self._state.ids, self._state.clock()

    async def _sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    def _batch_store(self) -> BatchStore:
        return self._state.store.batches

    async def open_batch_of(self, parent: Record, batch: Batch) -> bytes:
        """Open a batch for a job that runs here, and that ends with it; give its id."""
        record = self._new_batch(batch, parent=parent)
        await self._state.store.batches.open(record)
        return record.id

    # -- looking ------------------------------------------------------------------------------------------------

    async def get(self, job_id: UUID | str) -> Job:
        """Give one job as it is now.

        Raises:
            JobNotFound: there is none with this id.
            StoreUnavailable: the store did not answer.
        """
        raw = raw_id(job_id)
        record = await self._find(raw)
        if record is None:
            raise JobNotFound(as_uuid(raw))
        return Job.of(record)

    async def wait(self, job_id: UUID | str, timeout: float = float("inf")) -> Job:
        """Wait until a job has ended and that is committed; give it in its terminal state.

        Args:
            job_id: its id.
            timeout: seconds.

        Raises:
            JobNotFound: there is none with this id.
            WaitTimeout: it did not end in time; it goes on.
            ValueError: `timeout` is no number from 0.
        """
        raw, timeout = raw_id(job_id), check_timeout(timeout)
        with trio.move_on_after(timeout):
            return await self._wait(raw)
        try:
            record = await self._find(raw)
        except StoreUnavailable:
            record = None
        raise WaitTimeout(as_uuid(raw), timeout, record.state if record is not None else "unknown")

    async def _wait(self, raw: bytes) -> Job:
        while True:
            table = self._state.table
            record = await table.wait_ended(raw) if table is not None else None
            if record is None:
                try:
                    record = await self._state.store.get(raw)
                except StoreUnavailable as error:
                    logger.warning("waiting for job %s: %s", as_uuid(raw), error)
                    await trio.sleep(UNOWNED_POLL)
                    continue
                if record is None:
                    raise JobNotFound(as_uuid(raw))
            if record.state in TERMINAL_STATES:
                return Job.of(record)
            table = self._state.table
            if table is None or raw not in table.records:
                await trio.sleep(UNOWNED_POLL)

    async def _find(self, raw: bytes) -> Record | None:
        table = self._state.table
        record = table.records.get(raw, table.unwritten.ended.get(raw)) if table is not None else None
        if record is not None:
            await trio.lowlevel.checkpoint()
            return record
        return await self._state.store.get(raw)

    async def counts(self) -> Sequence[Counts]:
        """Count jobs by queue and state, finished ones included, as committed.

        Raises:
            StoreUnavailable: the store did not answer, or is being opened again.
        """
        return await self._state.store.counts()

    def worker_pids(self) -> dict[str, Sequence[int]]:
        """Give the process ids of the worker processes by queue."""
        return {name: [runner.process.pid for runner in crew.runners] for name, crew in self._state.crews.items()}

    def statistics(self) -> NodeStatistics:
        """Count what the node is doing, from memory."""
        state = self._state
        table, journal = state.table, state.journal
        return NodeStatistics(
            jobs=len(table.records) if table is not None else 0,
            running=sum(runner.busy for crew in state.crews.values() for runner in crew.runners),
            uncommitted_inserts=table.inserts.rows if table is not None else 0,
            uncommitted_outcomes=table.outcomes.rows + len(table.unwritten) if table is not None else 0,
            commits=journal.commits if journal is not None else 0,
            rows=journal.rows if journal is not None else 0,
            cuts=state.link.cuts,
            degraded=tuple(name for name, crew in state.crews.items() if crew.degraded),
        )

    # -- stopping -----------------------------------------------------------------------------------------------

    async def _finish(self, timeout: float) -> bool:
        """Take no more work and let what runs finish; tell whether it all did within `timeout` seconds.

        All queues drain at the same time; what has not started is given back. There is no way back: the node is
        meant to be left afterwards.
        """
        self._state.draining = True
        # What becomes ready from now on is for others.
        self._state.store.attach_ready((), lambda _records: None)
        self._state.bus.emit(NodeChanged(action="draining"))
        for crew in self._state.crews.values():
            crew.drain()
        with trio.move_on_after(timeout):
            while not (all(crew.idle for crew in self._state.crews.values()) and self._state.mourned):
                await trio.sleep(0.01)
            return True
        if self._state.wake is not None:
            self._state.wake.give_up()
        for crew in self._state.crews.values():
            crew.give_up()  # else the tree, which stops one queue after the other, would wait for each by itself
        return False
