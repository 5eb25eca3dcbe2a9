"""The connection that hears of rows which nobody owns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Connection, Raw

__all__ = ["LIMITS", "Ear"]

CHANNEL = "kathikon_unowned"
LIMITS = "kathikon_limits"


class Ear:
    """LISTENs on a connection of its own: asyncpg hears of a notice only while nothing else uses the connection.

    Args:
        connection: used for nothing else.
        own: gives the server's process ids of the connections whose notices are our own.

    Attributes:
        limits_changed: called with what other nodes tell of limits.
    """

    def __init__(self, connection: Connection, own: Callable[[], Collection[int]]) -> None:
        self.connection = connection
        self._own = own
        self._wake: Callable[[frozenset[str]], None] | None = None
        self._heard_on: Raw | None = None
        self.limits_changed: Callable[[frozenset[str]], None] | None = None

    async def listen(self, wake: Callable[[frozenset[str]], None]) -> None:
        """See `Store.listen`."""
        self._wake = wake
        raw = self.connection.raw
        if raw is None or raw.is_closed() or raw is not self._heard_on:
            await self.connection.run(self._begin)

    async def _begin(self, raw: Raw) -> None:
        await raw.add_listener(CHANNEL, self._told)
        await raw.add_listener(LIMITS, self._told_of_limits)
        raw.add_termination_listener(self._lost)
        self._heard_on = raw

    def _told(self, _raw: object, pid: int, _channel: str, payload: Any) -> None:
        if self._wake is not None and pid not in self._own():
            self._wake(frozenset(str(payload).split(",")) if payload else frozenset())

    def _told_of_limits(self, _raw: object, pid: int, _channel: str, payload: Any) -> None:
        if self.limits_changed is not None and pid not in self._own():
            self.limits_changed(frozenset(str(payload).split(",")) if payload else frozenset())

    def _lost(self, raw: object) -> None:
        # Also when the store was closed on purpose: the one who waits then finds it closed.
        if raw is self._heard_on and self._wake is not None:
            self._heard_on = None
            self._wake(frozenset())
