"""The worker processes of one queue that are ready to be given jobs, and what they share."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from kathikon_actors.actors.job_door import JobDoor
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.record import Record
from kathikon_actors.processes.execution import Executables
from kathikon_actors.processes.worker_process import WorkerProcess
from kathikon_actors.queue.gatekeeper import Gatekeeper
from kathikon_actors.queue.pace import Pace
from kathikon_actors.queue.runner import Kind, Runner
from kathikon_actors.queue.settle import Backoffs, Ending
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry.bus import Bus
from kathikon_actors.telemetry.events import QueueChanged
from supervisors import DynamicSupervisor, Event, RestartLimitExceeded

__all__ = ["Crew", "Doors"]

logger = logging.getLogger(__name__)


class Doors(Protocol):
    """Makes and closes the ways from worker processes to the node's actors."""

    def door(self, process: WorkerProcess) -> JobDoor:
        """Make the door of one process."""
        ...

    def close(self, door: JobDoor) -> None:
        """Its process is gone."""


class Crew:
    """Who works for one queue. Worker processes join and leave; the producer gives them jobs.

    Attributes:
        queue: the declaration.
        quarantine: ids of jobs that run alone, because one of them killed a process that ran several.
        draining: give nothing more: the node is stopping, or the queue is being removed.
        given_up: what still runs is stopped, in all worker processes at once: the node's time to stop is over.
        paused: give nothing more until it is resumed.
        rescaled: the pool may lack processes; the producer looks.
        pool: the supervisor of the worker processes, while it runs.
        monotonic: gives seconds; what runs is timed by it.
        takes_plain: plain functions run in the node's own loop too.
        executables: makes the workers ready to be called, for a queue that runs them in the node's own loop.
        bus: what happens to the queue and its processes is told there.
        wake: lets the producer look again.
        announce: of a broadcast queue: takes jobs that are to be announced to all nodes, and leaves the others.
        gatekeeper: of the node, when any job of the queue may be limited.
        doors: make the way from the jobs of a process to the node's actors, and close it.
        ready: how many jobs wait in the producer's heap; `None` while there is no producer.
        held_up: how many of them wait for a limit of their worker, by worker.
        failing: places of the pool whose processes die one after the other; each is tried again after a pause.
    """

    def __init__(
        self,
        queue: Queue,
        table: Table,
        node: str,
        clock: Callable[[], int],
        kind_of: Callable[[str], Kind],
        backoff: Backoffs,
        *,
        bus: Bus | None = None,
        executables: Callable[[], Executables] = lambda: Executables({}, {}),
        monotonic: Callable[[], float] = time.monotonic,
        takes_plain: bool = False,
    ) -> None:
        self.monotonic = monotonic
        self.takes_plain = takes_plain
        self.queue = queue
        self.table = table
        self.node = node
        self.clock = clock
        self.kind_of = kind_of if queue.isolation != "task" else _always_async
        self.executables = executables
        self.backoff = backoff
        self.bus = Bus(node) if bus is None else bus
        self.pace = Pace()
        self.quarantine: set[bytes] = set()
        self.runners: list[Runner] = []
        self.draining = False
        self.given_up = False
        self.paused = False
        self.rescaled = False
        self.pool: DynamicSupervisor | None = None
        self.wake: Callable[[], None] = _nobody
        self.ready: Callable[[], int] | None = None
        self.held_up: Callable[[], Counter[str]] = Counter
        self.announce: Callable[[Record], bool] | None = None
        self.gatekeeper: Gatekeeper | None = None
        self.doors: Doors | None = None
        self.failing: set[object] = set()

    def join(self, runner: Runner) -> None:
        """A worker process is ready."""
        self.runners.append(runner)
        self.wake()

    def leave(self, runner: Runner) -> None:
        """A worker process is gone."""
        self.runners.remove(runner)
        self.wake()

    def hear_supervisor(self, event: Event) -> None:
        """Note which place of the pool was given up for a while."""
        if isinstance(event, RestartLimitExceeded):
            if not self.failing:
                reason = f"its worker processes die one after the other, the last one: {event.reason}"
                logger.error('queue "%s" is degraded: %s', self.queue.name, reason)
                self.bus.emit(QueueChanged(queue=self.queue.name, action="degraded", reason=reason))
            self.failing.add(event.child.id)

    def recover(self, place: object) -> None:
        """A worker process in this place does its work."""
        if self.failing and place in self.failing:
            self.failing.discard(place)
            if not self.failing:
                logger.info('queue "%s" is not degraded any more', self.queue.name)
                self.bus.emit(QueueChanged(queue=self.queue.name, action="recovered"))

    @property
    def degraded(self) -> bool:
        """Whether worker processes of the queue keep dying; the others go on."""
        return bool(self.failing)

    @property
    def running(self) -> int:
        """Jobs that count against the queue's concurrency."""
        return sum(runner.busy if runner.kind == "async" else min(runner.busy, 1) for runner in self.runners)

    @property
    def idle(self) -> bool:
        """Whether no worker process has anything."""
        return all(runner.idle for runner in self.runners)

    @property
    def stands_still(self) -> bool:
        """Whether nothing runs and nothing is on its way into the store: no room in memory comes by itself."""
        return self.idle and not self.table.outcomes.rows

    def stop_job(self, job_id: bytes, why: Ending, now: float) -> bool:
        """Stop the run of one job, wherever it is; tell whether a worker process has it.

        Args:
            job_id: 16 bytes.
            why: where it ends.
            now: monotonic seconds.
        """
        return any(runner.interrupt_job(job_id, why, now) for runner in self.runners)

    def drain(self) -> None:
        """Give nothing more, and take back what has not started."""
        self.draining = True
        self._revoke_waiting()

    def give_up(self) -> None:
        """Have every worker process stop now, whatever it runs; what does not end in its grace is given back."""
        self.given_up = True

    def pause(self) -> None:
        """Give nothing more until `resume`, and take back what has not started; what runs goes on."""
        self.paused = True
        self._revoke_waiting()

    def resume(self) -> None:
        """Go on giving."""
        self.paused = False
        self.wake()

    def scale(self, queue: Queue) -> None:
        """Take another concurrency; processes with room for too many or too few jobs are replaced, each in its time."""
        self.queue = queue
        self.rescaled = True
        if queue.isolation == "process":
            for runner in [runner for runner in self.runners if runner.kind == "async" and not runner.alone]:
                runner.replace()
        self.wake()

    def _revoke_waiting(self) -> None:
        now = self.monotonic()
        for runner in self.runners:
            runner.revoke_waiting(now)

    def slots(self, index: int) -> int:
        """Give the async slots of worker process `index`, so that all of them add up to the concurrency."""
        share, rest = divmod(self.queue.concurrency, self.queue.processes)
        return max(1, share + (1 if index < rest else 0))


def _always_async(_worker: str) -> Kind:
    """In the node's own loop there is one place for all jobs; one that does not fit fails there."""
    return "async"


def _nobody() -> None:
    """The producer is being restarted; it looks at everything when it comes back."""
