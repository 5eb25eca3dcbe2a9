"""Async jobs in the node's own loop: no crash isolation, no copy of anything, and no way to stop what never awaits.

The jobs of a queue with `isolation="task"` are given, watched and settled by the same `Runner` as those of a worker
process; what stands in for the process is `InLoop`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

import trio

from kathikon_actors.processes.async_run import AsyncRun
from kathikon_actors.processes.channel import leave_forked_child
from kathikon_actors.processes.control import Kind
from kathikon_actors.processes.execution import Executable, Executables
from kathikon_actors.processes.messages import FromWorker, Reply, Report, Run, SabotagedRun, Why
from kathikon_actors.processes.sabotage import sabotaged
from kathikon_actors.queue.patience import TICK
from kathikon_actors.queue.runner import Runner

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.queue.crew import Crew

__all__ = ["InLoop", "serve_in_loop"]

logger = logging.getLogger(__name__)

SLOW_TICK = 1.0
"""Seconds between two looks at what runs under a virtual clock, where each look is a step."""


class InLoop:
    """Runs async jobs as tasks of a nursery.

    Args:
        nursery: where they run.
        executables: the workers by name.
        slots: gives how many may run at once, which may change.
        monotonic: gives seconds; timeouts follow it.
        takes_plain: plain functions run here too, and block the loop while they do: for tests.

    Attributes:
        pid: of the node itself.
    """

    kind: Kind = "async"

    def __init__(
        self,
        nursery: trio.Nursery,
        executables: Executables,
        slots: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        takes_plain: bool = False,
    ) -> None:
        self.pid = os.getpid()
        self._monotonic = monotonic
        self._takes_plain = takes_plain
        self._begun: dict[int, float] = {}
        self._nursery = nursery
        self._executables = executables
        self._slots = slots
        self._runs: dict[int, AsyncRun] = {}
        self._asked: dict[int, None] = {}
        self._given_up: set[int] = set()
        self._said: list[FromWorker] = []
        self._news = trio.Event()
        self._busy = trio.Event()

    def __repr__(self) -> str:
        return f"<InLoop {self.pid}: {len(self._runs)} run, {len(self._given_up)} were given up>"

    @property
    def slots(self) -> int:
        """How many runs it executes at once; what does not end though it was given up keeps its place."""
        return self._slots() - len(self._given_up)

    def send(self, messages: Sequence[Run | Reply]) -> None:
        """Start runs, each as a task, and hand out answers."""
        for message in messages:
            if isinstance(message, Reply):
                asker = self._runs.get(message.seq)
                if asker is not None:
                    asker.hear(message)
                continue
            if isinstance(message, SabotagedRun):
                self._start_sabotaged(message)
            else:
                self._start(message)

    def _start_sabotaged(self, message: SabotagedRun) -> None:
        """Have faults strike this run; one that kills would kill the node, and who arms it means a worker process."""
        if any(order.kill for order in message.orders):
            problem = "a fault with kill=True met a job that runs in the node itself, where there is no process to kill"
            self._say(Report(message.seq, "failed", 0.0, kind="fault", message=problem))
            return
        with sabotaged(self._executables.by_name, message):
            self._start(message)

    def _start(self, message: Run) -> None:
        seq, record = message.seq, message.record
        executable = self._executables.by_name.get(record.worker)
        if executable is None:
            self._say(self._executables.report_unknown(seq, record))
        elif not (executable.definition.is_async or self._takes_plain):
            problem = f"worker {record.worker} is a plain function, and its queue runs async ones in the node"
            self._say(Report(seq, "failed", 0.0, kind="isolation", message=problem))
        else:
            picture = copy(record)  # the node's own goes on changing; what the job sees of it does not
            run = self._runs[seq] = AsyncRun(seq, picture, self._say)
            self._begun[seq] = self._monotonic()
            self._busy.set()
            self._nursery.start_soon(self._perform, run, picture, executable, name=record.worker)

    async def receive(self) -> list[FromWorker]:
        """Wait for the next reports. A cancelled call loses none."""
        await self._news.wait()
        return self.take()

    def take(self) -> list[FromWorker]:
        """Give the reports that are there."""
        self._news = trio.Event()
        said, self._said = self._said, []
        return said

    async def busy(self) -> None:
        """Wait until something runs."""
        while not self._runs:
            self._busy = trio.Event()
            await self._busy.wait()

    def running(self) -> list[tuple[int, int]]:
        """Give `(seq, started ns)` of what is being executed."""
        return [(seq, int(self._begun[seq] * 1e9)) for seq in self._runs]

    def last_ended(self) -> dict[int, bool]:
        """No report is ever lost here."""
        return {}

    def interrupt(self, seq: int, why: Why) -> None:
        """Cancel a run."""
        run = self._runs.get(seq)
        if run is not None:
            self._asked[seq] = None
            run.interrupt(why)

    def kill(self) -> None:
        """Give up the run that was asked to stop first: nobody can end it, its job is settled without it."""
        for seq in self._asked:
            run = self._runs.pop(seq)
            del self._begun[seq]
            del self._asked[seq]
            self._given_up.add(seq)
            logger.error(
                "job %s holds its cancellation back and goes on in the node; its place is taken until it ends",
                run.job_id.hex(),
            )
            self._say(Report(seq, "interrupted", (time.monotonic_ns() - run.started) / 1e9, kind=run.why))
            return

    def revoke_from(self, seq: int) -> None:
        """Nothing waits here: each run starts when it is given."""

    def unrevoke(self) -> None:
        """See `revoke_from`."""

    def resident_bytes(self) -> int | None:
        """The node's own memory is nobody's job."""
        return None

    async def _perform(self, run: AsyncRun, record: Record, executable: Executable) -> None:
        report = await run.perform(record, executable, self._leave_if_forked)
        if run.seq in self._given_up:
            self._given_up.discard(run.seq)
            self._news.set()  # there is room again
            logger.warning("job %s, which was given up, has ended after all", run.job_id.hex())
        else:
            del self._runs[run.seq], self._begun[run.seq]
            self._asked.pop(run.seq, None)
            self._say(report)

    def _say(self, message: FromWorker) -> None:
        self._said.append(message)
        self._news.set()

    def _leave_if_forked(self, failure: BaseException | None) -> None:
        """A job that forked the node and came back twice must not make a second node."""
        if os.getpid() != self.pid:
            leave_forked_child(failure)


async def serve_in_loop(crew: Crew, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run the jobs of a queue here, until its pool stops."""
    executables = crew.executables()
    runner: Runner | None = None
    place: InLoop | None = None
    try:
        async with trio.open_nursery() as nursery:
            place = InLoop(
                nursery, executables, lambda: crew.queue.concurrency, crew.monotonic, takes_plain=crew.takes_plain
            )
            runner = Runner(
                place,
                crew.table,
                crew.node,
                crew.pace,
                crew.quarantine,
                crew.clock,
                crew.backoff,
                on_ended=None if crew.gatekeeper is None else crew.gatekeeper.ended,
            )
            crew.join(runner)
            nursery.start_soon(_watch, place, runner, crew)
            task_status.started()
            while True:
                runner.hear(await place.receive())
                crew.wake()
    finally:
        if place is not None and runner is not None:
            runner.retire()
            runner.hear(place.take())
            runner.abandon()
            crew.leave(runner)


async def _watch(place: InLoop, runner: Runner, crew: Crew) -> None:
    tick = SLOW_TICK if crew.takes_plain else TICK
    while True:
        await place.busy()
        await trio.sleep(tick)
        if not runner.idle:
            runner.watch(crew.monotonic())
