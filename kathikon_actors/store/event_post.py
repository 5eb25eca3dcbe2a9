"""How events leave the nodes: who listens from outside says so in the store, and nodes send to them by notices.

A listener keeps a lease by the store's clock. One that dies costs nothing once that has run out. Events go out as
notices, which are neither kept nor sent again: who is not there when they are sent does not hear them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from uuid import UUID

    from kathikon_actors.store.connection import Raw

__all__ = [
    "EVENTS_CHANNEL",
    "LISTENERS",
    "LISTENER_LEASE",
    "LONGEST_NOTICE",
    "EventPost",
    "Listener",
    "PostgresEventPost",
    "announce",
    "forget",
    "living_nodes",
    "renew",
]

T = TypeVar("T")

LISTENERS: Final = "listeners"
"""The topic of a notice that somebody began or ceased to listen."""

EVENTS_CHANNEL: Final = "kathikon_events"
"""Where nodes send events; the payload is made by `telemetry.forwarding`."""

LISTENER_LEASE: Final = 15.0
"""Seconds after which nodes do not send any more to a listener that is silent."""

LONGEST_NOTICE: Final = 7_999
"""Bytes of one payload, as Postgres has it."""


@dataclass(frozen=True)
class Listener:
    """Somebody outside who hears events.

    Attributes:
        id: of this listener alone, as text.
        kinds: names of events; `None` for all.
        lease_left: seconds.
    """

    id: str
    kinds: frozenset[str] | None
    lease_left: float


class EventPost(Protocol):
    """The part of a store that carries events to programs without a node."""

    async def listeners(self) -> list[Listener]:
        """Give those whose lease runs."""
        ...

    async def send(self, payloads: Sequence[str]) -> None:
        """Send to all of them, in this order; after `StoreUnavailable` it may have been sent."""


class _Runs(Protocol):
    async def __call__(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...


class PostgresEventPost:
    """An `EventPost` by LISTEN and NOTIFY.

    Args:
        run: runs a piece of work on a connection of the store.
    """

    def __init__(self, run: _Runs) -> None:
        self._run = run

    async def listeners(self) -> list[Listener]:
        """See `EventPost.listeners`."""
        return await self._run(_listeners)

    async def send(self, payloads: Sequence[str]) -> None:
        """See `EventPost.send`."""
        await self._run(_send, payloads)


async def _listeners(raw: Raw) -> list[Listener]:
    return [
        Listener(listener_id, None if kinds is None else frozenset(kinds), left)
        for listener_id, kinds, left in await raw.fetch(statement("listeners"))
    ]


async def _send(raw: Raw, payloads: Sequence[str]) -> None:
    await raw.execute(statement("forward_events"), list(payloads))


async def announce(raw: Raw, listener: UUID, kinds: Sequence[str] | None) -> None:
    """Say that one listens, and tell the nodes."""
    async with raw.transaction():
        given = None if kinds is None else list(kinds)
        await raw.execute(statement("listen_events"), listener, given, LISTENER_LEASE)
        await raw.execute(statement("tell_control"), LISTENERS)


async def renew(raw: Raw, listener: UUID) -> bool:
    """Go on listening; tell whether the lease had not run out."""
    return await raw.execute(statement("renew_listener"), listener, LISTENER_LEASE) == "UPDATE 1"


async def forget(raw: Raw, listener: UUID) -> None:
    """Listen no more, and tell the nodes."""
    async with raw.transaction():
        await raw.execute(statement("forget_listener"), listener)
        await raw.execute(statement("tell_control"), LISTENERS)


async def living_nodes(raw: Raw) -> set[str]:
    """Give the names of the nodes that live."""
    return {row["name"] for row in await raw.fetch(statement("living_nodes"))}
