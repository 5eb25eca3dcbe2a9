"""Broadcast queues of the Postgres store. Each function is one asyncio piece of work for `Connection.run`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kathikon_actors.jobs.broadcast import deliver
from kathikon_actors.jobs.errors import LeaseLost
from kathikon_actors.store.broadcasts import BROADCASTS
from kathikon_actors.store.outside import get_row
from kathikon_actors.store.rows import pg_id, us_of, whole_row
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import note_inserted

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.connection import Connection, Raw
    from kathikon_actors.store.lanes import Fence
    from kathikon_actors.store.protocol import Membership

__all__ = ["PostgresBroadcasts"]


class PostgresBroadcasts:
    """Broadcast queues in Postgres.

    Args:
        claims: the connection of all that moves rows to a node, with its fence.
        fence: of that connection.
        check_open: raises when the store is closed.
    """

    def __init__(self, claims: Connection, fence: Fence, check_open: Callable[[], None]) -> None:
        self._claims = claims
        self._fence = fence
        self._check_open = check_open

    async def announce(self, jobs: Sequence[tuple[bytes, str, float]]) -> None:
        """See `BroadcastStore.announce`."""
        self._check_open()
        await self._claims.run(_announce, jobs)

    async def deliver(self, membership: Membership, queues: Sequence[str], limit: int) -> list[Record]:
        """See `BroadcastStore.deliver`."""
        self._check_open()
        return await self._claims.run(_deliver, self._fence, membership, list(queues), limit)

    async def sweep(self) -> int:
        """See `BroadcastStore.sweep`."""
        self._check_open()
        swept: int = await self._claims.run(_sweep)
        return swept


async def _announce(raw: Raw, jobs: Sequence[tuple[bytes, str, float]]) -> None:
    ids, queues, windows = zip(*jobs, strict=True)
    async with raw.transaction():
        await raw.execute(statement("broadcasts_add"), [pg_id(job_id) for job_id in ids], list(queues), list(windows))
        await raw.execute(statement("tell_control"), BROADCASTS)


async def _deliver(raw: Raw, fence: Fence, membership: Membership, queues: list[str], limit: int) -> list[Record]:
    *_, session = await fence.key(raw, membership)
    made: list[Record] = []
    async with raw.transaction():
        if not await raw.fetchval(statement("member_for_share"), membership.node_id, membership.epoch, session):
            raise LeaseLost(membership.node, membership.epoch)
        for announced, now in await raw.fetch(statement("broadcasts_due"), membership.node_id, queues, limit):
            source = await get_row(raw, announced.bytes)
            if source is None:  # purged: there is nothing left to deliver
                continue
            job = deliver(source, membership.node, us_of(now))
            delivered = await raw.execute(statement("broadcasts_deliver"), announced, membership.node_id, pg_id(job.id))
            if delivered == "INSERT 0 1":
                await raw.execute(statement("put_job"), *whole_row(membership.node_id, job), None)
                made.append(job)
    note_inserted(made)
    return made


async def _sweep(raw: Raw) -> int:
    swept: int = await raw.fetchval(statement("broadcasts_sweep"))
    return swept
