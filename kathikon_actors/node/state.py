"""What the children of a node's tree share: who is there now. Each field has one writer, the child of that name."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.actors.system import ActorSystem
from kathikon_actors.jobs.backoff import default_backoff, usable_delay
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.worker import WorkerDefinition
from kathikon_actors.node.actors import JobDoors, NodeSnapshots
from kathikon_actors.node.broadcaster import Announcements
from kathikon_actors.node.figures import Figures
from kathikon_actors.node.leadership import Leadership
from kathikon_actors.node.link import Link
from kathikon_actors.store.journal import SNAPSHOT_INTERVAL
from kathikon_actors.store.memory_data import wall_clock
from kathikon_actors.telemetry.bus import Bus
from kathikon_actors.telemetry.jobs import JobWatch

if TYPE_CHECKING:
    from kathikon_actors.jobs.cron import StoredCron
    from kathikon_actors.node.app import App
    from kathikon_actors.node.intake import Intake
    from kathikon_actors.node.mourning import Wake
    from kathikon_actors.node.node import Node
    from kathikon_actors.node.queue_keeper import QueueKeeper
    from kathikon_actors.processes.handle import Zygote
    from kathikon_actors.queue.crew import Crew
    from kathikon_actors.queue.gatekeeper import Gatekeeper
    from kathikon_actors.queue.runner import Kind
    from kathikon_actors.store.journal import Journal
    from kathikon_actors.store.protocol import Membership, Store
    from kathikon_actors.store.table import Table
    from supervisors import Supervisor

__all__ = ["NodeState", "delay_after"]

logger = logging.getLogger(__name__)


HELD: Final = 0.95
"""Of the lease: worker processes that are still there then are killed."""


class NodeState:
    """The running parts of one node.

    Attributes:
        clock: gives microseconds since 1970, UTC; `monotonic` seconds that only grow.
        one_loop: nothing runs in a process of its own: for tests under a virtual clock.
        declared_queues: those of the app.
        queues: those that run here, as operators have scaled them; the same object for the node's whole life.
        removing: those that were removed, while something of them still runs or is not given back.
        defaults: of the app, with these queues.
        paused: names of queues of which nothing is started.
        queue_tree: the supervisor of the queues.
        queue_keeper: applies what operators set, `None` while it is not there.
        store: the driver behind the journal; one object for the node's whole life.
        lease: seconds.
        snapshot_interval: seconds between two writes of the jobs that are not written at once.
        declared_crons: the app's cron entries, as the store keeps them.
        bus: what happens in the node is told there; `watch` tells of the jobs.
        launched: a fork server that is starting, until the child of that name takes it.
        table: `None` until the child of that name has made it.
        membership: `None` until this life of the table has joined.
        figures: what this node has done lately.
        leadership: whether this node does the work that is done once for all nodes.
        crews: by queue.
        system: the node's actors; `doors` lead there from worker processes.
        started_before: the store was open once: from then on a cut is waited out, not reported as a failed start.
        draining: nothing new is taken or started.
        node: what the program holds, once it does.
        gatekeeper: of the node's limits; made with the table.
        announcements: jobs of broadcast queues on their way to the child `broadcaster`.
        held_until: seconds of `time.monotonic`: the lease, as this node knows it.
        declared: the store was told of the workers, or did not answer; `has_declared` when it was.
        doubtful: ids of rows that the store may have given to this node, its answer was lost.
        lease_lost: set when the store refused our epoch: everything that stands on it starts again.
        joined_before: a name that is taken now was ours: it is waited for.
    """

    def __init__(
        self,
        app: App,
        definitions: Mapping[str, WorkerDefinition],
        store: Store,
        name: str,
        lease: float,
        snapshot_interval: float = SNAPSHOT_INTERVAL,
        *,
        clock: Callable[[], int] = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
        one_loop: bool = False,
    ) -> None:
        self.app = app
        self.clock = clock
        self.monotonic = monotonic
        self.one_loop = one_loop
        self.declared_queues: Mapping[str, Queue] = app.queues
        if one_loop:
            self.declared_queues = {name: _in_loop(queue) for name, queue in app.queues.items()}
        self.queues = dict(self.declared_queues)
        self.removing: dict[str, Queue] = {}
        self.defaults = replace(app.defaults, queues=self.queues)
        self.paused: set[str] = set()
        self.queue_tree: Supervisor | None = None
        self.queue_keeper: QueueKeeper | None = None
        self.definitions = definitions
        self.store = store
        self.name = name
        self.lease = lease
        self.snapshot_interval = snapshot_interval
        self.link = Link()
        self.bus = Bus(name)
        store.telling.attach(self.bus)
        self.declared_crons: Sequence[StoredCron] = ()
        self.watch = JobWatch(self.bus, lambda record: record.node == name, store.telling)
        self.leadership = Leadership()
        self.figures = Figures()
        self.ids = IdSource()
        self.system = ActorSystem(NodeSnapshots(self))
        self.doors = JobDoors(self)
        self.table: Table | None = None
        self.membership: Membership | None = None
        self.intake: Intake | None = None
        self.journal: Journal | None = None
        self.zygote: Zygote | None = None
        self.launched: Zygote | None = None
        self.wake: Wake | None = None
        self.crews: dict[str, Crew] = {}
        self.started_before = False
        self.draining = False
        self.node: Node | None = None
        self.lease_lost = trio.Event()
        self.joined_before = False
        self.doubtful: set[bytes] = set()
        self.declared = trio.Event()
        self.has_declared = False
        self.gatekeeper: Gatekeeper | None = None
        self.announcements = Announcements()
        self.held_until = math.inf

    def hold_from(self, begun: float) -> None:
        """The lease was given or renewed by a request that was sent at `begun`, seconds of `time.monotonic`.

        Nothing runs at its end: others may have the node's jobs and tokens from then on.
        """
        self.held_until = begun + self.lease * HELD
        if self.gatekeeper is not None:
            self.gatekeeper.valid_until = self.held_until
        if self.zygote is not None:
            self.zygote.hold(self.held_until)

    def kind_of(self, worker: str) -> Kind:
        """Tell which kind of process a worker runs in; a name nobody knows is reported by a plain one."""
        definition = self.definitions.get(worker)
        return "async" if definition is not None and definition.is_async else "plain"

    def backstop(self, seconds: float) -> float:
        """Give the seconds between two looks after what may have been missed.

        In one loop nothing happens elsewhere, and under its virtual clock each look is a step of hours.
        """
        return seconds * 3600 if self.one_loop else seconds

    @property
    def mourned(self) -> bool:
        """Whether every `on_discard` that is due has run."""
        return self.wake is None or not len(self.wake)

    def mourned_as(self, worker: str) -> Kind | None:
        """Tell which kind of process calls a worker's `on_discard`; `None` when it has none."""
        definition = self.definitions.get(worker)
        if definition is None or definition.on_discard is None:
            return None
        return "async" if definition.mourns_async else "plain"

    def backoff(self, worker: str, attempt: int, error: BaseException) -> float:
        """Give the seconds until a worker's next attempt, after a crash or a timeout: its code was not there to say.

        This is the one function of the user that the node calls itself; it has to be quick.
        """
        return delay_after(self.definitions.get(worker), attempt, error)

    def the_table(self) -> Table:
        """Give the table.

        Raises:
            StoreUnavailable: the node is starting again and has none yet.
        """
        if self.table is None or self.membership is None:
            raise StoreUnavailable("the node is starting; try again in a moment")
        return self.table

    def the_membership(self) -> Membership:
        """Give the membership; children that need it start after it."""
        assert self.membership is not None
        return self.membership

    def the_zygote(self) -> Zygote:
        """Give the fork server; children that need it start after it."""
        assert self.zygote is not None
        return self.zygote


def _in_loop(queue: Queue) -> Queue:
    return replace(queue, isolation="task", processes=1, max_memory=None, max_jobs_per_process=None)


def delay_after(definition: WorkerDefinition | None, attempt: int, error: BaseException) -> float:
    """Give the seconds until the next attempt of a worker's job, by its own backoff or by the default."""
    if definition is not None and definition.backoff is not None:
        try:
            delay = usable_delay(definition.backoff(attempt, error))
        except (Exception, SystemExit):
            delay = None
            logger.exception("the backoff of worker %s failed; the default is taken", definition.name)
        if delay is not None:
            return delay
    return default_backoff(attempt, random.random())  # noqa: S311 spreads retries
