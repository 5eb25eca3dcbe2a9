"""A store for the snapshots of an actor system that belongs to no node."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.jobs.errors import LeaseLost, StoreUnavailable
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.embedded import open_embedded
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.urls import parse_store_url

if TYPE_CHECKING:
    from kathikon_actors.actors.snapshots.sink import SnapshotSink, StoredSnapshot
    from kathikon_actors.store.protocol import Membership, Store

__all__ = ["open_snapshot_store"]

logger = logging.getLogger(__name__)

REOPEN_AFTER: Final = 1.0
"""Seconds between two tries to open a store that is cut off."""

LEAVE_TIMEOUT: Final = 2.0
"""Seconds that the end takes to give the name back."""


@asynccontextmanager
async def open_snapshot_store(url: str, *, name: str, lease: float = 30.0) -> AsyncIterator[SnapshotSink]:
    """Keep snapshots of a bare actor system in a store, as a node keeps those of its actors.

    Args:
        url: `"embedded:PATH"`, `"postgresql://..."`, or `"memory:"`.
        name: whose snapshots they are; one live program has it at a time, and no node has the same.
        lease: seconds for which the name stays taken when this program falls silent; after its death it is free.

    Raises:
        BadConfiguration: the URL does not fit.
        NodeNameTaken: a live program has this name.
        StoreUnavailable: the store cannot be reached.

    Example:
        ```python
        async with open_snapshot_store("postgresql://localhost/shop", name="carts") as store:
            async with open_actor_system(store=store) as system:
                cart = await system.start(Cart, name="cart-7", snapshot=Snapshot(every=10))
        ```
    """
    parsed = parse_store_url(url)
    async with open_loop(), AsyncExitStack() as stack:
        store: Store
        if parsed.kind == "memory":
            store = MemoryStore()
        elif parsed.kind == "embedded":
            assert parsed.path is not None
            server = await stack.enter_async_context(open_embedded(parsed.path))
            store = PostgresStore(server.dsn, url=parsed.safe)
        else:
            store = PostgresStore(parsed.text)
        try:
            await store.open()
            membership = await store.join(name, lease)
            failure: Exception | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_renew, store, membership, lease)
                try:
                    yield _Sink(store, membership)
                except Exception as error:
                    failure = error  # raised after the nursery, which would wrap it into a group
                finally:
                    nursery.cancel_scope.cancel()
                    with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
                        await _leave(store, membership)
            if failure is not None:
                raise failure
        finally:
            with trio.move_on_after(LEAVE_TIMEOUT, shield=True):
                await store.close()


class _Sink:
    """See `SnapshotSink`; under one membership."""

    def __init__(self, store: Store, membership: Membership) -> None:
        self._store = store
        self._membership = membership

    async def save(self, actor: str, snapshot: StoredSnapshot) -> int:
        return await self._store.snapshots.save(self._membership, actor, snapshot)

    async def load(self, actor: str) -> list[StoredSnapshot]:
        return await self._store.snapshots.load(self._membership, actor)

    async def delete(self, actor: str) -> None:
        await self._store.snapshots.delete(self._membership, actor)


async def _renew(store: Store, membership: Membership, lease: float) -> None:
    """Hold the name. Once it is lost nothing more is kept: each snapshot is told as lost, with the reason."""
    while True:
        await trio.sleep(lease / 3)
        try:
            await store.renew(membership, lease)
        except StoreUnavailable as error:
            logger.warning("snapshots wait: %s", error)
            await _reopen(store)
        except LeaseLost as error:
            logger.error("no snapshot is kept any more: %s", error)  # noqa: TRY400 where it was noticed says nothing
            return


async def _reopen(store: Store) -> None:
    while True:
        try:
            await store.open()
        except StoreUnavailable:
            await trio.sleep(REOPEN_AFTER)
        else:
            return


async def _leave(store: Store, membership: Membership) -> None:
    try:
        await store.leave(membership)
    except StoreUnavailable as error:
        logger.warning("the name %s could not be given back, its lease runs out by itself: %s", membership.node, error)
