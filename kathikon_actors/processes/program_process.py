"""The node's end of a process that runs a program of another room, which reads and writes its socket itself."""

from __future__ import annotations

import socket

from kathikon_actors.processes.exits import ExitStatus
from kathikon_actors.processes.worker_process import WorkerProcess

__all__ = ["ProgramProcess"]

_PATIENCE = 0.5


class ProgramProcess(WorkerProcess):
    """A process that was handed to a function. Made by `Zygote.fork_program`; who owns it calls `close`."""

    @property
    def socket(self) -> socket.socket:
        """The node's end, which does not block."""
        return self._sock

    def word(self, index: int) -> int:
        """Read a word of the shared page that the program writes; 0 after `close`."""
        return 0 if self._closed else self._page.words[self._page.slot(0) + index]

    async def ended(self) -> ExitStatus:
        """Wait for its exit status, after its socket was closed; kill it if it goes on living without."""
        await self._see_it_end()
        return self._exit or ExitStatus(self.pid)
