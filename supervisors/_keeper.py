"""Starting and stopping single children: OTP's start and termination protocol on one shielded nursery."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import trio

from supervisors._child import Child
from supervisors._errors import FailedToStart, StartCancelled, StartTimeout
from supervisors._events import ChildStarted, ChildUnkillable, ShutdownError
from supervisors._exits import Crash, ExitReason
from supervisors._life import Life, live
from supervisors._policy import is_clean_stop
from supervisors._probe import keep_probing
from supervisors._reports import Reporter
from supervisors._specs import IGNORE, BrutalKill

__all__ = ["Keeper", "Over"]


class Over(Exception):
    """Unwinds a supervisor's control task to its ordered stop; never leaves this package."""


class Keeper:
    """Holds the lives of a supervisor's children.

    Attributes:
        starting: the child whose start is under way.
        fatal: the KeyboardInterrupt or SystemExit that a child ended with; the first one counts.
        closing: the supervisor is on its way out, so that a fatal end needs no further action.
    """

    def __init__(
        self,
        reporter: Reporter,
        kill_timeout: float,
        on_end: Callable[[Life], None],
        on_interrupt: Callable[[], None],
    ) -> None:
        self._reporter = reporter
        self._kill_timeout = kill_timeout
        self._on_end = on_end
        self._on_interrupt = on_interrupt
        self._kids: trio.Nursery | None = None
        self._held = trio.Event()
        self._release = trio.Event()
        self._closed = trio.Event()
        self.starting: Child | None = None
        self.fatal: BaseException | None = None
        self.closing = False

    async def open(self, outer: trio.Nursery) -> None:
        """Open the children's nursery in a task of `outer`.

        Not by `outer.start`: where that is cancelled at this very moment, it waits for the task to end, which is out of
        reach of the cancellation.
        """
        outer.start_soon(self.hold)
        with trio.CancelScope(shield=True):
            await self._held.wait()

    async def hold(self) -> None:
        """Keep the children's nursery open until `close`, out of reach of outer cancellation."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as self._kids:
                self._held.set()
                await self._release.wait()
            self._closed.set()

    async def close(self) -> None:
        """Return once every child's task has ended: no task outlives its nursery, not even an unkillable one."""
        self._release.set()
        if self._kids is not None:
            await self._closed.wait()

    async def start(self, child: Child, *, again: bool = False) -> bool:
        """Start `child` and wait until it is up; False when it asked to be ignored.

        Args:
            child: the one to start.
            again: it is a restart, which the child's record counts.

        Raises:
            FailedToStart: it ended, or was ended, before it was up.
        """
        assert self._kids is not None
        spec = child.spec
        life = child.life = Life(child, self._reporter, self._on_end)
        self.starting = child
        self._kids.start_soon(live, life, name=f"{self._reporter.name}/{spec.id}")
        if spec.start_timeout is None:
            await life.wait_up()
        else:
            with trio.move_on_after(spec.start_timeout):
                await life.wait_up()
        if not (life.started or life.finished):
            await self.abort_start()
            given_up = StartCancelled() if life.abandoned else StartTimeout(spec.start_timeout or 0.0)
            raise FailedToStart(spec.id, Crash(given_up)) from given_up
        if not life.started:
            self.starting = None
            reason = self.take(child)
            raise FailedToStart(spec.id, reason) from (reason.exception if isinstance(reason, Crash) else None)
        if life.info is IGNORE:
            await self.abort_start()
            return False
        self.starting = None
        child.state = "running"
        child.restarts += again
        child.started_at = trio.current_time()
        if spec.probe is not None:
            self._kids.start_soon(keep_probing, life, spec.probe, name=f"probe of {self._reporter.name}/{spec.id}")
        self._reporter.emit(ChildStarted, child, None)
        return True

    async def abort_start(self) -> None:
        """End the child whose start is under way, if there is one."""
        child = self.starting
        if child is None or child.life is None:
            return
        if not child.life.finished:
            child.life.kill()
            with trio.move_on_after(self._kill_timeout):
                await child.life.wait_end()
        self.starting = None
        if child.life.finished:
            self.take(child)
        else:
            self._note_unkillable(child)

    def take(self, child: Child) -> ExitReason:
        """Close the books on a life that has ended; `child` is stopped then.

        Raises:
            Over: a KeyboardInterrupt or SystemExit ended it.
        """
        life = child.life
        assert life is not None and life.finished
        child.life = None
        child.state = "stopped"
        child.last_exit = life.reason
        if life.fatal is not None and self.fatal is None:
            self.fatal = life.fatal
            if not self.closing:
                raise Over
        return life.reason

    def request_stop(self, child: Child) -> float:
        """Ask `child` to stop, or kill it if its spec says so; returns its deadline."""
        life = child.life
        assert life is not None
        if life.deadline is None:
            patience = child.patience
            if isinstance(patience, BrutalKill):
                life.deadline = -math.inf
                life.kill()
            else:
                life.deadline = trio.current_time() + patience
                life.request_stop()
        return life.deadline

    async def stop(self, child: Child) -> bool:
        """Stop `child` and wait until it is dead; False when it cannot be killed.

        Its time runs from the first request, also if this call is cancelled and made again.
        """
        life = child.life
        if life is None:
            return True
        was_alive = not life.finished
        if was_alive and child.state != "unkillable":
            deadline = self.request_stop(child)
            if deadline == math.inf:
                await life.wait_end()
            elif deadline > -math.inf:
                with trio.move_on_at(deadline):
                    await life.wait_end()
            if not life.finished:
                life.kill()
                with trio.move_on_after(self._kill_timeout):
                    await life.wait_end()
        if life.finished:
            reason = self.take(child)
            if not is_clean_stop(child.spec, reason):
                self._reporter.emit(ShutdownError, child, reason)
            if was_alive and self.closing and isinstance(life.fatal, KeyboardInterrupt):
                # Ctrl-C during the stop, which happened to hit this child's frames: the user does not want to wait.
                self._on_interrupt()
            return True
        self._note_unkillable(child)
        return False

    async def stop_in_parallel(self, children: Iterable[Child]) -> None:
        """Ask all to stop at once; each has its own time."""
        doomed = [child for child in children if child.life is not None]
        for child in doomed:
            if child.life is not None and not child.life.finished:
                self.request_stop(child)
        for child in sorted(doomed, key=_deadline):
            await self.stop(child)

    async def kill_all(self, children: Iterable[Child]) -> None:
        """Kill all at once and wait until they are dead, `kill_timeout` seconds at most."""
        doomed = [child for child in children if child.life is not None]
        if self.starting is not None and self.starting not in doomed:
            doomed.append(self.starting)
        self.starting = None
        for child in doomed:
            if child.life is not None:
                child.life.kill()
        with trio.move_on_after(self._kill_timeout):
            for child in doomed:
                if child.life is not None:
                    await child.life.wait_end()
        for child in doomed:
            if child.life is not None and child.life.finished:
                self.take(child)
            elif child.life is not None:
                self._note_unkillable(child)

    def _note_unkillable(self, child: Child) -> None:
        if child.state != "unkillable" and child.life is not None:
            child.state = "unkillable"
            self._reporter.emit(ChildUnkillable, child, None, stack=child.life.stack())


def _deadline(child: Child) -> float:
    life = child.life
    return -math.inf if life is None or life.deadline is None else life.deadline
