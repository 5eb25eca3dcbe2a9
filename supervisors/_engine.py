"""The control task of a supervisor: it does one thing at a time, and always ends with the stop of its children.

Everything that changes a supervisor is a message in one inbox: calls of the API, ends of children, restarts that are
still to come. Outer cancellation is for the block round which the supervisor lives: when that has left, the control
task stops the children in order, and then lets the cancellation pass. Until then it goes on serving, so that what the
block does on its way out still finds its children, and those that crash come back.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import trio

from supervisors._child import Child, Retry
from supervisors._errors import InvalidSpec, RestartLimitReached, SupervisorStopped
from supervisors._events import ChildTerminated, RestartLimitExceeded
from supervisors._exits import Crash, ExitReason, Shutdown
from supervisors._keeper import Keeper, Over
from supervisors._life import Life, current_life
from supervisors._policy import RestartPolicy, is_reported, wants_restart
from supervisors._reports import Reporter
from supervisors._specs import OnExceed, check_choice, check_intensity

__all__ = ["Engine"]

T = TypeVar("T")


class _Call:
    """A call of the API on its way through the inbox."""

    __slots__ = ("abandoned", "args", "done", "error", "fn", "value")

    def __init__(self, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        self.fn = fn
        self.args = args
        self.done = trio.Event()
        self.abandoned = False
        self.value: Any = None
        self.error: BaseException | None = None


class Engine(ABC):
    """What static and dynamic supervisors share."""

    strategy: str

    def __init__(
        self, *, name: str | None, max_restarts: int, max_seconds: float, on_exceed: OnExceed, kill_timeout: float
    ) -> None:
        check_intensity(max_restarts, max_seconds, ("max_restarts", "max_seconds"))
        check_choice("on_exceed", on_exceed, OnExceed)
        if not isinstance(kill_timeout, (int, float)) or not 0 < kill_timeout < math.inf:
            raise InvalidSpec("kill_timeout", kill_timeout, "finite seconds, more than 0")
        if name is not None and not isinstance(name, str):
            raise InvalidSpec("name", name, "a string or None")
        self._parent_life = life = current_life.get(None)
        parent = None if life is None else life.reporter
        if name is None:
            name = "supervisor" if life is None else f"{life.reporter.name}/{life.child.spec.id}"
        self.reporter = Reporter(name, parent)
        self.keeper = Keeper(self.reporter, kill_timeout, self._note_end, self.kill)
        self.policy = RestartPolicy(max_restarts, max_seconds, on_exceed)
        self._send, self._inbox = trio.open_memory_channel[_Call | Retry | Life](math.inf)
        self._outer: trio.Nursery | None = None
        self._serving = trio.CancelScope()
        self._patience = trio.CancelScope(shield=True)
        self._current: _Call | None = None
        self.body = trio.CancelScope()
        self.ready = trio.Event()
        self.finished = trio.Event()
        self.ending = False
        self.by_hand = False
        self.exit_reason: ExitReason | None = None
        self.failure: BaseException | None = None
        self.started_at: float | None = None

    @abstractmethod
    async def start_first(self) -> None:
        """Start the children that a new supervisor starts with."""

    @abstractmethod
    def children(self) -> Iterable[Child]:
        """All children, in start order."""

    @abstractmethod
    async def stop_children(self) -> None:
        """Stop all children, in the order of this kind of supervisor."""

    @abstractmethod
    async def restart(self, child: Child, *, delay: float | None) -> None:
        """Start `child`, which died by itself, again: now, or after `delay` seconds."""

    @abstractmethod
    async def retry(self, child: Child) -> None:
        """Start `child` again after a failed start or a delay."""

    @abstractmethod
    def gone(self, child: Child) -> None:
        """Act on a child that ended by itself and is not started again."""

    @abstractmethod
    def forget(self, child: Child) -> None:
        """Drop the record of a child that is down for good, if its kind is not kept."""

    def dropped(self, child: Child) -> None:
        """Act on a child that is not started again because it died too often."""
        self.gone(child)

    # Asking.

    async def ask(self, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Have the control task run `fn(*args)` in its turn.

        A caller that is cancelled takes its call back: one that waits is never made, a start that is under way is
        ended before the cancellation goes on.
        """
        if self.ending:
            raise SupervisorStopped(self.reporter.name, self.exit_reason)
        call = _Call(fn, args)
        self._send.send_nowait(call)
        try:
            await call.done.wait()
        except trio.Cancelled:
            call.abandoned = True
            starting = self.keeper.starting
            life = None if starting is None else starting.life
            if self._current is call and life is not None and not life.started:
                life.abandon()
                with trio.CancelScope(shield=True):
                    await call.done.wait()
            raise
        if call.error is not None:
            raise call.error
        result: T = call.value
        return result

    async def _answer(self, call: _Call) -> None:
        if call.abandoned:
            call.done.set()
            return
        self._current = call
        try:
            call.value = await call.fn(*call.args)
        except (Over, trio.Cancelled):
            call.error = SupervisorStopped(self.reporter.name, self.exit_reason)
            raise
        except Exception as exc:
            call.error = exc
        finally:
            self._current = None
            call.done.set()

    def _refuse_calls(self) -> None:
        while True:
            try:
                message = self._inbox.receive_nowait()
            except trio.WouldBlock:
                return
            if isinstance(message, _Call):
                message.error = SupervisorStopped(self.reporter.name, self.exit_reason)
                message.done.set()

    # The control task.

    @trio.lowlevel.enable_ki_protection
    async def run(self, outer: trio.Nursery) -> None:
        """Start the children, serve until the end, stop the children. Raises nothing: see `failure`."""
        self._outer = outer
        try:
            with self._serving:
                await self.keeper.open(outer)
                self.started_at = trio.current_time()
                await self.start_first()
                self.ready.set()
                self._serving.shield = True  # from here on the block's end ends it: see `opened`
                async for message in self._inbox:
                    if isinstance(message, Life):
                        await self._on_end(message)
                    elif isinstance(message, Retry):
                        await self._on_retry(message)
                    else:
                        await self._answer(message)
        except Over:
            pass
        except trio.Cancelled:
            # The task that opened this supervisor is under the same cancellation and raises it after the stop.
            self.end(Shutdown())
        except BaseException as exc:
            self.end(Crash(exc), exc)
        with trio.CancelScope(shield=True):
            await self._close()

    def end(self, reason: ExitReason, failure: BaseException | None = None) -> None:
        """Make the control task stop the children and end; the first reason counts."""
        if not self.ending:
            self.ending = True
            self.exit_reason = reason
            self.failure = failure
            self._serving.cancel()

    def stop_by_hand(self, reason: ExitReason) -> None:
        """End because someone called `stop`: the block round the supervisor goes on, since it may be the caller."""
        if not self.ending:
            self.by_hand = True
            self.end(reason)

    def kill(self) -> None:
        """End at once, killing what is left of the children."""
        self.end(Shutdown())
        self._patience.cancel()

    async def _close(self) -> None:
        self.end(Shutdown())
        self.keeper.closing = True
        if not self.by_hand or self.keeper.fatal is not None:
            self.body.cancel()
        self._refuse_calls()
        for child in self.children():
            self.cancel_retry(child)
            if child.state == "restarting":
                child.state = "stopped"
        life = self._parent_life
        if life is not None and not life.finished:
            life.add_shield(self._patience)
        with self._patience:
            await self.keeper.abort_start()
            await self.stop_children()
        if life is not None:
            life.drop_shield(self._patience)
        if self._patience.cancelled_caught:
            await self.keeper.kill_all(self.children())
        await self.keeper.close()
        for child in self.children():
            if child.life is not None:
                self.keeper.take(child)
        if self.keeper.fatal is not None:
            self.exit_reason = Crash(self.keeper.fatal)
        self.finished.set()
        self.ready.set()
        if self.keeper.fatal is not None:
            self.body.cancel()

    # Deaths and restarts.

    def _note_end(self, life: Life) -> None:
        if (life.started or life.child.state == "unkillable") and not self.ending:
            self._send.send_nowait(life)

    async def _on_end(self, life: Life) -> None:
        child = life.child
        if child.life is not life:
            return
        if child.state == "unkillable":
            self.keeper.take(child)
            if child.start_when_dead:
                child.start_when_dead = False
                child.state = "restarting"
                self.schedule(child, None)
            else:
                self.forget(child)
            return
        now = trio.current_time()
        reason = self.keeper.take(child)
        if not wants_restart(child.spec, reason):
            if is_reported(child.spec, reason):
                self.reporter.emit(ChildTerminated, child, reason)
            self.gone(child)
            return
        child.state = "restarting"
        self.reporter.emit(ChildTerminated, child, reason)
        self.policy.note_death(child, 0.0 if child.started_at is None else now - child.started_at)
        delay = self.policy.next_delay(child)
        if self.admitted(child, now):
            await self.restart(child, delay=delay)

    def admitted(self, child: Child, now: float) -> bool:
        """Count one restart of `child`; when that is one too many, do what `on_exceed` says.

        Raises:
            Over: the supervisor gives up.
        """
        if self.policy.admit(child, now):
            return True
        self.reporter.emit(RestartLimitExceeded, child, child.last_exit)
        match self.policy.on_exceed:
            case "escalate":
                child.state = "stopped"
                error = RestartLimitReached(self.reporter.name, child.spec.id, child.last_exit)
                self.end(Shutdown(error), error)
                raise Over
            case "pause":
                self.policy.forgive(child)
                self.schedule(child, self.policy.window.period)
            case "drop":
                child.state = "stopped"
                self.dropped(child)
        return False

    def failed_again(self, child: Child) -> None:
        """Plan the next attempt for a child whose start failed at a restart."""
        child.state = "restarting"
        delay = self.policy.next_delay(child)
        if delay is None or self.admitted(child, trio.current_time()):
            self.schedule(child, delay)

    def schedule(self, child: Child, delay: float | None) -> None:
        """Queue a restart of `child`: behind the messages that wait now, or after `delay` seconds.

        One that comes without a delay asks the limits when its turn comes; a delayed one has asked already.
        """
        self.cancel_retry(child)
        if delay is None:
            child.retry = Retry(child, trio.current_time(), counted=False)
            self._send.send_nowait(child.retry)
        else:
            child.retry = Retry(child, trio.current_time() + delay, counted=True)
            assert self._outer is not None
            child.retry.timer = trio.CancelScope(shield=True)
            self._outer.start_soon(self._wait_then_retry, child.retry)

    async def _wait_then_retry(self, retry: Retry) -> None:
        assert retry.timer is not None
        with retry.timer:
            await trio.sleep_until(retry.due)
            self._send.send_nowait(retry)

    def cancel_retry(self, child: Child) -> None:
        """Take back the restart of `child` that is still to come."""
        if child.retry is not None:
            child.retry.child = None
            if child.retry.timer is not None:
                child.retry.timer.cancel()
            child.retry = None

    async def _on_retry(self, retry: Retry) -> None:
        child = retry.child
        if child is None:
            return
        child.retry = None
        if retry.counted or self.admitted(child, trio.current_time()):
            await self.retry(child)
