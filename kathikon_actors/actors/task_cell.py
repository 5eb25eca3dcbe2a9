"""An actor that runs in a task of this process: its loop and its end."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from kathikon_actors.actors.actor import Actor, messages_of
from kathikon_actors.actors.cell import Cell, current_cell
from kathikon_actors.actors.errors import BadReturnValue, UnknownMessage
from kathikon_actors.actors.mailbox import CAST, INFO
from kathikon_actors.actors.mailbox_cell import MailboxCell, monotonic
from kathikon_actors.actors.messages import ExitSignal, Timeout
from kathikon_actors.actors.replies import Reply, ReplyTo
from supervisors import IGNORE, Exit, ExitReason, Killed, Normal, Shutdown, is_abnormal, reason_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from kathikon_actors.actors.deadlines import Scheduled
    from kathikon_actors.actors.recipe import Recipe
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["TaskCell"]

_BEFORE_OTHERS = 64


def _is_killed(exc: BaseException) -> bool:
    """Whether a cancellation from outside the actor is passing."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(trio.Cancelled)[0] is not None
    return isinstance(exc, trio.Cancelled)


class TaskCell(MailboxCell):
    """One life of an actor in a task.

    Attributes:
        actor: the user's object.
        doom: the reason with which it has to end now; None while it may go on.
        parent: the number of the actor that it is linked to from its start.
        page: called to publish its statistics where another process reads them.
        received: messages that came from outside of the process.
    """

    __slots__ = (
        "_current",
        "_handlers",
        "_held",
        "_idle",
        "_idle_timer",
        "_keeper",
        "_on_kill",
        "_owed",
        "_scope",
        "_snapshot_due",
        "_snapshot_timer",
        "_up",
        "actor",
        "doom",
        "page",
        "parent",
        "received",
    )

    def __init__(self, system: ActorSystem, uid: int, recipe: Recipe, on_kill: Callable[[], object]) -> None:
        super().__init__(system, uid, recipe.name, recipe.cls.__name__, recipe.mailbox)
        self.parent = None if recipe.parent is None else recipe.parent.uid
        self.page: Callable[[], object] | None = None
        self.received = 0
        self.doom: ExitReason | None = None
        self._handlers = messages_of(recipe.cls)
        self._on_kill = on_kill
        self._scope = trio.CancelScope()
        self._up = False
        self._current: Reply | None = None
        self._held: tuple[Reply, Any] | None = None
        self._owed: set[Reply] | None = None
        self._idle: float | None = None
        self._idle_timer: Scheduled | None = None
        self._keeper = recipe.keeper(system.snapshots)
        self._snapshot_due = False
        self._snapshot_timer: Scheduled | None = None
        actor = recipe.cls.__new__(recipe.cls)
        actor._cell = self  # noqa: SLF001 its own half
        self.actor: Actor = actor

    def signal(self, reason: ExitReason, sender: Cell | None, *, linked: bool) -> None:
        """Give it an exit signal."""
        if not self.alive:
            return
        itself = sender is self
        if not linked and isinstance(reason, Killed):
            self.kill()
        elif self.actor.trap_exit:
            if linked and sender is not None and sender.uid == self.parent:
                self.stop(reason)
            else:
                self.deliver(ExitSignal(None if sender is None else sender.ref, reason))
        elif is_abnormal(reason) or isinstance(reason, Shutdown) or itself:
            self._interrupt(reason)

    def kill(self) -> None:
        """Cancel it for good."""
        if self.alive:
            self._on_kill()

    # What the actor does to itself.

    def defer(self) -> ReplyTo | None:
        """Take over the answer to the call that is being handled; None when there is none to give."""
        reply, self._current = self._current, None
        if reply is None:
            return None
        if self._owed is None:
            self._owed = set()
        return ReplyTo(reply, self._owed)

    def stop_after_message(self, reason: ExitReason) -> None:
        """End after the present message."""
        self.doom = self.doom or reason

    def set_timeout(self, seconds: float | None) -> None:
        """Arm or take back the idle timeout."""
        self._cancel_idle()
        self._idle = seconds

    # Its life.

    async def run(self, recipe: Recipe, task_status: trio.TaskStatus[Any]) -> None:
        """Be the actor from start to end; raises `Exit(reason)` or what ended it."""
        self.task = trio.lowlevel.current_task()
        current_cell.set(self)
        failure: BaseException | None = None
        try:
            with self._scope:
                if not await self._start(recipe, task_status):
                    return
                await self._serve()
        except BaseException as exc:
            if not self._up or _is_killed(exc):
                raise
            failure = exc
            if not isinstance(exc, (KeyboardInterrupt, SystemExit)):
                self.doom = reason_of(exc)
        reason = self.doom or Normal()
        if not self._up:
            raise Exit(reason)
        try:
            await self._terminate(reason)
        finally:
            if self._held is not None:
                reply, value = self._held
                reply.reply(value)
        if failure is not None:
            raise failure
        if not isinstance(reason, Normal):
            raise Exit(reason)

    async def _start(self, recipe: Recipe, task_status: trio.TaskStatus[Any]) -> bool:
        actor = self.actor
        cls = type(actor)
        actor.__init__(*recipe.args, **recipe.kwargs)  # type: ignore[misc]
        if self._keeper is not None:
            actor = self.actor = await self._keeper.restore(actor, partial(self._make_again, recipe))
        if cls.init is not Actor.init:
            value: object = await actor.init()  # type: ignore[func-returns-value]
            if value is IGNORE:
                task_status.started(IGNORE)
                return False
            if value is not None:
                raise BadReturnValue("init", value)
        if self.doom is not None:
            return True
        self._up = True
        task_status.started(self.ref)
        if cls.started is not Actor.started:
            self._busy_since = monotonic()
            value = await actor.started()  # type: ignore[func-returns-value]
            self._note_done()
            self._processed = 0
            if value is not None:
                raise BadReturnValue("started", value)
        return True

    async def _serve(self) -> None:
        mailbox = self._mailbox
        handlers = self._handlers
        actor = self.actor
        streak = 0
        while self.doom is None:
            if not mailbox:
                streak = 0
                if self._snapshot_due:
                    await self._take_snapshot()
                    continue
                if self._idle is not None and self._idle_timer is None:
                    self._arm_idle()
                    if mailbox:
                        continue
                if self.page is not None:
                    self.page()
                self._parked = True
                await trio.lowlevel.wait_task_rescheduled(self._unpark)
                continue
            streak += 1
            if streak > _BEFORE_OTHERS:
                streak = 0
                await trio.lowlevel.checkpoint()
            kind, what, args, kwargs, reply, _ = mailbox.popleft()
            if self._idle is not None:
                self._cancel_idle()
            self._busy_since = monotonic()
            if self.page is not None:
                self.page()
            if kind <= CAST:
                handler = handlers.get(what)
                self._current = reply
                if handler is None:
                    raise UnknownMessage(self.kind, what, handlers)
                value = await handler(actor, *args, **kwargs)
                if reply is not None and self._current is not None:
                    self._current = None
                    if self.doom is not None:
                        self._held = (reply, value)  # type: ignore[unreachable] # the method may have set it
                    else:
                        reply.reply(value)
            elif kind == INFO:
                returned: object = await actor._take_info(what)  # type: ignore[func-returns-value]  # noqa: SLF001
                if returned is not None:
                    raise BadReturnValue("handle_info", returned)
            else:
                self.doom = what
                return
            self._note_done()
            if self._keeper is not None:
                await self._keep_state()

    def _note_done(self) -> None:
        self._processed += 1
        self._busy += monotonic() - self._busy_since
        self._busy_since = 0.0

    async def _terminate(self, reason: ExitReason) -> None:
        if type(self.actor).terminate is not Actor.terminate:
            await self.actor.terminate(reason)
        if self._keeper is not None and not is_abnormal(reason):
            await self._keeper.take_last(self.actor)

    def finish(self, reason: ExitReason) -> None:
        """Record the end, as its supervisor sees it; then tell everyone who waits for an answer."""
        if not self.alive:
            return
        super().finish(reason)
        self.task = None
        self._cancel_idle()
        if self._snapshot_timer is not None:
            self.system.deadlines.cancel(self._snapshot_timer)
        if self._current is not None:
            self._current.died(reason)
        for reply in tuple(self._owed or ()):
            reply.died(reason)
        for entry in self._mailbox:
            if entry[4] is not None:
                entry[4].died(reason)
        self._mailbox.clear()

    def _make_again(self, recipe: Recipe) -> Actor:
        """Make the user's object anew, for one that took half of a state."""
        cls = type(self.actor)
        actor = cls.__new__(cls)
        actor._cell = self  # noqa: SLF001 its own half
        actor.__init__(*recipe.args, **recipe.kwargs)  # type: ignore[misc]
        return actor

    async def _keep_state(self) -> None:
        """A message was handled: take the state if that is due, else see that it is taken in time."""
        keeper = self._keeper
        assert keeper is not None
        if keeper.message_handled():
            await self._take_snapshot()
        elif self._snapshot_timer is None and (seconds := keeper.due_in()) < math.inf:
            self._snapshot_timer = self.system.deadlines.at(trio.current_time() + seconds, self._on_snapshot_due)

    async def _take_snapshot(self) -> None:
        self._snapshot_due = False
        if self._snapshot_timer is not None:
            self.system.deadlines.cancel(self._snapshot_timer)
            self._snapshot_timer = None
        assert self._keeper is not None
        await self._keeper.take(self.actor)

    def _on_snapshot_due(self) -> None:
        self._snapshot_timer = None
        self._snapshot_due = True
        if self._parked:
            self._wake()

    def _interrupt(self, reason: ExitReason) -> None:
        """End now, in the middle of a message if it must be."""
        if self.doom is None:
            self.doom = reason
        self._scope.cancel()

    def _arm_idle(self) -> None:
        assert self._idle is not None
        if self._idle <= 0:
            self._on_idle()
        else:
            self._idle_timer = self.system.deadlines.at(trio.current_time() + self._idle, self._on_idle)

    def _on_idle(self) -> None:
        self._idle = None
        self._idle_timer = None
        self.deliver(Timeout())

    def _cancel_idle(self) -> None:
        self._idle = None
        if self._idle_timer is not None:
            self.system.deadlines.cancel(self._idle_timer)
            self._idle_timer = None
