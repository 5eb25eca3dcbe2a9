"""The pool of a queue: its worker processes, each a supervised child.

A process that dies is restarted by the pool, with a delay that grows while its successors die too without having
ended a job. A process that has served long enough is not a death: its child starts a successor beside it, goes on
until it has ended what it was given, and is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

import trio

from kathikon_actors.processes.handle import WorkerDied, Zygote
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.in_loop import serve_in_loop
from kathikon_actors.queue.patience import TICK
from kathikon_actors.queue.recycling import Limits
from kathikon_actors.queue.runner import Kind, Runner
from kathikon_actors.telemetry.events import WorkerProcessChanged
from supervisors import Backoff, ChildSpec, DynamicSupervisor, SupervisorStopped, dynamic_supervisor_spec

__all__ = ["alone_specs", "pool_spec", "worker_specs"]

STOP_GRACE = 1.0
"""Seconds that a process has to end by itself when its pool stops; the node has drained it before."""

READY = 8
"""Processes that wait for a job, at the most, where each runs one job only."""

PAUSE = 2.0
"""Seconds until the next attempt after processes died in a row; the queue is degraded from then on."""

HEALTHY_AFTER = 5.0
"""Seconds that a process has to live, when it ends no job meanwhile, for its queue not to be degraded any more."""

QUARANTINE = 4
"""Processes that run suspects of one kind: their jobs were many at a time, one after the other would take long."""


@dataclass
class _Place:
    """One place in the pool, over the lives of its processes.

    Attributes:
        worked: the process that holds it now has ended a job.
    """

    crew: Crew
    zygote: Callable[[], Zygote]
    id: str
    kind: Kind
    slots: int
    use: Literal["shared", "alone"]
    limits: Limits
    index: int = 0
    worked: bool = False


@dataclass(frozen=True, slots=True)
class _Restart(Backoff):
    """A process that dies is back at once; while one dies after the other and ends no job, it takes longer.

    Whoever does its work is not held up because some of its jobs are deadly: those are few, by their `max_attempts`.
    """

    min: float = 0.001
    max: float = 0.25
    factor: float = 4.0
    jitter: float = 0.2
    reset_after: float | None = PAUSE
    max_attempts: int | None = 6
    place: _Place | None = field(default=None, compare=False)

    def resets(self, ran: float) -> bool:
        """Whether the next delay is the first again."""
        return (self.place is not None and self.place.worked) or Backoff.resets(self, ran)


def worker_specs(crew: Crew, zygote: Callable[[], Zygote], kind: Kind) -> list[ChildSpec]:
    """Give the children that keep the queue's processes of one kind alive, or its place in the node's own loop."""
    queue = crew.queue
    if queue.isolation == "task":
        return [ChildSpec("in-loop", serve_in_loop, args=(crew,), shutdown=STOP_GRACE + 4.0, backoff=_Restart())]
    limits = Limits(1 if queue.isolation == "fresh" else queue.max_jobs_per_process, queue.memory_limit)
    return [
        _spec(_Place(crew, zygote, f"{kind}-{index}", kind, _slots(crew, kind, index), "shared", limits, index))
        for index in range(_count(crew))
    ]


def alone_specs(crew: Crew, zygote: Callable[[], Zygote], kind: Kind) -> list[ChildSpec]:
    """Give the children that run jobs in quarantine, each one at a time, each death a replacement."""
    limits = Limits(crew.queue.max_jobs_per_process, crew.queue.memory_limit)
    return [
        _spec(_Place(crew, zygote, f"{kind}-alone-{index}", kind, 1, "alone", limits, index))
        for index in range(min(QUARANTINE, crew.queue.concurrency))
    ]


def pool_spec(crew: Crew) -> ChildSpec:
    """Give the child that is the pool itself: a dynamic supervisor, empty at first, known to the crew."""
    spec = dynamic_supervisor_spec("pool", on_exceed="pause", max_seconds=PAUSE)

    async def run(*, task_status: trio.TaskStatus[DynamicSupervisor] = trio.TASK_STATUS_IGNORED) -> None:
        class Introduce:
            def started(self, pool: DynamicSupervisor) -> None:
                crew.pool = pool
                pool.subscribe(crew.hear_supervisor)
                task_status.started(pool)

        await spec.start(*spec.args, task_status=Introduce())

    return replace(spec, start=run, args=())


def _count(crew: Crew) -> int:
    queue = crew.queue
    return min(READY if queue.isolation == "fresh" else queue.processes, queue.concurrency)


def _slots(crew: Crew, kind: Kind, index: int) -> int:
    return crew.slots(index) if kind == "async" and crew.queue.isolation == "process" else 1


def _spec(place: _Place) -> ChildSpec:
    return ChildSpec(
        place.id,
        _serve,
        args=(place,),
        restart="transient",
        shutdown=STOP_GRACE + 4.0,
        backoff=_Restart(place=place),
    )


async def _serve(place: _Place, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Run one worker process until it dies, has served long enough, or the pool stops.

    Raises:
        WorkerDied: it died while more was to be given to it.
    """
    # Up before it has a process: one that cannot be forked is a death like another, not a pool that cannot start.
    task_status.started()
    crew = place.crew
    process = await place.zygote().fork(place.kind, place.slots, f"kathikon {crew.queue.name} {place.kind}")
    spent, succeeded = trio.Event(), trio.Event()
    place.worked = False
    runner = Runner(
        process,
        crew.table,
        crew.node,
        crew.pace,
        crew.quarantine,
        crew.clock,
        crew.backoff,
        alone=place.use == "alone",
        limits=place.limits,
        on_ended=None if crew.gatekeeper is None else crew.gatekeeper.ended,
        on_spent=spent.set,
    )
    door = None if crew.doors is None else crew.doors.door(process)
    if door is not None:
        runner.on_frame = door.take_frame
    died: WorkerDied | None = None
    try:
        runner.weigh(0.0)
        crew.join(runner)
        _tell(place, process.pid, "started")
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as hearing:
                nursery.start_soon(_watch, place, runner, hearing)  # noqa: ASYNC111 it only cancels it
                nursery.start_soon(_succeed, place, spent, succeeded)
                try:
                    while not runner.over:
                        messages = await process.receive()
                        if runner.hear(messages):
                            place.worked = True
                            crew.recover(place.id)
                        runner.weigh(time.monotonic())
                        crew.wake()  # also when nothing ended: what came back may have been the last one awaited
                except WorkerDied as error:
                    died = error
            if died is not None:
                runner.bury(died)
                _tell(place, process.pid, "died", how=str(died.exit), running=len(died.running))
            if spent.is_set():
                await succeeded.wait()
            nursery.cancel_scope.cancel()
        if died is not None and not spent.is_set():
            # A fresh one: where it was noticed is of no interest to who reads the report.
            raise WorkerDied(died.exit, died.running)
    finally:
        runner.retire()
        try:
            with trio.CancelScope(shield=True):
                await process.stop(STOP_GRACE if runner.busy else 0.2)
                with suppress(WorkerDied):
                    while True:
                        runner.hear(await process.receive())
        finally:
            # Whatever was raised: no job stays with a process that is gone, and no place in the queue with its runner.
            process.close()
            try:
                runner.abandon()
            finally:
                if door is not None and crew.doors is not None:
                    crew.doors.close(door)
                crew.leave(runner)
        if died is None:
            _tell(place, process.pid, "stopped")


