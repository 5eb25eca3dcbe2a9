"""Settings of queues on a Postgres connection; see `queue_store`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kathikon_actors.store.depth import publish_limits
from kathikon_actors.store.queue_store import QUEUES, QueueChange, QueueSettings, RunningQueue
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.jobs.queue import Queue
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = ["change_queue", "is_due", "pause_new", "publish_queues", "queue_settings", "running_queues"]


async def queue_settings(raw: Raw) -> dict[str, QueueSettings]:
    """See `QueueStore.queue_settings`."""
    return {row["name"]: QueueSettings(*row) for row in await raw.fetch(statement("queue_settings"))}


async def change_queue(raw: Raw, change: QueueChange) -> QueueSettings:
    """See `QueueStore.change_queue`."""
    async with raw.transaction():
        row = await raw.fetchrow(
            statement("change_queue"),
            change.name,
            change.paused,
            change.concurrency,
            change.removed,
            change.declaration,
        )
        assert row is not None
        await raw.execute(statement("tell_control"), QUEUES)
    return QueueSettings(*row)


async def pause_new(raw: Raw, queues: Sequence[str]) -> None:
    """See `QueueStore.pause_new`."""
    await raw.execute(statement("pause_new_queues"), list(queues))


async def publish_queues(raw: Raw, membership: Membership, queues: Iterable[Queue]) -> bool:
    """See `QueueStore.publish_queues`."""
    listed = list(queues)
    await raw.execute(
        statement("publish_queues"),
        membership.node_id,
        membership.epoch,
        [queue.name for queue in listed],
        [queue.concurrency for queue in listed],
        [queue.processes for queue in listed],
    )
    return await publish_limits(raw, membership, listed)


async def running_queues(raw: Raw) -> list[RunningQueue]:
    """See `QueueStore.running_queues`."""
    return [RunningQueue(*row) for row in await raw.fetch(statement("running_queues"))]


async def is_due(raw: Raw, queues: Sequence[str] | None) -> bool:
    """See `QueueStore.is_due`."""
    due: bool = await raw.fetchval(statement("is_due"), None if queues is None else list(queues))
    return due
