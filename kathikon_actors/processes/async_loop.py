"""The loop of a worker process for async jobs: many at a time, each a trio task with a cancel scope of its own.

Reports are sent by one task that wakes when the first is there; what the same pass of the scheduler finishes goes out
in the same frame.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic, monotonic_ns

import trio

from kathikon_actors.jobs.record import Record
from kathikon_actors.processes.async_run import AsyncRun
from kathikon_actors.processes.channel import leave_forked_child
from kathikon_actors.processes.execution import Executable, Executables, add_own_file, report_interrupted
from kathikon_actors.processes.frames import FrameDecoder, encode_frames
from kathikon_actors.processes.messages import (
    ActorFrame,
    FromWorker,
    Interrupt,
    Mourn,
    Reply,
    Report,
    Run,
    SabotagedRun,
    Stop,
    ToWorker,
)
from kathikon_actors.processes.sabotage import sabotaged
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
        self._page = page
        self._words = page.words
        self._executables = executables
        self._free = [page.slot(index) for index in reversed(range(page.slots))]
        self._queued: deque[Run | Mourn] = deque()
        self._running: dict[int, AsyncRun] = {}
        self._waiting: list[FromWorker] = []
        self._filled = trio.Event()
        self._stopping = False
        self._finished = False
        self._rest = memoryview(b"")
        self._decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        self._take_frame: Callable[[bytes], object] = _drop
        self._forked = False
        self._reader = trio.CancelScope()

    async def main(self) -> None:
        os.register_at_fork(after_in_child=self._in_forked_child)
        async with trio.open_nursery() as everything:
            everything.start_soon(self._send_reports, everything.cancel_scope)
            async with trio.open_nursery() as self._helpers:
                async with trio.open_nursery() as self._jobs:
                    with self._reader:
                        await self._read()
                        everything.cancel_scope.cancel()  # the node is gone
                self._helpers.cancel_scope.cancel()
            self._finished = True
            self._filled.set()

    def put(self, message: FromWorker) -> None:
        self._waiting.append(message)
        self._filled.set()

    async def _read(self) -> None:
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
            for message in self._decoder.feed(data):
                self._take(message)

    def _take(self, message: ToWorker) -> None:
        if isinstance(message, Run | Mourn):
            if self._stopping:
                self.put(Report(message.seq, "returned", 0.0))
            else:
                self._queued.append(message)
                self._start_queued()
        elif isinstance(message, Interrupt):
            self._interrupt(message)
        elif isinstance(message, ActorFrame):
            self._take_frame(message.data)
        elif isinstance(message, Reply):
            asker = self._running.get(message.seq)
            if asker is not None:
                asker.hear(message)
        elif isinstance(message, Stop):
            self._stopping = True
            while self._queued:
                self.put(Report(self._queued.popleft().seq, "returned", 0.0))
            self._end_when_idle()

    def _start_queued(self) -> None:
        while self._queued and self._free:
            run = self._queued.popleft()
            if type(run) is SabotagedRun:
                with sabotaged(self._executables.by_name, run):
                    self._start(run)
            else:
                self._start(run)

    def _start(self, run: Run | Mourn) -> None:
        """Begin a run in a free slot, unless it was revoked: the order of the two words is argued in `shared`."""
        seq = run.seq
        slot = self._free.pop()
        started = monotonic_ns()
        self._words[slot + 1] = started
        self._words[slot] = seq
        table = self._executables.by_name if isinstance(run, Run) else self._executables.mourners
        executable = table.get(run.record.worker)
        if seq >= self._words[REVOKED_FROM]:
            self._finish(slot, Report(seq, "returned", 0.0))
        elif executable is None:
            self._finish(slot, self._executables.report_unknown(seq, run.record))
        else:
            running = self._running[seq] = AsyncRun(seq, run.record, self.put, self)
            self._jobs.start_soon(self._perform, running, run.record, executable, slot, name=run.record.worker)

    async def _perform(self, running: AsyncRun, record: Record, executable: Executable, slot: int) -> None:
        report = await running.perform(record, executable, self._leave_if_forked)
        del self._running[running.seq]
        self._page.note_end(running.seq, says_nothing=report.result == b"null" and report.note is None)
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
            try:
                await self._send_rest()
                batch, self._waiting = self._waiting, []
                if batch:
                    self._rest = memoryview(encode_frames(batch))
                    await self._send_rest()
            except (ConnectionResetError, BrokenPipeError):
                everything.cancel()
                return

    async def _send_rest(self) -> None:
        """Send what is encoded; a job that blocks for an answer may do a part of it."""
        while self._rest:
            try:
                self._rest = self._rest[self._sock.send(self._rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._sock)

    # -- the side channel -----------------------------------------------------------------------------------------

    def send_frame(self, data: bytes) -> None:
        """See `SideChannel.send_frame`."""
        message = ActorFrame(data)
        encode_frames([message])  # one that is too large raises here, not in the task that sends the reports
        self.put(message)

    def listen(self, take: Callable[[bytes], object], run: Callable[[], Awaitable[None]]) -> None:
        """See `SideChannel.listen`."""
        self._take_frame = take
        self._helpers.start_soon(run)

    def receive_frames(self, timeout: float) -> list[bytes]:
        """See `SideChannel.receive_frames`; the loop stands still, and what else arrives is acted on."""
        end = monotonic() + timeout
        frames: list[bytes] = []
        poll = select.poll()
        while not frames:
            if not self._rest and self._waiting:
                batch, self._waiting = self._waiting, []
                self._rest = memoryview(encode_frames(batch))
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._rest else 0))
            left = end - monotonic()
            if left <= 0:
                break
            for _, ready in poll.poll(left * 1000):
                if ready & select.POLLOUT:
                    self._send_now()
                if ready & ~select.POLLOUT:
                    frames += self._read_now()
        return frames

    def _send_now(self) -> None:
        with suppress(BlockingIOError):
            self._rest = self._rest[self._sock.send(self._rest) :]

    def _read_now(self) -> list[bytes]:
        try:
            data = self._sock.recv(_READ)
        except BlockingIOError:
            return []
        if not data:
            raise ConnectionResetError("the node is gone")
        frames = []
        for message in self._decoder.feed(data):
            if type(message) is ActorFrame:
                frames.append(message.data)
            else:
                self._take(message)
        return frames

    def _in_forked_child(self) -> None:
        """A job called `os.fork`: the copy has no business with the node, and must not keep its socket open."""
        self._forked = True
        self._sock.close()


def _drop(_data: bytes) -> None:
    """Nobody listens (any more)."""
