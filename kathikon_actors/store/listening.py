"""The connection that hears what is told to the nodes: rows which nobody owns, and what operators want."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Connection, Raw

__all__ = ["LIMITS", "Ear"]

CHANNEL = "kathikon_unowned"
"""The payload names queues, joined by commas; an empty one means any."""

LIMITS = "kathikon_limits"
"""The payload is the tags of limits, joined by commas; an empty one means any."""

CONTROL_CHANNEL = "kathikon_control"
"""The payload is the topic: what operators have changed."""


class Ear:
    """LISTENs on a connection of its own: asyncpg hears of a notice only while nothing else uses the connection.

    Args:
        connection: used for nothing else.
        own: gives the server's process ids of the connections whose notices of rows and limits are our own.

    Attributes:
        limits_changed: called with what other nodes tell of limits.
    """

    def __init__(self, connection: Connection, own: Callable[[], Collection[int]]) -> None:
        self.connection = connection
        self._own = own
        self._wake: Callable[[frozenset[str]], None] | None = None
        self._control: dict[str, Callable[[], None]] = {}
        self._heard_on: Raw | None = None
        self.limits_changed: Callable[[frozenset[str]], None] | None = None

    async def listen(self, wake: Callable[[frozenset[str]], None]) -> None:
        """See `Store.listen`."""
        self._wake = wake
        await self._hear()

    async def listen_control(self, topic: str, wake: Callable[[], None]) -> None:
        """See `Store.listen_control`."""
        self._control[topic] = wake
        await self._hear()

    async def _hear(self) -> None:
        raw = self.connection.raw
        if raw is None or raw.is_closed() or raw is not self._heard_on:
            await self.connection.run(self._begin)

    async def _begin(self, raw: Raw) -> None:
        if raw is self._heard_on:  # the other one who listens was faster
            return
        await raw.add_listener(CHANNEL, self._told)
        await raw.add_listener(LIMITS, self._told_of_limits)
        await raw.add_listener(CONTROL_CHANNEL, self._told_control)
        raw.add_termination_listener(self._lost)
        self._heard_on = raw

    def _told(self, _raw: object, pid: int, _channel: str, payload: Any) -> None:
        if self._wake is not None and pid not in self._own():
            self._wake(frozenset(str(payload).split(",")) if payload else frozenset())

    def _told_of_limits(self, _raw: object, pid: int, _channel: str, payload: Any) -> None:
        if self.limits_changed is not None and pid not in self._own():
            self.limits_changed(frozenset(str(payload).split(",")) if payload else frozenset())

    def _told_control(self, _raw: object, _pid: int, _channel: str, payload: Any) -> None:
        wake = self._control.get(str(payload))
        if wake is not None:
            wake()

    def _lost(self, raw: object) -> None:
        # Also when the store was closed on purpose: the one who waits then finds it closed.
        if raw is not self._heard_on:
            return
        self._heard_on = None
        if self._wake is not None:
            self._wake(frozenset())
        for wake in list(self._control.values()):
            wake()
