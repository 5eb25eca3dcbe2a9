"""An actor with a process of its own, as the node sees it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kathikon_actors.actors.cell import Cell
from kathikon_actors.actors.remote_cell import RemoteCell, fail_all
from kathikon_actors.actors.statistics import ActorStatistics
from kathikon_actors.actors.wire import Wire
from supervisors import ExitReason, Killed

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem
    from kathikon_actors.processes.program_process import ProgramProcess

__all__ = ["BUSY", "BUSY_SINCE", "DROPPED", "LENGTH", "OLDEST", "PROCESSED", "RECEIVED", "SINCE", "ProcessCell"]

LENGTH, OLDEST, PROCESSED, BUSY, BUSY_SINCE, SINCE, DROPPED, RECEIVED = range(8)
"""The words of the shared page: counts, and nanoseconds of the system's monotonic clock."""


class ProcessCell(RemoteCell):
    """One life of an actor in a process of its own.

    Attributes:
        process: None before it was forked.
    """

    __slots__ = ("_kill_life", "process")

    def __init__(
        self, system: ActorSystem, uid: int, name: str | None, kind: str, kill_life: Callable[[], object]
    ) -> None:
        super().__init__(system, uid, name, kind, Wire())
        self.process: ProgramProcess | None = None
        self._kill_life = kill_life

    @property
    def pid(self) -> int | None:
        """The number of its process; None while it is being started."""
        return None if self.process is None else self.process.pid

    def signal(self, reason: ExitReason, sender: Cell | None, *, linked: bool) -> None:
        """Give it an exit signal; a kill does not ask the process."""
        if isinstance(reason, Killed) and not linked:
            self.kill()
        else:
            super().signal(reason, sender, linked=linked)

    def kill(self) -> None:
        """Send SIGKILL."""
        if not self.alive:
            return
        if self.process is None:
            self._kill_life()
        else:
            self.process.kill()

    def statistics(self) -> ActorStatistics:
        """Read from the page that it shares; also right when the process does not react."""
        process = self.process
        if process is None:
            return ActorStatistics(0, 0.0, 0, 0.0, 0)
        word = process.word
        now = time.monotonic_ns()
        since, busy_since, oldest, length = word(SINCE) or now, word(BUSY_SINCE), word(OLDEST), word(LENGTH)
        busy = word(BUSY) + (now - busy_since if busy_since else 0)
        return ActorStatistics(
            length=length + max(0, self.sent - word(RECEIVED)),
            oldest=max(0, now - oldest) / 1e9 if length and oldest else 0.0,
            processed=word(PROCESSED),
            busy=min(1.0, busy / max(now - since, 1)),
            dropped=word(DROPPED),
        )

    def finish(self, reason: ExitReason) -> None:
        """Record its end; then tell everyone who waits for an answer."""
        super().finish(reason)
        self.wire.open = False
        fail_all(self.wire.replies, reason)
