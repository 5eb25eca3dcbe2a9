"""Everything in one loop: what stands in for the fork server in a node that starts no process.

Such a node is for tests under a virtual clock: a process would go on in real time. All jobs run in the node's own loop,
plain functions too, and so does `on_discard`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import trio

from kathikon_actors.processes.async_run import AsyncRun
from kathikon_actors.processes.execution import Executables
from kathikon_actors.processes.messages import FromWorker, Mourn, Report

__all__ = ["LoopZygote"]


class LoopZygote:
    """Has the shape of a `Zygote` and forks nothing.

    Args:
        executables: the workers.
    """

    def __init__(self, executables: Executables) -> None:
        self.pid = os.getpid()
        self._executables = executables

    async def serve(self) -> None:
        """Be there until cancelled."""
        await trio.sleep_forever()

    async def aclose(self) -> None:
        """There is nothing to end."""

    def hold(self, until: float) -> None:
        """See `Zygote.hold`: no process lives on when the lease is lost."""

    async def fork(self, _kind: str, _slots: int, _title: str) -> _LoopMourner:
        """Give what calls `on_discard`; jobs themselves run in the loop and need none."""
        await trio.lowlevel.checkpoint()
        return _LoopMourner(self._executables)


class _LoopMourner:
    """Calls `on_discard` in this loop, when it is asked what came of it."""

    def __init__(self, executables: Executables) -> None:
        self._executables = executables
        self._waiting: list[Mourn] = []

    def send(self, messages: Sequence[Mourn]) -> None:
        self._waiting += messages

    async def receive(self) -> list[FromWorker]:
        if not self._waiting:
            await trio.sleep_forever()
        message = self._waiting.pop(0)
        executable = self._executables.mourners.get(message.record.worker)
        if executable is None:
            return [self._executables.report_unknown(message.seq, message.record)]
        said: list[FromWorker] = []
        report: Report = await AsyncRun(message.seq, message.record, said.append).perform(
            message.record, executable, _nothing
        )
        return [*said, report]

    def kill(self) -> None:
        """What it calls was cancelled with whoever waited for it."""

    async def stop(self, _grace: float) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """There is nothing to let go of."""


def _nothing(_failure: BaseException | None) -> None:
    """Nobody waits for the moment at which user code has ended."""
