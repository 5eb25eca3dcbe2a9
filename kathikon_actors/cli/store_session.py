"""The store behind a command: that of a running node, a database, or an embedded server started for the command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from kathikon_actors.jobs.errors import BadConfiguration, StoreUnavailable

if TYPE_CHECKING:
    from kathikon_actors.node.client import Client
    from kathikon_actors.store.migrations import Migration
    from kathikon_actors.store.postgres import PostgresStore
    from kathikon_actors.store.urls import StoreUrl

__all__ = [
    "DATABASE_TIMEOUT",
    "SchemaMissing",
    "find_pending",
    "on_database",
    "open_client",
    "open_database",
    "open_store",
    "run_async",
]

T = TypeVar("T")

DATABASE_TIMEOUT = 10.0
"""Seconds that a database has to answer."""

_CLOSE_SECONDS = 5.0
"""Seconds to say goodbye; a server of our own takes as long as its last checkpoint."""

_START_PATIENCE = 5.0
"""Seconds to wait for a server that another process is just starting or stopping."""


class SchemaMissing(StoreUnavailable):
    """The database has not the schema of this version; a command that reads does not change it."""

    def __init__(self, url: StoreUrl, pending: list[Migration], known: int) -> None:
        has = "no schema of Kathikon" if len(pending) == known else f"an older schema ({len(pending)} steps behind)"
        super().__init__(f"{url.safe} has {has}; start a node on it, or run: schema install")


def run_async(function: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async function to its end."""
    import trio

    return trio.run(function, *args)


@asynccontextmanager
async def open_store(url: StoreUrl) -> AsyncIterator[PostgresStore]:
    """Give the opened store, to read from.

    Raises:
        BadConfiguration: it is a store that no other process can reach, or its schema is newer than this program.
        SchemaMissing: the schema is not there yet.
        StoreUnavailable, PostgresNotFound, ServerFailed, DirectoryInUse: it cannot be reached or started.
    """
    import trio

    from kathikon_actors.store.postgres import PostgresStore

    async with open_database(url) as dsn:
        pending, known = await on_database(dsn, find_pending)
        if pending:
            raise SchemaMissing(url, pending, known)
        store = PostgresStore(dsn, url=url.safe, timeout=DATABASE_TIMEOUT)
        try:
            await store.open()
            yield store
        finally:
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await store.close()


@asynccontextmanager
async def open_client(url: StoreUrl, encryption_keys: tuple[bytes, ...] = ()) -> AsyncIterator[Client]:
    """Give a client of the store, to look and to change.

    Args:
        url: the store.
        encryption_keys: of the app, when it is to insert what is encrypted.

    Raises:
        As `open_store`.
    """
    from kathikon_actors.node.client import Client

    async with open_database(url) as dsn:
        pending, known = await on_database(dsn, find_pending)
        if pending:
            raise SchemaMissing(url, pending, known)
        async with Client(dsn, timeout=DATABASE_TIMEOUT, encryption_keys=encryption_keys) as client:
            yield client


@asynccontextmanager
async def open_database(url: StoreUrl, *, create: bool = False) -> AsyncIterator[str]:
    """Give the address of the database, and an asyncio loop to reach it.

    Args:
        url: the store.
        create: an embedded server that does not exist may be made.

    Raises:
        As `open_store`, but for `SchemaMissing`.
    """
    import trio

    from kathikon_actors.store.connection import open_loop
    from kathikon_actors.store.datadir import Directory, DirectoryInUse
    from kathikon_actors.store.embedded import EmbeddedServer, find_running

    if url.kind == "memory":
        raise BadConfiguration(
            "the memory store lives inside one process and cannot be seen from here; "
            "give --store embedded:PATH or postgresql://..."
        )
    async with open_loop():
        if url.path is None:
            yield url.text
            return
        if not create and Directory(url.path).major() is None:
            raise StoreUnavailable(f"no embedded store in {url.path}; start a node there first, or give --store")
        server = EmbeddedServer(url.path)
        deadline = trio.current_time() + _START_PATIENCE
        while True:
            dsn = await trio.to_thread.run_sync(find_running, url.path)
            if dsn is not None:
                yield dsn
                return
            try:
                # In this thread: the server ends with the thread that started it.
                await server.start()
                break
            except DirectoryInUse:
                if trio.current_time() > deadline:
                    raise
                await trio.sleep(0.05)
        try:
            yield server.dsn
        finally:
            with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                await server.stop()


async def on_database(dsn: str, work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run `work(raw, *args)` on an asyncpg connection of its own."""
    import trio

    from kathikon_actors.store.connection import Connection
    from kathikon_actors.store.urls import parse_store_url

    connection = Connection(parse_store_url(dsn), DATABASE_TIMEOUT)
    try:
        return await connection.run(work, *args)
    finally:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await connection.close()


async def find_pending(raw: Any) -> tuple[list[Migration], int]:
    """Give the migrations that the database lacks, and how many this program knows."""
    from kathikon_actors.store.migrations import migrations, pending

    known = migrations()
    return await pending(raw, known), len(known)
