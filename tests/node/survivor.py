"""A node in a process of its own that inserts jobs and acknowledges them in a file: what the tests of survival kill.

    python -m tests.node.survivor STORE NAME DIRECTORY JOBS [FAULT]

Each job appends its id and attempt to DIRECTORY/ran; each id that an insert returned goes to DIRECTORY/acknowledged.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from contextlib import ExitStack

import trio

from kathikon_actors import App, Job, Node, Queue, StoreUnavailable, constant, open_node, worker
from kathikon_actors.testing import fault

__all__ = ["LEASE", "app"]

LEASE = 1.5
INSERTERS = 40


@worker(queue="marks", backoff=constant(0.01), max_attempts=30)
def mark(job: Job, path: str) -> None:
    """Leave one line, whole or not at all."""
    _append(path, f"{job.id} {job.attempt}\n")


@worker(queue="marks_async", backoff=constant(0.01), max_attempts=30)
async def mark_async(job: Job, path: str) -> None:
    """The same among many in one process."""
    _append(path, f"{job.id} {job.attempt}\n")
    await trio.sleep(0.001)


def _append(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


app = App(
    queues=[Queue("marks", processes=2, concurrency=2), Queue("marks_async", concurrency=50)],
    workers=[mark, mark_async],
)


async def _insert(node: Node, directory: str, jobs: int) -> None:
    """Insert by one and by many, from many tasks at once; what is not acknowledged is inserted anew."""
    path, left = f"{directory}/ran", jobs

    async def inserter() -> None:
        nonlocal left
        while left > 0:
            number = min(left, random.choice((1, 1, 1, 25)))
            left -= number
            kind = mark if random.random() < 0.8 else mark_async
            try:
                if number == 1:
                    ids = [(await node.insert(kind.new(path))).id]
                else:
                    ids = list((await node.insert_many(kind.new(path) for _ in range(number))).ids)
            except StoreUnavailable:
                left += number
                await trio.sleep(0.01)
            else:
                _append(f"{directory}/acknowledged", "".join(f"{job_id}\n" for job_id in ids))

    async with trio.open_nursery() as nursery:
        for _ in range(INSERTERS):
            nursery.start_soon(inserter)


async def main(store: str, name: str, directory: str, jobs: int, point: str | None) -> None:
    """Run the node until somebody ends it; SIGTERM is a graceful stop."""
    with ExitStack() as stack:
        if point is not None:
            stack.enter_context(fault(point, raises=StoreUnavailable("cut by the test"), when=_now_and_then))
        async with trio.open_nursery() as nursery:
            await nursery.start(_end_at_sigterm, nursery.cancel_scope)
            async with open_node(app, store=store, name=name, lease=LEASE, insert_timeout=5.0) as node:
                await _insert(node, directory, jobs)
                _append(f"{directory}/inserted", f"{name}\n")
                await trio.sleep_forever()


async def _end_at_sigterm(scope: trio.CancelScope, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()


def _now_and_then(_told: object) -> bool:
    return random.random() < 0.2


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:4], int(sys.argv[4]), sys.argv[5] if len(sys.argv) > 5 else None)
