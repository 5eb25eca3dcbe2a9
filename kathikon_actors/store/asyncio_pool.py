"""Connections to Postgres for programs on asyncio: what `connection.Pool` is for those on trio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.store.connection import connect, explain, too_slow
from kathikon_actors.store.urls import StoreUrl

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["AsyncioPool"]

T = TypeVar("T")

_CLOSE_SECONDS: Final = 2.0


class AsyncioPool:
    """A few connections, each opened when it is first needed and again after a cut.

    Args:
        url: where to.
        timeout: seconds that connecting, and each piece of work, may take.
        size: the most connections.
    """

    def __init__(self, url: StoreUrl, timeout: float, size: int) -> None:
        self._url = url
        self._timeout = timeout
        self._free = asyncio.Semaphore(size)
        self._idle: list[Raw] = []

    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `work(raw, *args)` on a free connection.

        Raises:
            StoreUnavailable: not connected, cut, too slow, or the server cannot at present.
        """
        async with self._free:
            raw: Raw | None = None
            clean = False
            try:
                async with asyncio.timeout(self._timeout):
                    raw = await self._take()
                    result = await work(raw, *args)
                clean = True
                return result
            except KathikonError:
                clean = True
                raise
            except TimeoutError:
                raise too_slow(self._url, self._timeout) from None
            except Exception as error:
                explained = explain(self._url, error)
                if explained is None:
                    raise
                raise explained from error
            finally:
                # Cancelled, cut or failed in the middle: nobody knows what state the session is in.
                if raw is not None and clean and not raw.is_closed():
                    self._idle.append(raw)
                elif raw is not None:
                    raw.terminate()

    async def close(self) -> None:
        """Say goodbye on each connection."""
        while self._idle:
            raw = self._idle.pop()
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                await raw.close(timeout=_CLOSE_SECONDS)
            raw.terminate()

    async def _take(self) -> Raw:
        while self._idle:
            raw = self._idle.pop()
            if not raw.is_closed():
                return raw
        return await connect(self._url, self._timeout)
