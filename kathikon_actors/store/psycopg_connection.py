"""A psycopg 3 connection with the look of an asyncpg one, for inserts in a transaction of the caller's.

The statements are the same, `$1` and all: psycopg's raw cursors take them. A plain connection is driven without an
event loop: nothing in here waits for anything but the connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

__all__ = ["PsycopgConnection", "drive", "is_psycopg"]

T = TypeVar("T")


def is_psycopg(connection: object) -> bool:
    """Whether this is a connection of psycopg 3, plain or async."""
    return type(connection).__module__.partition(".")[0] == "psycopg" and hasattr(connection, "cursor")


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, to its end."""
    try:
        work.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    work.close()
    raise RuntimeError("the connection is async; use Client on asyncio with it")


class _Row(tuple[Any, ...]):
    """A row by places and by names."""

    names: dict[str, int]

    def __getitem__(self, key: Any) -> Any:
        return tuple.__getitem__(self, self.names[key] if isinstance(key, str) else key)


class PsycopgConnection:
    """What inserts need of asyncpg, on psycopg.

    Args:
        connection: of the caller.
    """

    def __init__(self, connection: Any) -> None:
        import psycopg

        self._connection = connection
        self._is_async = isinstance(connection, psycopg.AsyncConnection)
        self._cursor: Any = psycopg.AsyncRawCursor if self._is_async else psycopg.RawCursor

    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, or the first statement opens one."""
        from psycopg.pq import TransactionStatus

        return not self._connection.autocommit or (
            self._connection.info.transaction_status is not TransactionStatus.IDLE
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Open one."""
        if self._is_async:
            async with self._connection.transaction():
                yield
        else:
            with self._connection.transaction():
                yield

    async def fetch(self, query: str, *args: Any) -> list[_Row]:
        """Give all rows."""
        cursor = self._cursor(self._connection)
        if self._is_async:
            async with cursor:
                await cursor.execute(query, args)
                return _rows(cursor.description, await cursor.fetchall() if cursor.description else [])
        with cursor:
            cursor.execute(query, args)
            return _rows(cursor.description, cursor.fetchall() if cursor.description else [])

    async def fetchrow(self, query: str, *args: Any) -> _Row | None:
        """Give the first row."""
        return next(iter(await self.fetch(query, *args)), None)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Give the first value of the first row."""
        row = await self.fetchrow(query, *args)
        return None if row is None else row[0]

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement."""
        await self.fetch(query, *args)
        return ""


def _rows(description: Any, rows: list[Any]) -> list[_Row]:
    names = {column.name: place for place, column in enumerate(description or ())}
    kind = type("Row", (_Row,), {"names": names})
    return [kind(tuple(row.values()) if isinstance(row, dict) else tuple(row)) for row in rows]
