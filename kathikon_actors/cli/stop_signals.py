"""Ctrl-C and SIGTERM: the first stops in order, the second at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from kathikon_actors.cli.exit_codes import ExitCode

__all__ = ["StopSignals", "end_children"]

_PATIENCE = 3.0
"""Seconds that a child has to end in its own way before it is killed."""


class StopSignals:
    """Takes SIGINT and SIGTERM within a block, in the main thread.

    The handlers are Python's own rather than trio's, so that the second signal works while the loop is blocked or
    shielded.

    Args:
        first: called in the handler, with the signal's name; it must not block nor print through a buffer.
        children: gives the pids to end at the second signal, each with the signal that asks it to go at once.
    """

    def __init__(self, first: Callable[[str], None], children: Callable[[], Iterable[tuple[int, int]]]) -> None:
        self._first = first
        self._children = children
        self._seen = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if not self._seen:
            self._seen = True
            self._first(signal.Signals(number).name)
            return
        # Nothing may hold this up, not even a third signal.
        for other in self._before:
            signal.signal(other, signal.SIG_IGN)
        with suppress(OSError):
            os.write(2, b"second signal: killed; what was running runs again when the node is back\n")
        try:
            end_children(self._children())
        finally:
            os._exit(ExitCode.FAILED)


def end_children(children: Iterable[tuple[int, int]], patience: float = _PATIENCE) -> None:
    """Signal child processes of this one and see them gone; one that stays for `patience` seconds gets SIGKILL.

    Args:
        children: `(pid, signal)`; a pid that is no child of this process (any more) is left alone.
        patience: seconds.
    """
    left = []
    for pid, number in children:
        if _is_child(pid):
            os.kill(pid, number)
            left.append(pid)
    deadline = time.monotonic() + patience
    while (left := [pid for pid in left if _is_child(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def _is_child(pid: int) -> bool:
    """Whether this is a child that still runs; one that has ended is reaped."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False
