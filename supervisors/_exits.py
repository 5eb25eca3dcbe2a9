"""Exit reasons: how a child's life ended, as values.

The names are OTP's: `normal`, `shutdown`, `{shutdown, Detail}`, `killed`, anything else is a crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import trio

from supervisors._errors import StrayCancelled, rebuild

__all__ = ["Crash", "Exit", "ExitReason", "Killed", "Normal", "Shutdown", "fatal_leaf", "is_abnormal", "reason_of"]


@dataclass(frozen=True, slots=True)
class Normal:
    """The child returned, or raised `Exit(Normal())`."""

    def __str__(self) -> str:
        return "normal"


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The child was asked to stop and did, or ended itself with `raise Exit(Shutdown("why"))`."""

    detail: object = None

    def __str__(self) -> str:
        return "shutdown" if self.detail is None else f"shutdown: {self.detail}"


@dataclass(frozen=True, slots=True)
class Killed:
    """The child was cancelled for good: by `BRUTAL_KILL`, or because it overran its `shutdown` seconds."""

    def __str__(self) -> str:
        return "killed"


@dataclass(frozen=True, slots=True)
class Crash:
    """The child raised `exception` (a group when it came out of a nursery)."""

    exception: BaseException

    def __str__(self) -> str:
        text = str(self.exception)
        name = type(self.exception).__name__
        return f"crash: {name}: {text}" if text else f"crash: {name}"


ExitReason = Normal | Shutdown | Killed | Crash
"""How a child, an actor or a whole tree ended."""


class Exit(Exception):
    """Raise it in a child to end with `reason`.

    `raise Exit(Shutdown("nothing left to do"))` ends a transient child without a restart.
    """

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(str(reason))
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


def is_abnormal(reason: ExitReason) -> bool:
    """Whether a transient child that ended with `reason` is restarted (OTP: all but normal and shutdown)."""
    return isinstance(reason, (Crash, Killed))


def leaves(exc: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group of groups; a bare exception is its own only leaf."""
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions:
            yield from leaves(inner)
    else:
        yield exc


def fatal_leaf(exc: BaseException) -> BaseException | None:
    """Return the KeyboardInterrupt or SystemExit in `exc`, if any: never a crash to recover from."""
    return next((leaf for leaf in leaves(exc) if isinstance(leaf, (KeyboardInterrupt, SystemExit))), None)


def reason_of(exc: BaseException) -> ExitReason:
    """Classify what a child raised, groups by their leaves.

    A group whose leaves are all `Exit` with a clean reason is clean (a shutdown if any leaf is); one other leaf makes
    it a crash.
    """
    if isinstance(exc, Exit):
        return exc.reason
    if isinstance(exc, trio.Cancelled):
        stray = StrayCancelled()
        stray.__cause__ = exc
        return Crash(stray)
    if isinstance(exc, BaseExceptionGroup):
        clean: ExitReason = Normal()
        for leaf in leaves(exc):
            if not isinstance(leaf, Exit) or is_abnormal(leaf.reason):
                return Crash(exc)
            if isinstance(clean, Normal):
                clean = leaf.reason
        return clean
    return Crash(exc)
