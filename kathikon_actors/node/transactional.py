"""An insert that is a part of the caller's own transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kathikon_actors.jobs.composing import is_composed
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.node.listing import job_of
from kathikon_actors.store.outside import insert_composed_rows, insert_rows
from kathikon_actors.store.psycopg_connection import PsycopgConnection, is_psycopg

__all__ = ["insert_on"]


async def insert_on(connection: Any, record: Record, *, on_trio: bool) -> Job:
    """Insert as a part of the transaction of the caller's own connection, of asyncpg or psycopg 3.

    Raises:
        AlreadyExists: the id is taken.
        QueueFull: the queue is full, by what is committed and what this transaction has stored.
    """
    if is_psycopg(connection):
        connection, on_trio = PsycopgConnection(connection), False
    elif not hasattr(connection, "fetchrow") or not hasattr(connection, "transaction"):
        raise TypeError(f"connection is {connection!r}; give your own connection of asyncpg or psycopg 3")
    composed = is_composed(record)
    work: Callable[..., Awaitable[Any]] = insert_composed_rows if composed else insert_rows
    if on_trio:
        import trio_asyncio  # type: ignore[import-untyped]

        work = trio_asyncio.aio_as_trio(work)
    answer: Any = await work(connection, [record])
    if composed:
        return job_of(answer[record.id])
    for refusal in answer.values():
        raise refusal
    return Job(record)
