"""One life of a child: the task that runs it, and what the supervisor may do to it.

The task never lets an exception out: it would cancel the child's siblings. How a life ended is decided by how the task
ended, not by what was asked of it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import trio

from supervisors._errors import NotStarted
from supervisors._exits import Crash, ExitReason, Killed, Normal, Shutdown, fatal_leaf, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from supervisors._child import Child
    from supervisors._reports import Reporter

__all__ = [
    "Life",
    "Pid",
    "current_life",
    "live",
]

current_life: ContextVar[Life] = ContextVar("current_life")


class Life:
    """A child from its start to its end; its identity tells the exit of an old life from that of a new one.

    Attributes:
        started: it called `started()`, or needs not to.
        finished: its task has ended; then `reason` is set, and `fatal` if a KeyboardInterrupt or SystemExit ended it.
        deadline: when it will be killed, once it was asked to stop.
    """

    __slots__ = (
        "_mourners",
        "_pid",
        "_shields",
        "_trap",
        "_watch",
        "abandoned",
        "child",
        "deadline",
        "fatal",
        "finished",
        "info",
        "injected",
        "killed",
        "on_end",
        "reason",
        "reporter",
        "scope",
        "started",
        "stop_requested",
        "task",
    )

    def __init__(self, child: Child, reporter: Reporter, on_end: Callable[[Life], None]) -> None:
        self.child = child
        self.reporter = reporter
        self.on_end = on_end
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.info: object = None
        self.abandoned = False
        self.started = False
        self.finished = False
        self.stop_requested = False
        self.killed = False
        self.deadline: float | None = None
        self.injected: BaseException | None = None
        self.reason: ExitReason = Normal()
        self.fatal: BaseException | None = None
        self._watch: trio.Event | None = None
        self._trap: Callable[[], object] | None = None
        self._shields: set[trio.CancelScope] | None = None
        self._pid: Pid | None = None
        self._mourners: dict[object, Callable[[ExitReason], object]] | None = None

    def _changed(self) -> None:
        if self._watch is not None:
            self._watch.set()
            self._watch = None

    async def wait_up(self) -> None:
        """Return once the child is up, has ended without having been, or nobody wants it any more."""
        while not (self.started or self.finished or self.abandoned):
            if self._watch is None:
                self._watch = trio.Event()
            await self._watch.wait()

    async def wait_end(self) -> None:
        """Return once the child's task has ended."""
        while not self.finished:
            if self._watch is None:
                self._watch = trio.Event()
            await self._watch.wait()

    def mark_started(self, info: object) -> None:
        """Note that the child is up."""
        self.started = True
        self.info = info
        self._changed()

    def abandon(self) -> None:
        """Note that nobody waits for the start any more."""
        self.abandoned = True
        self._changed()

    def request_stop(self) -> None:
        """Ask the child to stop: cancels it unless it traps the request."""
        if not self.stop_requested:
            self.stop_requested = True
            if self._trap is not None:
                self._trap()
            else:
                self.scope.cancel()

    def kill(self) -> None:
        """Cancel the child for good, its cleanup too."""
        self.killed = True
        self.scope.cancel()
        for shield in self._shields or ():
            shield.cancel()

    def inject(self, exception: BaseException) -> None:
        """Make the child crash with `exception`, at its next checkpoint."""
        self.injected = exception
        self.scope.cancel()

    @property
    def pid(self) -> Pid:
        """The public name of this life."""
        if self._pid is None:
            self._pid = Pid(self)
        return self._pid

    def when_dead(self, callback: Callable[[ExitReason], object]) -> Callable[[], None]:
        """Call `callback` with the exit reason when this life ends, at once if it has; returns the way out."""
        if self.finished:
            callback(self.reason)
        elif self._mourners is None:
            self._mourners = {}
        key = object()
        if self._mourners is not None:
            self._mourners[key] = callback

        def withdraw() -> None:
            if self._mourners is not None:
                self._mourners.pop(key, None)

        return withdraw

    def finish(self, reason: ExitReason, fatal: BaseException | None) -> None:
        """Record the end and tell the supervisor."""
        self.reason = reason
        self.fatal = fatal
        self.finished = True
        self.task = None
        # Names are free and monitors have fired before the supervisor hears of the end and can start a successor.
        mourners, self._mourners = self._mourners, None
        for callback in tuple(mourners.values()) if mourners else ():
            callback(reason)
        self._changed()
        self.on_end(self)

    def trap(self, notify: Callable[[], object] | None) -> None:
        """Call `notify` instead of cancelling when a stop is requested; None restores cancelling."""
        self._trap = notify
        if notify is None:
            if self.stop_requested:
                self.scope.cancel()
        elif self.stop_requested:
            notify()

    def add_shield(self, scope: trio.CancelScope) -> None:
        """Let a kill cancel `scope`, which is shielded from all else."""
        if self._shields is None:
            self._shields = set()
        self._shields.add(scope)
        if self.killed:
            scope.cancel()

    def drop_shield(self, scope: trio.CancelScope) -> None:
        """Undo `add_shield`."""
        if self._shields is not None:
            self._shields.discard(scope)

    def stack(self) -> str:
        """Where the child's task is now, one line a frame, outermost first."""
        if self.task is None:
            return ""
        lines = []
        for frame, line in self.task.iter_await_frames():
            code = frame.f_code
            lines.append(f"{code.co_filename}:{line} in {code.co_qualname}")
        return "\n".join(lines)


