"""A supervisor's record of one child: its spec, its present life, and what is known of the past ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supervisors._exits import ExitReason
from supervisors._life import Life
from supervisors._specs import BrutalKill, ChildSpec
from supervisors._tree import ChildInfo, ChildState

if TYPE_CHECKING:
    import trio

    from supervisors._window import RestartWindow

__all__ = ["Child", "Retry"]


class Retry:
    """A restart that is still to come: queued behind the calls in the inbox, or waiting for its delay.

    Attributes:
        child: the one to start; None once the retry is void.
        due: `trio.current_time()` at which it comes.
        counted: whether the limits were asked already.
        timer: the scope of the task that waits.
    """

    __slots__ = ("child", "counted", "due", "timer")

    def __init__(self, child: Child, due: float, *, counted: bool) -> None:
        self.child: Child | None = child
        self.due = due
        self.counted = counted
        self.timer: trio.CancelScope | None = None


class Child:
    """One entry in a supervisor's table of children."""

    __slots__ = (
        "attempts",
        "held",
        "last_exit",
        "life",
        "ref",
        "restarts",
        "retry",
        "spec",
        "start_when_dead",
        "started_at",
        "state",
        "window",
    )

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.state: ChildState = "stopped"
        self.life: Life | None = None
        self.retry: Retry | None = None
        self.held = False
        self.start_when_dead = False
        self.restarts = 0
        self.attempts = 0
        self.window: RestartWindow | None = None
        self.started_at: float | None = None
        self.last_exit: ExitReason | None = None
        self.ref: object = None

    def is_alive(self) -> bool:
        """Whether a task of it exists that has not been seen to end."""
        return self.life is not None

    @property
    def info(self) -> object:
        """What the child gave to `started()`; None unless it is up."""
        return self.life.info if self.life is not None and self.state in {"running", "unkillable"} else None

    @property
    def patience(self) -> float | BrutalKill:
        """Seconds it has to stop, or BRUTAL_KILL."""
        assert self.spec.shutdown is not None
        return self.spec.shutdown

    def snapshot(self) -> ChildInfo:
        """Return the child as it is now."""
        spec = self.spec
        return ChildInfo(
            id=spec.id,
            state=self.state,
            type=spec.type,
            restart=spec.restart,
            info=self.info,
            restarts=self.restarts,
            started_at=self.started_at,
            last_exit=self.last_exit,
            shutdown=self.patience,
            significant=spec.significant,
        )
