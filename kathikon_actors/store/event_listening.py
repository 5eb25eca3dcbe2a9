"""A listener's end: one connection that hears the nodes' events, on any asyncio loop, opened again after a cut."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from kathikon_actors.jobs.errors import KathikonError, StoreUnavailable
from kathikon_actors.store.connection import connect, explain, too_slow
from kathikon_actors.store.event_post import (
    EVENTS_CHANNEL,
    LISTENER_LEASE,
    announce,
    forget,
    living_nodes,
    renew,
)

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["EventEar"]

logger = logging.getLogger(__name__)

GREETING_TIMEOUT: Final = 2.0
"""Seconds to wait until every living node has said that it sends: one that is dying keeps nobody for longer."""

RENEW_EVERY: Final = LISTENER_LEASE / 3
"""Seconds between two renewals of the lease."""

RENEW_TIMEOUT: Final = LISTENER_LEASE / 3
"""Seconds that a renewal may take: a connection that is cut without a word is found like this."""

REOPEN: Final = (0.05, 2.0)
"""Seconds between two tries to connect again: the first, and the longest."""

GOODBYE: Final = 2.0
"""Seconds to say that one listens no more."""


class EventEar:
    """Hears what nodes send. Everything here runs on one asyncio loop.

    Args:
        url: of the database.
        timeout: seconds that connecting may take.
        kinds: names of events; `None` for all.
        heard: called with each payload.
        missed: called after a cut with the seconds for which nothing was heard.
    """

    def __init__(
        self,
        url: StoreUrl,
        timeout: float,
        kinds: Sequence[str] | None,
        heard: Callable[[str], None],
        missed: Callable[[float], None],
    ) -> None:
        self.id = uuid.uuid4()
        self._url = url
        self._timeout = timeout
        self._kinds = kinds
        self._heard = heard
        self._missed = missed
        self._raw: Raw | None = None
        self._lost = asyncio.Event()
        self._awaited: set[str] = set()
        self._greeted = asyncio.Event()
        self._heard_until = 0.0

    async def open(self) -> None:
        """Begin to listen; returns when the nodes that live send, or have had their time to say so.

        Raises:
            StoreUnavailable: the database did not answer.
        """
        await self._connect()
        assert self._raw is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(GREETING_TIMEOUT):
                await self._greeted.wait()

    def greeted_by(self, node: str) -> None:
        """A node says that it sends from now on."""
        self._awaited.discard(node)
        if not self._awaited:
            self._greeted.set()

    async def run(self) -> None:
        """Keep the lease, and come back after a cut, until cancelled."""
        while True:
            try:
                await self._keep()
            except Exception as error:  # whatever the driver raises, the way is cut
                problem: Exception = explain(self._url, error) or error
            else:
                problem = StoreUnavailable("its lease ran out")
            self._drop()
            heard_until = self._heard_until
            logger.warning("events may be missed, the listener lost its connection: %s", problem)
            pause, longest = REOPEN
            while True:
                try:
                    await self._connect()
                    break
                except StoreUnavailable as error:
                    logger.info("the listener cannot connect again yet: %s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            self._missed(time.monotonic() - heard_until)

    async def close(self) -> None:
        """Listen no more, and say so if the database hears it."""
        raw = self._raw
        if raw is not None and not raw.is_closed():
            with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                async with asyncio.timeout(GOODBYE):
                    await forget(raw, self.id)
                    await raw.close(timeout=GOODBYE / 2)
        self._drop()

    async def _connect(self) -> None:
        self._greeted.clear()
        self._lost = asyncio.Event()
        try:
            async with asyncio.timeout(self._timeout):
                raw = await connect(self._url, self._timeout)
                self._raw = raw
                raw.add_termination_listener(self._cut)
                await raw.add_listener(EVENTS_CHANNEL, self._told)
                self._awaited = await living_nodes(raw)
                await announce(raw, self.id, self._kinds)
        except KathikonError:
            raise
        except TimeoutError:
            self._drop()
            raise too_slow(self._url, self._timeout) from None
        except Exception as error:
            self._drop()
            explained = explain(self._url, error)
            if explained is None:
                raise
            raise explained from error
        # Cancelled: it may be known to the nodes already, so the connection is left for `close` to say goodbye on.
        if not self._awaited:
            self._greeted.set()
        self._heard_until = time.monotonic()

    async def _keep(self) -> None:
        """Renew the lease; return when it had run out, raise when the connection is cut."""
        raw = self._raw
        assert raw is not None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_EVERY):
                    await self._lost.wait()
            if raw.is_closed():
                raise StoreUnavailable("the connection was closed")
            async with asyncio.timeout(RENEW_TIMEOUT):
                if not await renew(raw, self.id):
                    return
            self._heard_until = time.monotonic()

    def _told(self, _raw: object, _pid: int, _channel: str, payload: Any) -> None:
        self._heard(str(payload))

    def _cut(self, _raw: object) -> None:
        self._lost.set()

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None and not raw.is_closed():
            raw.terminate()
