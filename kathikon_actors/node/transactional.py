"""An insert that is a part of the caller's own transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kathikon_actors.jobs.composing import is_composed
from kathikon_actors.jobs.errors import AlreadyExists
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.node.listing import job_of
from kathikon_actors.store.outside import insert_composed_rows, insert_rows
from kathikon_actors.store.psycopg_connection import PsycopgConnection, is_psycopg

__all__ = ["insert_on"]


async def insert_on(connection: Any, record: Record, *, on_trio: bool) -> Job:
    """Insert as a part of the transaction of the caller's own connection, of asyncpg or psycopg 3.

    Raises:
        AlreadyExists: the id is taken.
    """
    if is_psycopg(connection):
        connection, on_trio = PsycopgConnection(connection), False
    elif not hasattr(connection, "fetchrow") or not hasattr(connection, "transaction"):
        raise TypeError(f"connection is {connection!r}; give your own connection of asyncpg or psycopg 3")
    work: Callable[..., Awaitable[Any]] = insert_composed_rows if is_composed(record) else insert_rows
    if on_trio:
        import trio_asyncio  # type: ignore[import-untyped]

        work = trio_asyncio.aio_as_trio(work)
    answer = await work(connection, [record])
    if isinstance(answer, dict):
        return job_of(answer[record.id])
    if answer:
        raise AlreadyExists(as_uuid(record.id))
    return Job(record)
