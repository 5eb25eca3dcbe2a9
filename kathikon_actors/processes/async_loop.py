"""The loop of a worker process for async jobs: many at a time, each a trio task with a cancel scope of its own.

Reports are sent by one task that wakes when the first is there; what the same pass of the scheduler finishes goes out
in the same frame.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from time import monotonic_ns

import trio

from kathikon_actors.jobs.record import Record
from kathikon_actors.processes.async_run import AsyncRun
from kathikon_actors.processes.channel import leave_forked_child
from kathikon_actors.processes.execution import Executable, Executables, add_own_file, report_interrupted
from kathikon_actors.processes.frames import FrameDecoder, encode_frames
from kathikon_actors.processes.messages import FromWorker, Interrupt, Report, Run, Stop, ToWorker
from kathikon_actors.processes.shared import REVOKED_FROM, SharedPage

__all__ = ["run_async_loop"]

_READ = 262_144

add_own_file(__file__)


def run_async_loop(sock: socket.socket, page: SharedPage, executables: Executables) -> None:
    """Run async jobs until the node says stop or is gone.

    Args:
        sock: the worker's end of its socket.
        page: the shared page; it has as many slots as jobs may run at once.
        executables: the workers by name.
    """
    sock.setblocking(False)
    trio.run(_AsyncLoop(sock, page, executables).main)


class _AsyncLoop:
    def __init__(self, sock: socket.socket, page: SharedPage, executables: Executables) -> None:
        self._sock = sock
        self._words = page.words
        self._executables = executables
        self._free = [page.slot(index) for index in reversed(range(page.slots))]
        self._queued: deque[Run] = deque()
        self._running: dict[int, AsyncRun] = {}
        self._waiting: list[FromWorker] = []
        self._filled = trio.Event()
        self._stopping = False
        self._finished = False
        self._forked = False
        self._reader = trio.CancelScope()

    async def main(self) -> None:
        os.register_at_fork(after_in_child=self._in_forked_child)
        async with trio.open_nursery() as everything:
            everything.start_soon(self._send_reports, everything.cancel_scope)
            async with trio.open_nursery() as self._jobs:
                with self._reader:
                    await self._read()
                    everything.cancel_scope.cancel()  # the node is gone
            self._finished = True
            self._filled.set()

    def put(self, message: FromWorker) -> None:
        self._waiting.append(message)
        self._filled.set()

    async def _read(self) -> None:
        decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return
            if not data:
                return
            for message in decoder.feed(data):
                self._take(message)

    def _take(self, message: ToWorker) -> None:
        if isinstance(message, Run):
            if self._stopping:
                self.put(Report(message.seq, "returned", 0.0))
            else:
                self._queued.append(message)
                self._start_queued()
        elif isinstance(message, Interrupt):
            self._interrupt(message)
        elif isinstance(message, Stop):
            self._stopping = True
            while self._queued:
                self.put(Report(self._queued.popleft().seq, "returned", 0.0))
            self._end_when_idle()

    def _start_queued(self) -> None:
        while self._queued and self._free:
            self._start(self._queued.popleft())

    def _start(self, run: Run) -> None:
        """Begin a run in a free slot, unless it was revoked: the order of the two words is argued in `shared`."""
        seq = run.seq
        slot = self._free.pop()
        started = monotonic_ns()
        self._words[slot + 1] = started
        self._words[slot] = seq
        executable = self._executables.by_name.get(run.record.worker)
        if seq >= self._words[REVOKED_FROM]:
            self._finish(slot, Report(seq, "returned", 0.0))
        elif executable is None:
            self._finish(slot, self._executables.report_unknown(seq, run.record))
        else:
            running = self._running[seq] = AsyncRun(seq, run.record.id, self.put)
            self._jobs.start_soon(self._perform, running, run.record, executable, slot, name=run.record.worker)

    async def _perform(self, running: AsyncRun, record: Record, executable: Executable, slot: int) -> None:
        report = await running.perform(record, executable, self._leave_if_forked)
        del self._running[running.seq]
        self._finish(slot, report)
        self._start_queued()
        if self._stopping:
            self._end_when_idle()

    def _leave_if_forked(self, failure: BaseException | None) -> None:
        if self._forked:
            leave_forked_child(failure)

    def _finish(self, slot: int, report: Report) -> None:
        self._words[slot] = 0
        self._free.append(slot)
        self.put(report)

    def _interrupt(self, message: Interrupt) -> None:
        running = self._running.get(message.seq)
        if running is not None:
            running.interrupt(message.why)
            return
        for run in self._queued:
            if run.seq == message.seq:
                self._queued.remove(run)
                self.put(report_interrupted(message.seq, 0.0, message.why))
                return

    def _end_when_idle(self) -> None:
        if not self._running:
            self._reader.cancel()

    async def _send_reports(self, everything: trio.CancelScope) -> None:
        while not self._finished or self._waiting:
            await self._filled.wait()
            self._filled = trio.Event()
            batch, self._waiting = self._waiting, []
            try:
                await self._send(encode_frames(batch) if batch else b"")
            except (ConnectionResetError, BrokenPipeError):
                everything.cancel()
                return

    async def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)

    def _in_forked_child(self) -> None:
        """A job called `os.fork`: the copy has no business with the node, and must not keep its socket open."""
        self._forked = True
        self._sock.close()
