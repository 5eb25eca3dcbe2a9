"""The worker's side of its socket: what the node must know goes through here, whole and in order."""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from time import monotonic_ns
from typing import NoReturn

from kathikon_actors.processes.frames import encode_frames
from kathikon_actors.processes.messages import FromWorker, Progress

__all__ = ["ProgressThrottle", "leave_forked_child", "send_all"]


def send_all(sock: socket.socket, lock: threading.Lock, waiting: list[FromWorker]) -> None:
    """Send everything that waits, blocking; the list is empty afterwards.

    Raises:
        OSError: the node is gone.
    """
    with lock:
        batch = waiting[:]
        del waiting[: len(batch)]
        if batch:
            sock.sendall(encode_frames(batch))


class ProgressThrottle:
    """Lets a burst of progress reports through, then 20 a second: a tight loop must not flood the node.

    Args:
        put: takes what may pass.
    """

    BURST = 20.0
    PER_NS = 20 / 1e9

    __slots__ = ("_at", "_budget", "_last", "_put", "seq")

    def __init__(self, put: Callable[[Progress], None]) -> None:
        self._put = put
        self._budget = self.BURST
        self._at = 0
        self._last: int | None = None
        self.seq = 0

    def report(self, seq: int, percent: int) -> None:
        """Pass the figure on, or keep it until the budget allows or the run ends."""
        if seq != self.seq:
            self.seq = seq
            self._last = None
        now = monotonic_ns()
        self._budget = min(self.BURST, self._budget + (now - self._at) * self.PER_NS)
        self._at = now
        if percent == self._last:
            return
        if self._budget >= 1.0:
            self._budget -= 1.0
            self._last = percent
            self._put(Progress(seq, percent))


def leave_forked_child(failure: BaseException | None) -> NoReturn:
    """End a copy of the process that a job forked and that came back here as if it were the worker."""
    code = 0
    if isinstance(failure, SystemExit):
        code = failure.code if isinstance(failure.code, int) else int(failure.code is not None)
    elif failure is not None:
        traceback.print_exception(failure)
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code & 0xFF)