def _tell(
    place: _Place, pid: int, action: Literal["started", "died", "stopped"], *, how: str | None = None, running: int = 0
) -> None:
    bus, queue = place.crew.bus, place.crew.queue.name
    bus.emit(WorkerProcessChanged(queue=queue, pid=pid, action=action, kind=place.kind, how=how, running=running))


async def _succeed(place: _Place, spent: trio.Event, succeeded: trio.Event) -> None:
    """Start the successor as soon as the process will be given nothing more; it ends what it has beside it."""
    await spent.wait()
    crew = place.crew
    pool = crew.pool
    if pool is not None and not crew.draining and (place.use == "alone" or place.index < _count(crew)):
        slots = 1 if place.use == "alone" else _slots(crew, place.kind, place.index)
        with suppress(SupervisorStopped):
            await pool.start_child(_spec(replace(place, slots=slots, worked=False)))
    succeeded.set()


async def _watch(place: _Place, runner: Runner, hearing: trio.CancelScope) -> None:
    born = time.monotonic()
    while True:
        await trio.sleep(TICK)
        now = time.monotonic()
        if not runner.idle:
            runner.watch(now)
        if runner.clogged:
            runner.clogged = False
            place.crew.wake()
        if now - born > HEALTHY_AFTER:
            place.crew.recover(place.id)
        if runner.over or place.crew.given_up:
            hearing.cancel()
