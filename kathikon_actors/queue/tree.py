"""The supervision tree of one queue: first the pool, then the producer that feeds it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from kathikon_actors.processes.handle import Zygote
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.pool import pool_spec
from kathikon_actors.queue.producer import Producer
from supervisors import ChildSpec, supervisor_spec

__all__ = ["queue_spec"]


def queue_spec(make_crew: Callable[[], Crew], name: str, zygote: Callable[[], Zygote]) -> ChildSpec:
    """Give the child that runs one queue.

    Args:
        make_crew: called at every start, so that a restarted queue begins with nobody.
        name: of the queue.
        zygote: gives the fork server of the node.
    """

    def children() -> list[ChildSpec]:
        crew = make_crew()
        return [pool_spec(crew), ChildSpec("producer", _produce, args=(crew, zygote))]

    return supervisor_spec(f"queue {name}", children, strategy="rest_for_one", max_restarts=10, max_seconds=5.0)


async def _produce(
    crew: Crew, zygote: Callable[[], Zygote], *, task_status: trio.TaskStatus[Producer] = trio.TASK_STATUS_IGNORED
) -> None:
    await Producer(crew, zygote).run(task_status=task_status)
