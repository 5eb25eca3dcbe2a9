"""An actor in another process, and the way back of its answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from kathikon_actors.actors.cell import Cell
from kathikon_actors.actors.codec import dump, dump_call, dump_error, dump_reason, load, load_error, load_reason
from kathikon_actors.actors.errors import MailboxFull, Unpicklable
from kathikon_actors.actors.replies import Reply, Slot
from kathikon_actors.actors.statistics import ActorStatistics
from kathikon_actors.actors.wire import (
    CALL,
    CAST,
    DIED,
    ERROR,
    LIMIT,
    REPLY,
    SEND,
    SIGNAL,
    STOP,
    Address,
    Message,
    Wire,
)
from supervisors import ExitReason, Killed

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["RemoteCell", "WireReply", "address_of", "answer", "fail_all"]


def address_of(cell: Cell | None) -> Address:
    """Say which actor is meant, to another process."""
    if cell is None:
        return None
    return cell.to if isinstance(cell, RemoteCell) else cell.uid


class RemoteCell(Cell):
    """One life of an actor that another process runs, or whoever holds a name at the other end of the wire.

    Attributes:
        wire: the socket it is reached by.
        to: what the other end knows it by.
        sent: messages given to the wire so far.
    """

    __slots__ = ("sent", "to", "wire")

    def __init__(self, system: ActorSystem, uid: int, name: str | None, kind: str, wire: Wire) -> None:
        super().__init__(system, uid, name, kind)
        self.wire = wire
        self.to: Address = uid
        self.sent = 0

    def call(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], reply: Reply) -> None:
        """Have it run a method and answer to `reply`."""
        self.forward_call(method, dump_call(args, kwargs), reply)

    def forward_call(self, method: str, payload: Any, reply: Reply) -> None:
        """As `call`, with arguments that are packed already."""
        wire = self._wire(payload)
        number = wire.expect(reply)
        if type(reply) is Slot:
            reply.on_drop = partial(wire.replies.pop, number, None)
        self.sent += 1
        wire.put((CALL, number, self.to, method, payload))

    def cast(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Have it run a method."""
        self.forward(CAST, method, dump_call(args, kwargs))

    def send(self, message: object) -> None:
        """Give `message` to its `handle_info`."""
        self.forward(SEND, dump(message, "message"))

    def forward(self, kind: int, *rest: Any) -> None:
        """Send a cast or a message whose payload, the last of `rest`, is packed already."""
        _check_size(rest[-1])
        if not self.wire.is_congested():
            self.sent += 1
            self.wire.put((kind, self.to, *rest))

    def stop(self, reason: ExitReason) -> None:
        """Have it end with `reason` in its turn."""
        self.wire.put((STOP, self.to, dump_reason(reason)))

    def signal(self, reason: ExitReason, sender: Cell | None, *, linked: bool) -> None:
        """Give it an exit signal."""
        name = None if sender is None else sender.name
        self.wire.put((SIGNAL, self.to, address_of(sender), name, linked, dump_reason(reason)))

    def kill(self) -> None:
        """End it at once."""
        self.signal(Killed(), None, linked=False)

    def statistics(self) -> ActorStatistics:
        """Only the process that runs it knows more than how much was sent to it."""
        return ActorStatistics(0, 0.0, self.sent, 0.0, 0)

    def _wire(self, payload: Any) -> Wire:
        if self.wire.is_congested():
            raise MailboxFull(self.label, self.sent)
        _check_size(payload)
        return self.wire


def _check_size(payload: Any) -> None:
    size = len(payload) if isinstance(payload, bytes) else sum(len(part) for part in payload)
    if size > LIMIT - 1024:
        raise Unpicklable("args", "message", f"{size} bytes; a message between processes may have {LIMIT - 1024}")


class WireReply:
    """The caller is at the other end of a wire."""

    __slots__ = ("_number", "_wire")

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire = wire
        self._number = number

    def reply(self, value: Any) -> None:
        """Give the result; what cannot be sent is the caller's error."""
        try:
            payload = dump(value, "result")
            _check_size(payload)
        except Unpicklable as error:
            self.fail(error)
        else:
            self._wire.put((REPLY, self._number, payload))

    def fail(self, error: BaseException) -> None:
        """Have the call raise `error`."""
        self._wire.put((ERROR, self._number, dump_error(error)))

    def died(self, reason: ExitReason) -> None:
        """Have the call raise `ActorDied(reason)`."""
        self._wire.put((DIED, self._number, dump_reason(reason)))

    def pass_on(self, kind: int, payload: Any) -> None:
        """Hand an answer on as it came."""
        self._wire.put((kind, self._number, payload))


def answer(replies: dict[int, Reply], message: Message) -> None:
    """Give an answer that came by wire to whoever waits for it; nobody does when they gave up."""
    kind, number, payload = message
    reply = replies.pop(number, None)
    if reply is None:
        return
    if type(reply) is WireReply:
        reply.pass_on(kind, payload)
    elif kind == REPLY:
        try:
            value = load(payload)
        except Exception as error:  # a class whose objects cannot be made here
            error.add_note("the result came from another process and could not be made again here")
            reply.fail(error)
            return
        reply.reply(value)
    elif kind == ERROR:
        reply.fail(load_error(payload))
    else:
        reply.died(load_reason(payload))


def fail_all(replies: dict[int, Reply], reason: ExitReason) -> None:
    """The other end is gone: nobody answers any more."""
    waiting = list(replies.values())
    replies.clear()
    for reply in waiting:
        reply.died(reason)