class Pid:
    """One life of a child: what OTP calls its process identifier. A restarted child has another one."""

    __slots__ = ("_life",)

    def __init__(self, life: Life) -> None:
        self._life = life

    def __repr__(self) -> str:
        return f"<Pid {self._life.reporter.name}/{self.id}{'' if self.alive else ' (dead)'}>"

    @property
    def id(self) -> object:
        """The id of the child whose life it is."""
        return self._life.child.spec.id

    @property
    def alive(self) -> bool:
        """Whether the child's task has not ended yet."""
        return not self._life.finished

    @property
    def exit_reason(self) -> ExitReason | None:
        """How this life ended; None while it has not."""
        return self._life.reason if self._life.finished else None

    def when_dead(self, callback: Callable[[ExitReason], object]) -> Callable[[], None]:
        """Call `callback(reason)` when this life ends, before its supervisor starts a next one; at once if it has.

        The callback must not raise. Returns a function that takes it back.
        """
        return self._life.when_dead(callback)

    def exit(self, exception: BaseException) -> None:
        """Make the child crash with `exception` at its next checkpoint; nothing happens if it is dead."""
        if not self._life.finished:
            self._life.inject(exception)

    def kill(self) -> None:
        """Cancel the child for good; its supervisor sees `Killed`, and restarts it if its spec says so."""
        if not self._life.finished:
            self._life.kill()


class _StartSignal:
    """The `task_status` that a child gets."""

    __slots__ = ("life",)

    def __init__(self, life: Life) -> None:
        self.life: Life | None = life

    def started(self, value: object = None) -> None:
        life = self.life
        if life is None:
            raise RuntimeError("task_status.started() was called twice, or after the child had ended")
        self.life = None
        life.mark_started(value)


@trio.lowlevel.disable_ki_protection
async def _call(start: Callable[..., Awaitable[object]], args: tuple[object, ...], kwargs: Any) -> object:
    return await start(*args, **kwargs)


@trio.lowlevel.enable_ki_protection
async def live(life: Life) -> None:
    """Run the child's function to its end and classify that end. Raises nothing."""
    spec = life.child.spec
    life.task = trio.lowlevel.current_task()
    current_life.set(life)
    signal: _StartSignal | None = None
    value: object = None
    reason: ExitReason
    fatal: BaseException | None = None
    try:
        with life.scope:
            if spec.takes_task_status:
                signal = _StartSignal(life)
                value = await _call(spec.start, spec.args, {**spec.kwargs, "task_status": signal})
            else:
                life.mark_started(None)
                value = await _call(spec.start, spec.args, spec.kwargs)
        if life.scope.cancelled_caught:
            ended: ExitReason = Killed() if life.killed else Shutdown()
            reason = ended if life.injected is None else reason_of(life.injected)
            fatal = None if life.injected is None else fatal_leaf(life.injected)
        elif not life.started:
            reason = Crash(NotStarted(value))
        else:
            reason = Shutdown() if life.stop_requested else Normal()
    except GeneratorExit:
        raise
    except BaseException as exc:
        # The frames of this module would tie the exception to the life that holds it in a reference cycle.
        trace = exc.__traceback__
        for _ in range(2):
            trace = trace.tb_next if trace is not None else None
        exc.__traceback__ = trace
        reason = reason_of(exc)
        fatal = fatal_leaf(exc)
    if signal is not None:
        signal.life = None
    life.finish(reason, fatal)
