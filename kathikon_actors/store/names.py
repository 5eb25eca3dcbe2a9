"""Who has which node name: leases by the database's clock, epochs, and the lock that a live session holds.

The session lock tells a crash from a pause: it is gone as soon as the process is, so that a restarted node has its
name back at once, while a stopped process keeps it until its lease runs out.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import asyncpg
import trio

from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken
from kathikon_actors.store.migrations import LOCK_CLASS
from kathikon_actors.store.protocol import Membership
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Connection, Raw

__all__ = ["Names", "end_sessions"]

PATIENCE: Final = 1.0
"""Seconds that the server may take to end the session of a process that is dead: until then its name looks taken."""

LOOK_AGAIN: Final = 0.02
"""Seconds between two looks at a name that is taken."""


class Names:
    """Joining, renewing and leaving, on one connection whose session holds the locks."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._session: Raw | None = None
        self._locked: set[int] = set()

    async def join(self, node: str, lease: float) -> Membership:
        """See `Store.join`. A name is refused when its session is still there after a moment."""
        end = trio.current_time() + PATIENCE
        while True:
            try:
                return await self.connection.run(self._join, node, lease)
            except NodeNameTaken:
                if trio.current_time() > end:
                    raise
            await trio.sleep(LOOK_AGAIN)

    async def renew(self, membership: Membership, lease: float) -> None:
        """See `Store.renew`. A new session takes the lock of the name again."""
        await self.connection.run(self._renew, membership, lease)

    async def leave(self, membership: Membership) -> None:
        """See `Store.leave`."""
        await self.connection.run(self._leave, membership)

    async def _join(self, raw: Raw, node: str, lease: float) -> Membership:
        node_id = await raw.fetchval(statement("node_id"), node)
        if node_id is None:
            await raw.execute(statement("add_node"), node)
            node_id = await raw.fetchval(statement("node_id"), node)
        locked = await self._try_lock(raw, node_id)
        if not locked:
            left = await raw.fetchval(statement("lease_left"), node_id)
            if left > 0:
                raise NodeNameTaken(node, left)
            await end_sessions(raw, node_id)
        epoch: int | None = None
        async with raw.transaction():
            left = await raw.fetchval(statement("lease_left"), node_id)
            if locked or left <= 0:
                epoch = await raw.fetchval(statement("take_name"), node_id, lease)
                await raw.execute(statement("take_lanes"), node_id, epoch)
        if epoch is None:
            raise NodeNameTaken(node, left)
        await self._try_lock(raw, node_id)
        return Membership(node, node_id, epoch)

    async def _renew(self, raw: Raw, membership: Membership, lease: float) -> None:
        await self._try_lock(raw, membership.node_id)
        if await raw.fetchval(statement("renew"), membership.node_id, membership.epoch, lease) is None:
            raise LeaseLost(membership.node, membership.epoch)

    async def _leave(self, raw: Raw, membership: Membership) -> None:
        if await raw.fetchval(statement("leave"), membership.node_id, membership.epoch):
            await self._unlock(raw, membership.node_id)

    async def _try_lock(self, raw: Raw, node_id: int) -> bool:
        if raw is not self._session:
            self._session = raw
            self._locked.clear()
        if node_id not in self._locked:
            if not await raw.fetchval("SELECT pg_try_advisory_lock($1, $2)", LOCK_CLASS, node_id):
                return False
            self._locked.add(node_id)
        return True

    async def _unlock(self, raw: Raw, node_id: int) -> None:
        if raw is self._session and node_id in self._locked:
            self._locked.discard(node_id)
            await raw.execute("SELECT pg_advisory_unlock($1, $2)", LOCK_CLASS, node_id)


async def end_sessions(raw: Raw, node_id: int) -> None:
    """End the sessions of a stopped process, so that its open commit and its lock do not stay in the way.

    Its epoch fences it anyway; without the right to end another role's sessions they are left alone.
    """
    # A transaction of its own: within one that goes on, a refusal spoils only this part.
    with suppress(asyncpg.InsufficientPrivilegeError):
        async with raw.transaction():
            await raw.fetchval(statement("end_sessions"), LOCK_CLASS, node_id)
