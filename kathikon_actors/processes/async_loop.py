"""The loop of a worker process for async jobs: many at a time, each a trio task with a cancel scope of its own.

Reports are sent by one task that wakes when the first is there; what the same pass of the scheduler finishes goes out
in the same frame.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import Any, TypeVar

import trio

from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.runtime import CURRENT, What
from kathikon_actors.jobs.wire import error_from_wire
from kathikon_actors.processes.channel import ProgressThrottle, leave_forked_child
from kathikon_actors.processes.execution import (
    Executable,
    Executables,
    add_own_file,
    bind,
    report_bad_args,
    report_error,
    report_interrupted,
    report_value,
)
from kathikon_actors.processes.frames import FrameDecoder, encode_frames
from kathikon_actors.processes.messages import (
    Ask,
    FromWorker,
    Interrupt,
    Mourn,
    Reply,
    Report,
    Run,
    SabotagedRun,
    Stop,
    ToWorker,
    Why,
)
from kathikon_actors.processes.sabotage import sabotaged
from kathikon_actors.processes.shared import REVOKED_FROM, SharedPage

__all__ = ["run_async_loop"]

T = TypeVar("T")

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


class _Running:
    """One run: what the node may interrupt, and the job's door to the node."""

    __slots__ = ("_asked", "_loop", "_throttle", "job_id", "record", "scope", "seq", "why")

    is_async = True

    def __init__(self, loop: _AsyncLoop, seq: int, record: Record) -> None:
        self._loop = loop
        self._throttle: ProgressThrottle | None = None
        self.seq = seq
        self.job_id = record.id
        self.record: Record | None = record
        self.scope = trio.CancelScope()
        self._asked: dict[int, _Asked] = {}
        self.why: Why | None = None

    def report_progress(self, percent: int) -> None:
        """Send 0..100 to the node, as often as it wants to hear it."""
        if self._throttle is None:
            self._throttle = ProgressThrottle(self._loop.put)
        self._throttle.report(self.seq, percent)

    def is_cancelled(self) -> bool:
        """Whether the node asked this job to stop because somebody cancelled it."""
        return self.why == "cancel"

    async def ask(self, what: What, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Ask the node and wait for its answer; cancelled, what was asked may happen all the same."""
        number = self._loop.next_number()
        asked = self._asked[number] = _Asked()
        try:
            self._loop.put(Ask(self.seq, number, what, body))
            await asked.event.wait()
        finally:
            del self._asked[number]
        reply = asked.reply
        assert reply is not None
        if reply.error is not None:
            raise error_from_wire(reply.error)
        return decode(reply.body)

    def hear(self, reply: Reply) -> None:
        """The node answers."""
        asked = self._asked.get(reply.number)
        if asked is not None:
            asked.reply = reply
            asked.event.set()


class _Asked:
    """One question to the node."""

    __slots__ = ("event", "reply")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.reply: Reply | None = None


class _AsyncLoop:
    def __init__(self, sock: socket.socket, page: SharedPage, executables: Executables) -> None:
        self._sock = sock
        self._words = page.words
        self._executables = executables
        self._free = [page.slot(index) for index in reversed(range(page.slots))]
        self._queued: deque[Run | Mourn] = deque()
        self._running: dict[int, _Running] = {}
        self._waiting: list[FromWorker] = []
        self._filled = trio.Event()
        self._stopping = False
        self._finished = False
        self._numbers = 0
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

    def next_number(self) -> int:
        """Give the number of the next question."""
        self._numbers += 1
        return self._numbers

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
        if isinstance(message, Run | Mourn):
            if self._stopping:
                self.put(Report(message.seq, "returned", 0.0))
            else:
                self._queued.append(message)
                self._start_queued()
        elif isinstance(message, Reply):
            running = self._running.get(message.seq)
            if running is not None:
                running.hear(message)
        elif isinstance(message, Interrupt):
            self._interrupt(message)
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
            running = self._running[seq] = _Running(self, seq, run.record)
            self._jobs.start_soon(self._perform, running, run.record, executable, slot, started, name=run.record.worker)

    async def _perform(
        self, running: _Running, record: Record, executable: Executable, slot: int, started: int
    ) -> None:
        seq = running.seq
        args = bind(record)
        failure: BaseException | None = None
        value: object = None
        CURRENT.set(running)
        with running.scope:
            try:
                if args is not None:
                    value = await _call(executable, record, args)
            except trio.Cancelled:
                raise
            except BaseException as error:  # whatever user code raises, SystemExit too, is this job's failure only
                failure = error
        if self._forked:
            leave_forked_child(failure)
        seconds = (monotonic_ns() - started) / 1e9
        del self._running[seq]
        report: Report
        if running.why is not None:
            report = report_interrupted(seq, seconds, running.why)
        elif args is None:
            report = report_bad_args(seq, record)
        elif failure is None:
            report = report_value(seq, seconds, record, executable, value)
        else:
            report = report_error(seq, seconds, record, executable, failure)
        failure = None  # its traceback holds this frame
        self._finish(slot, report)
        self._start_queued()
        if self._stopping:
            self._end_when_idle()

    def _finish(self, slot: int, report: Report) -> None:
        self._words[slot] = 0
        self._free.append(slot)
        self.put(report)

    def _interrupt(self, message: Interrupt) -> None:
        running = self._running.get(message.seq)
        if running is not None:
            running.why = message.why
            running.scope.cancel()
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


async def _call(executable: Executable, record: Record, args: dict[str, Any]) -> object:
    """Call the worker; a plain function runs right here, on the loop."""
    result = executable.call(Job(record), **args) if executable.takes_job else executable.call(**args)
    return await result if executable.awaits else result
