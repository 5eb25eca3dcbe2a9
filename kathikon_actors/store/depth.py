"""The bounds of queues, for inserts of programs without a node: `Queue(max_depth=...)` as nodes have published it.

What has not ended is counted, up to the bound, by an index that is made when the first bound is published. Those who
insert in a transaction of ours wait for each other at the queue's own lock, from the count until the commit, so the
bound is exact among them. In a transaction of the caller's nobody waits: what others have in flight at that moment is
not counted, nor is what nodes have in flight.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import asyncpg

from kathikon_actors.jobs.errors import QueueFull
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.jobs.queue import Queue
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.protocol import Membership

__all__ = ["limited_queues", "publish_limits", "refuse_above"]

logger = logging.getLogger(__name__)

LOCK_CLASS: Final = 0x6B617469
"""The first number of the advisory lock of a queue; the second is a hash of its name."""

LOCK_TIMEOUT: Final = "100ms"
"""To wait for the table when the index is made: whoever inserts meanwhile waits behind. It is tried again."""


async def limited_queues(raw: Raw, queues: Iterable[str]) -> list[str]:
    """Give those of these queues that refuse inserts above a bound."""
    return [row["queue"] for row in await raw.fetch(statement("limited_queues"), sorted(set(queues)))]


async def refuse_above(
    raw: Raw, records: Sequence[Record], limited: Collection[str], *, fence: bool
) -> dict[bytes, QueueFull]:
    """Give the errors of those for which there is no room, in the order of input; nothing is stored yet.

    Args:
        raw: any connection, in a transaction.
        records: that are to be stored.
        limited: queues with a bound, of which some are meant.
        fence: wait for others, until the end of the transaction.
    """
    names = sorted({record.queue for record in records if record.queue in limited})
    if not names:
        return {}
    if fence:
        await raw.fetch(statement("fence_depth"), LOCK_CLASS, names)
    bounds = {row["queue"]: (row["max_depth"], row["depth"]) for row in await raw.fetch(statement("depths"), names)}
    coming: Counter[str] = Counter()
    refused = {}
    for record in records:
        if record.queue in bounds:
            bound, depth = bounds[record.queue]
            depth += coming[record.queue]
            if depth >= bound:
                refused[record.id] = QueueFull(record.queue, depth, bound)
            else:
                coming[record.queue] += 1
    return refused


async def publish_limits(raw: Raw, membership: Membership, queues: Sequence[Queue]) -> bool:
    """Say how much the queues of a node may hold; tell whether counting is quick from now on."""
    await raw.execute(
        statement("publish_limits"),
        membership.node_id,
        membership.epoch,
        [queue.name for queue in queues],
        [queue.max_depth for queue in queues],
        [queue.on_full for queue in queues],
    )
    if all(queue.refuses_above is None for queue in queues):
        return True
    return await _make_index(raw)


async def _make_index(raw: Raw) -> bool:
    if await raw.fetchval(statement("has_depth_index")):
        return True
    try:
        async with raw.transaction():
            await raw.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await raw.execute(statement("make_depth_index"))
    except asyncpg.LockNotAvailableError:
        logger.info("kathikon.jobs is busy; its index jobs_queue, to count by, is made later")
        return False
    except (asyncpg.InsufficientPrivilegeError, asyncpg.QueryCanceledError) as error:
        text = statement("make_depth_index")
        logger.warning(
            "max_depth of clients' inserts is counted slowly, its index is missing (%s); run: %s", error, text
        )
    return True
