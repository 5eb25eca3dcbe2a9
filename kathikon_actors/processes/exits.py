"""How a process ended, and the errors that say so."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass

from kathikon_actors.jobs.errors import KathikonError

__all__ = ["ExitStatus", "WorkerDied", "ZygoteDied", "ZygoteFailed"]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


@dataclass(frozen=True)
class ExitStatus:
    """How a worker process ended.

    Attributes:
        pid: its process id, free for reuse by now.
        code: its exit status, `None` when a signal ended it or nobody could ask.
        signal: the number of the signal that ended it.
        out_of_memory: the kernel's out-of-memory killer chose it.
        deaf: it had closed its connection to the node, or had become another program, and was killed for that.
        garbled: what it sent was no frame, and it was killed for that.
    """

    pid: int
    code: int | None = None
    signal: int | None = None
    out_of_memory: bool = False
    deaf: bool = False
    garbled: bool = False

    @property
    def lost(self) -> bool:
        """Whether it went with the process that forks workers or the node's lease: by no fault of what it ran."""
        return self.code is None and self.signal is None

    @property
    def text(self) -> str:
        """What operators read: `killed by SIGSEGV`, `exit status 3`, `out of memory (SIGKILL by the kernel)`."""
        if self.out_of_memory:
            return "out of memory (SIGKILL by the kernel)"
        if self.deaf:
            return "closed its connection to the node (killed by SIGKILL)"
        if self.garbled:
            return "sent what is no frame (killed by SIGKILL); a job may have written to a descriptor of the worker's"
        if self.signal == signal.SIGALRM:
            return "killed by SIGALRM, the node's own signal, which it no longer handled"
        if self.signal is not None:
            return f"killed by {_signal_name(self.signal)}"
        if self.code is not None:
            return f"exit status {self.code}"
        return "lost with the process that forks workers or the node's lease"

    def __str__(self) -> str:
        return self.text


class WorkerDied(KathikonError):
    """A worker process is gone, and every report it had sent was delivered.

    Attributes:
        exit: how it ended.
        running: `(seq, started ns)` of the runs it was executing.
    """

    def __init__(self, exit_status: ExitStatus, running: Sequence[tuple[int, int]]) -> None:
        self.exit = exit_status
        self.running = list(running)
        super().__init__(f"worker process {exit_status.pid}: {exit_status.text}")


class ZygoteFailed(KathikonError):
    """The process that forks workers could not start; the text says why, with the traceback of a failed import."""


class ZygoteDied(KathikonError):
    """The process that forks workers is gone, and its workers with it.

    Attributes:
        pid: its process id.
        status: its exit status, negative: the signal that ended it.
    """

    def __init__(self, pid: int, status: int | None) -> None:
        self.pid = pid
        self.status = status
        how = "gone" if status is None else _signal_name(-status) if status < 0 else f"exit status {status}"
        super().__init__(f"the process that forks workers ({pid}) died: {how}; its workers are gone with it")
