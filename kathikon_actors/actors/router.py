"""What is done with messages that come by wire, at both ends alike."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kathikon_actors.actors.cell import Cell, nobody
from kathikon_actors.actors.codec import dump_error, dump_reason, load, load_reason
from kathikon_actors.actors.errors import NoSuchActor
from kathikon_actors.actors.remote_cell import RemoteCell, WireReply, answer
from kathikon_actors.actors.wire import (
    CALL,
    CAST,
    DEMONITOR,
    DIED,
    DOWN,
    ERROR,
    MONITOR,
    REPLY,
    SEND,
    SIGNAL,
    STOP,
    Address,
    Message,
    Wire,
)

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem
    from supervisors import ExitReason

__all__ = ["Router"]

logger = logging.getLogger("kathikon_actors")


class Router:
    """Takes messages off a wire.

    Attributes:
        watching: monitors of the other end, by their number: how to take each back.
        watched: monitors of this end on actors of the other, by their number: whom to tell.
    """

    def __init__(self, system: ActorSystem, wire: Wire) -> None:
        self.system = system
        self.wire = wire
        self.watching: dict[int, Callable[[], object]] = {}
        self.watched: dict[int, Callable[[ExitReason], object]] = {}

    def take(self, messages: Sequence[Message]) -> None:
        """Act on messages, in order. Raises nothing, and never waits."""
        replies = self.wire.replies
        for message in messages:
            kind = message[0]
            if kind == REPLY:
                answer(replies, message)
            elif kind == CAST:
                self._cast(message)
            elif kind == CALL:
                self._call(message)
            else:
                self._rare(kind, message)

    def request(self, what: str, payload: Any, reply: WireReply) -> None:  # noqa: ARG002
        """Answer a question to the system itself."""
        reply.fail(NoSuchActor(f"for {what}"))

    def own(self, kind: int, message: Message) -> None:
        """Act on a message that only one end gets."""

    def sender(self, address: Address, name: str | None) -> Cell | None:  # noqa: ARG002
        """Give the actor that a signal came from."""
        return None if address is None else self.system.cell_at(address)

    def _call(self, message: Message) -> None:
        _, number, to, method, payload = message
        reply = WireReply(self.wire, number)
        if to == 0:
            try:
                self.request(method, payload, reply)
            except Exception as error:
                reply.fail(error)
            return
        cell = self.system.cell_at(to)
        if cell is None:
            self.wire.put((ERROR, number, dump_error(NoSuchActor(_label(to), self.system.names()))))
            return
        try:
            if isinstance(cell, RemoteCell):
                cell.forward_call(method, payload, reply)
            else:
                args, kwargs = load(payload)
                self.received(cell)
                cell.call(method, args, kwargs, reply)
        except Exception as error:  # arguments whose classes are not here, a full mailbox: the caller's to know
            reply.fail(error)

    def _cast(self, message: Message) -> None:
        _, to, method, payload = message
        cell = self.system.cell_at(to)
        if isinstance(cell, RemoteCell):
            cell.forward(CAST, method, payload)
        elif cell is not None:
            try:
                args, kwargs = load(payload)
            except Exception:
                logger.exception("a cast of %s to %s cannot be read here", method, cell.label)
                return
            self.received(cell)
            cell.cast(method, args, kwargs)

    def received(self, cell: Cell) -> None:
        """A message for an actor of this end came."""

    def _rare(self, kind: int, message: Message) -> None:
        if kind == SEND:
            self._send(message)
        elif kind == STOP:
            cell = self.system.cell_at(message[1])
            if cell is not None:
                cell.stop(load_reason(message[2]))
        elif kind == SIGNAL:
            _, to, sender, name, linked, reason = message
            cell = self.system.cell_at(to)
            if cell is not None:
                cell.signal(load_reason(reason), self.sender(sender, name), linked=linked)
        elif kind == MONITOR:
            self._monitor(*message[1:])
        elif kind == DEMONITOR:
            withdraw = self.watching.pop(message[1], None)
            if withdraw is not None:
                withdraw()
        elif kind == DOWN:
            tell = self.watched.pop(message[1], None)
            if tell is not None:
                tell(load_reason(message[2]))
        elif kind in {ERROR, DIED}:
            answer(self.wire.replies, message)
        else:
            self.own(kind, message)

    def _send(self, message: Message) -> None:
        _, to, payload = message
        cell = self.system.cell_at(to)
        if isinstance(cell, RemoteCell):
            cell.forward(SEND, payload)
        elif cell is not None:
            try:
                value = load(payload)
            except Exception:
                logger.exception("a message to %s cannot be read here", cell.label)
                return
            self.received(cell)
            cell.send(value)

    def _monitor(self, number: int, to: Address) -> None:
        cell = None if to is None else self.system.cell_at(to)
        if cell is None:
            self.wire.put((DOWN, number, dump_reason(nobody(_label(to)))))
            return

        def tell(reason: ExitReason) -> None:
            self.watching.pop(number, None)
            self.wire.put((DOWN, number, dump_reason(reason)))

        self.watching[number] = cell.when_dead(tell)


def _label(to: Address) -> str:
    return f'"{to}"' if isinstance(to, str) else f"#{to}"
