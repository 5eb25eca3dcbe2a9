"""The pool of a queue: its worker processes, each a supervised child."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import trio

from kathikon_actors.processes.handle import WorkerDied, Zygote
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.runner import Kind, Runner
from kathikon_actors.telemetry.events import WorkerProcessChanged
from supervisors import Backoff, ChildSpec, DynamicSupervisor, dynamic_supervisor_spec

__all__ = ["alone_spec", "pool_spec", "worker_spec"]

TICK = 0.02
"""Seconds between two looks at what a busy process is doing."""

STOP_GRACE = 1.0
"""Seconds that a process has to end by itself when its pool stops; the node has drained it before."""

RESTART = Backoff(min=0.001, max=2.0, factor=4.0, jitter=0.2, reset_after=0.2)
"""A process that dies once is back at once; one that keeps dying waits longer each time and takes nobody with it."""


def worker_spec(crew: Crew, zygote: Callable[[], Zygote], kind: Kind, index: int) -> ChildSpec:
    """Give the child that keeps worker process `index` of one kind alive."""
    slots = crew.slots(index) if kind == "async" else 1
    return ChildSpec(
        f"{kind}-{index}",
        _serve,
        args=(crew, zygote, kind, slots, "shared"),
        shutdown=STOP_GRACE + 4.0,
        backoff=RESTART,
    )


def alone_spec(crew: Crew, zygote: Callable[[], Zygote], kind: Kind) -> ChildSpec:
    """Give the child that runs jobs in quarantine, one at a time, each death a replacement."""
    return ChildSpec(
        f"{kind}-alone", _serve, args=(crew, zygote, kind, 1, "alone"), shutdown=STOP_GRACE + 4.0, backoff=RESTART
    )


def pool_spec(crew: Crew) -> ChildSpec:
    """Give the child that is the pool itself: a dynamic supervisor, empty at first, known to the crew."""
    spec = dynamic_supervisor_spec("pool")

    async def run(*, task_status: trio.TaskStatus[DynamicSupervisor] = trio.TASK_STATUS_IGNORED) -> None:
        class Introduce:
            def started(self, pool: DynamicSupervisor) -> None:
                crew.pool = pool
                task_status.started(pool)

        await spec.start(*spec.args, task_status=Introduce())

    return replace(spec, start=run, args=())


async def _serve(
    crew: Crew,
    zygote: Callable[[], Zygote],
    kind: Kind,
    slots: int,
    use: Literal["shared", "alone"],
    *,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one worker process until it dies, or until the pool stops."""
    process = await zygote().fork(kind, slots, f"kathikon {crew.queue.name} {kind}")
    alone = use == "alone"
    runner = Runner(process, crew.table, crew.node, crew.pace, crew.quarantine, crew.clock, crew.backoff, alone=alone)
    died: WorkerDied | None = None
    try:
        crew.join(runner)
        crew.bus.emit(WorkerProcessChanged(queue=crew.queue.name, pid=process.pid, action="started", kind=kind))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, runner)
            task_status.started(process.pid)
            try:
                while True:
                    runner.hear(await process.receive())
                    crew.wake()  # also when nothing ended: a run that came back may have been the last one awaited
            except WorkerDied as error:
                died = error
                nursery.cancel_scope.cancel()
        if died is not None:
            runner.bury(died)
            crew.bus.emit(
                WorkerProcessChanged(
                    queue=crew.queue.name,
                    pid=process.pid,
                    action="died",
                    kind=kind,
                    how=str(died.exit),
                    running=len(died.running),
                )
            )
            # A fresh one: where it was noticed is of no interest to who reads the report.
            raise WorkerDied(died.exit, died.running)
    finally:
        runner.retire()
        with trio.CancelScope(shield=True):
            await process.stop(STOP_GRACE if runner.busy else 0.2)
            with suppress(WorkerDied):
                while True:
                    runner.hear(await process.receive())
        runner.abandon()
        crew.leave(runner)
        if died is None:
            crew.bus.emit(WorkerProcessChanged(queue=crew.queue.name, pid=process.pid, action="stopped", kind=kind))


async def _watch(runner: Runner) -> None:
    while True:
        await trio.sleep(TICK)
        if not runner.idle:
            runner.watch(time.monotonic())
