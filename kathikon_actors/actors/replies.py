"""The way back of a call: a slot that is filled once, by the reply, the death, the timeout or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import outcome
import trio

from kathikon_actors.actors.errors import ActorDied, CallingSelf, CallTimeout, NotInACall
from supervisors import Crash, ExitReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from kathikon_actors.actors.cell import Cell
    from kathikon_actors.actors.deadlines import Deadlines, Expiring

__all__ = ["Reply", "ReplyTo", "Slot", "defer_reply"]


class Reply(Protocol):
    """Where the answer to one call goes. Only the first answer counts."""

    def reply(self, value: Any) -> None:
        """Give the result."""

    def fail(self, error: BaseException) -> None:
        """Have the call raise `error`."""

    def died(self, reason: ExitReason) -> None:
        """Have the call raise `ActorDied(reason)`."""


class Slot:
    """A task of this process that waits for an answer.

    Attributes:
        on_drop: called when the task gives up: its timeout, or its cancellation.
    """

    __slots__ = ("_bucket", "_cell", "_method", "_seconds", "_task", "on_drop")

    def __init__(self, cell: Cell, method: str) -> None:
        self._cell = cell
        self._method = method
        self._task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        if self._task is cell.task:
            raise CallingSelf(cell.label, method)
        self._bucket: set[Expiring] | None = None
        self._seconds = 0.0
        self.on_drop: Callable[[], object] | None = None

    async def wait(self, deadlines: Deadlines, seconds: float) -> Any:
        """Wait for the answer, `seconds` at most. To be called by the task that made the slot, at once."""
        if seconds < 1e9:  # else for ever: the year 2058 is far
            self._seconds = seconds
            self._bucket = deadlines.expect(seconds, self)
        return await trio.lowlevel.wait_task_rescheduled(self._give_up)

    @property
    def waits(self) -> bool:
        """Whether anybody still waits for the answer."""
        return self._task is not None

    def _give_up(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        if self._bucket is not None:
            self._bucket.discard(self)
        if self.on_drop is not None:
            self.on_drop()
        return trio.lowlevel.Abort.SUCCEEDED

    def reply(self, value: Any) -> None:
        """Give the result."""
        task = self._task
        if task is not None:
            self._task = None
            if self._bucket is not None:
                self._bucket.discard(self)
            trio.lowlevel.reschedule(task, outcome.Value(value))

    def fail(self, error: BaseException) -> None:
        """Have the call raise `error`."""
        task = self._task
        if task is not None:
            self._task = None
            if self._bucket is not None:
                self._bucket.discard(self)
            trio.lowlevel.reschedule(task, outcome.Error(error))

    def died(self, reason: ExitReason) -> None:
        """Have the call raise `ActorDied(reason)`."""
        if self._task is not None:
            error = ActorDied(self._cell.label, self._method, reason)
            if isinstance(reason, Crash):
                error.__cause__ = reason.exception
            self.fail(error)

    def expire(self) -> None:
        """Its time is over."""
        if self.on_drop is not None:
            self.on_drop()
        self.fail(CallTimeout(self._cell.label, self._method, self._seconds))


class ReplyTo:
    """The right to answer one call, from anywhere in this process, once; a second answer does nothing."""

    __slots__ = ("_owed", "_reply")

    def __init__(self, reply: Reply, owed: set[Reply]) -> None:
        self._reply: Reply | None = reply
        self._owed = owed
        owed.add(reply)

    def __repr__(self) -> str:
        return "<ReplyTo answered>" if self._reply is None else "<ReplyTo>"

    def reply(self, value: object) -> None:
        """Give the caller its result."""
        reply = self._take()
        if reply is not None:
            reply.reply(value)

    def fail(self, error: BaseException) -> None:
        """Have the caller's `call` raise `error`; the actor is not harmed."""
        reply = self._take()
        if reply is not None:
            reply.fail(error)

    def _take(self) -> Reply | None:
        reply, self._reply = self._reply, None
        if reply is not None:
            self._owed.discard(reply)
        return reply


def defer_reply() -> ReplyTo:
    """Take over the answer to the call that is being handled: it is given later, whatever the method returns.

    The caller's timeout runs on. If the actor ends first, the caller gets `ActorDied`.

    Raises:
        NotInACall: no call is being handled here, or its answer was deferred already.

    Example:
        class Desk(Actor):
            def __init__(self) -> None:
                self.waiting: list[ReplyTo] = []

            async def wait_for_bell(self) -> str:
                self.waiting.append(defer_reply())
                return ""  # not used: the reply comes from `ring`

            async def ring(self) -> None:
                for reply_to in self.waiting:
                    reply_to.reply("ding")
                self.waiting.clear()
    """
    from kathikon_actors.actors.cell import current_cell

    cell = current_cell.get(None)
    reply_to = None if cell is None else cell.defer()
    if reply_to is None:
        raise NotInACall
    return reply_to
