"""The loop of a worker process for plain functions: one at a time, in the main thread, without an event loop.

It reads what has arrived, runs it in order, and keeps the reports until nothing more has arrived, or a millisecond
has passed, or a run begins that may take long.

A timeout or a cancel arrives as SIGALRM with the run's `seq` in the shared page. The handler raises inside the user's
code, and only there: `_armed` holds the run's `seq` exactly while user code is on the stack and may be interrupted.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from functools import partial
from time import monotonic, monotonic_ns
from types import FrameType
from typing import Any, TypeVar

from kathikon_actors.jobs import json
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.runtime import CURRENT, SideChannel, What
from kathikon_actors.jobs.sealing import SEALED, CannotOpen
from kathikon_actors.jobs.wire import error_from_wire
from kathikon_actors.processes.channel import ProgressThrottle, leave_forked_child, send_all
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
    ActorFrame,
    Ask,
    FromWorker,
    Mourn,
    Progress,
    Reply,
    Report,
    Run,
    SabotagedRun,
    Stop,
    ToWorker,
    Why,
)
from kathikon_actors.processes.sabotage import sabotaged
from kathikon_actors.processes.sealed_run import open_for, report_unopened, seal_report
from kathikon_actors.processes.shared import ENDED, LAST_RUNS, REVOKED_FROM, SharedPage

__all__ = ["Interrupted", "PlainLoop", "drive"]

T = TypeVar("T")

_FLUSH_NS = 1_000_000
_READ = 262_144
_LONGEST_POLL = 3600.0

add_own_file(__file__)


class Interrupted(BaseException):
    """Raised in the user's code when its time is up or its job is cancelled; code that holds it back is killed."""


class PlainLoop:
    """Runs plain functions until the node says stop or is gone.

    Args:
        sock: the worker's end of its socket, blocking.
        page: the shared page, one slot.
        executables: the workers by name.
    """

    def __init__(self, sock: socket.socket, page: SharedPage, executables: Executables) -> None:
        self._sock = sock
        self._page = page
        self._words = page.words
        self._slot = page.slot(0)
        self._executables = executables
        for executable in executables.by_name.values():
            if executable.definition.is_async:
                executable.call = _refuse_async
            elif executable.awaits:
                executable.call, executable.awaits = partial(drive, executable.call), False
        self._by_name = executables.by_name
        self._decoder: FrameDecoder[ToWorker] = FrameDecoder(ToWorker)
        self._arrived: list[ToWorker] = []
        self._frames: list[bytes] = []
        self._replies: dict[int, Reply] = {}
        self._asked = 0
        self._waiting: list[FromWorker] = []
        self._lock = threading.Lock()
        self._flushed = 0
        self._armed = 0
        self._pending = 0
        self._gave_way: Why | None = None
        self._forked = False
        self._throttle = ProgressThrottle(self._put_progress)
        self.job_id = b""
        self.record: Record | None = None
        self._seq = 0

    def run(self) -> None:
        """Serve until `Stop`, or until the node has closed its end.

        Raises:
            OSError: the socket broke.
        """
        signal.signal(signal.SIGALRM, self._on_alarm)
        os.register_at_fork(after_in_child=self._in_forked_child)
        CURRENT.set(self)
        self._context = copy_context()
        feed, recv = self._decoder.feed, self._sock.recv
        execute, by_name = self._execute, self._by_name
        stopping = False
        while not stopping:
            try:
                data = recv(_READ, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._flush()
                self._take_signals_back()
                data = recv(_READ)
            if not data:
                return
            messages = feed(data)
            while messages:
                for message in messages:
                    if type(message) is Run:
                        if stopping:
                            self._waiting.append(Report(message.seq, "returned", 0.0))
                        else:
                            execute(message, by_name)
                    elif type(message) is Mourn:
                        execute(message, self._executables.mourners)
                    elif type(message) is Stop:
                        stopping = True
                    elif type(message) is SabotagedRun and not stopping:
                        with sabotaged(self._by_name, message):
                            execute(message, by_name)
                messages, self._arrived = self._arrived, []  # what came while a job waited for an actor
        self._flush()

    def report_progress(self, percent: int) -> None:
        """Send 0..100 to the node, as often as it wants to hear it."""
        self._out_of_reach(lambda: self._throttle.report(self._seq, percent))

    def is_cancelled(self) -> bool:
        """Whether the node asked this job to stop because somebody cancelled it."""
        return self._page.interrupted() == (self._seq, "cancel")

    @property
    def side(self) -> SideChannel:
        """The way to the node's actors."""
        return self

    @property
    def is_async(self) -> bool:
        """Plain functions block."""
        return False

    def send_frame(self, data: bytes) -> None:
        """See `SideChannel.send_frame`."""
        self._out_of_reach(lambda: self._put_now(ActorFrame(data)))

    def receive_frames(self, timeout: float) -> list[bytes]:
        """See `SideChannel.receive_frames`. Runs that arrive meanwhile are executed after this one."""
        end = monotonic() + timeout
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while not self._frames:
            left = end - monotonic()
            # The one place where the handler may raise: nothing is half done while we wait.
            if left <= 0 or not poll.poll(min(left, _LONGEST_POLL) * 1000):
                break
            self._out_of_reach(self._read_beside)
        frames, self._frames = self._frames, []
        return frames

    def ask(self, what: What, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Ask the node and wait for its answer; interrupted, what was asked may happen all the same."""
        self._asked += 1
        number = self._asked
        self._replies.clear()  # of questions whose run was interrupted
        self._out_of_reach(lambda: self._put_now(Ask(self._seq, number, what, body)))
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while number not in self._replies:
            poll.poll(_LONGEST_POLL * 1000)  # where the handler may raise
            self._out_of_reach(self._read_beside)
        reply = self._replies.pop(number)
        if reply.error is not None:
            raise error_from_wire(reply.error)
        return decode(reply.body)

    def listen(self, take: Callable[[bytes], object], run: Callable[[], Awaitable[None]]) -> None:  # noqa: ARG002
        """See `SideChannel.listen`.

        Raises:
            RuntimeError: always: a plain function has no loop.
        """
        raise RuntimeError("a plain function has no event loop")

    def _read_beside(self) -> None:
        """Read in the middle of a job."""
        data = self._sock.recv(_READ)
        if not data:
            raise ConnectionResetError("the node is gone")
        for message in self._decoder.feed(data):
            if type(message) is ActorFrame:
                self._frames.append(message.data)
            elif type(message) is Reply:
                self._replies[message.number] = message
            else:
                self._arrived.append(message)

    def _execute(self, run: Run | Mourn, by_name: dict[str, Executable]) -> None:
        seq = run.seq
        record = run.record
        words = self._words
        slot = self._slot
        started = monotonic_ns()
        words[slot + 1] = started
        words[slot] = seq
        if seq >= words[REVOKED_FROM]:
            words[slot] = 0
            self._waiting.append(Report(seq, "returned", 0.0))
            return
        executable = by_name.get(record.worker)
        if executable is None:
            words[slot] = 0
            self._waiting.append(self._executables.report_unknown(seq, record))
            return
        if self._waiting and executable.last_ns > _FLUSH_NS:
            self._flush()
        sealed = record.args.startswith(SEALED)
        if sealed:
            try:
                record = open_for(executable, record)
            except CannotOpen as error:
                words[slot] = 0
                self._waiting.append(report_unopened(seq, error))
                return
        self.job_id = record.id
        self.record = record
        self._seq = seq
        failure: BaseException | None = None
        value: object = None
        try:
            args = json.decode(record.args)
            try:
                self._armed = seq
                if self._pending == seq:
                    self._give_way()
                if executable.takes_job:
                    value = self._context.copy().run(executable.call, Job(record), **args)
                else:
                    value = self._context.copy().run(executable.call, **args)
            finally:
                self._armed = 0
        except BaseException as error:  # whatever user code raises, SystemExit too, is this job's failure only
            failure = error
        if self._forked:
            leave_forked_child(failure)
        ended = monotonic_ns()
        self.job_id = b""
        self.record = None
        executable.last_ns = took = ended - started
        seconds = took / 1e9
        if self._gave_way is not None:
            report = report_interrupted(seq, seconds, self._gave_way)
            self._gave_way = None
        elif failure is None:
            report = report_value(seq, seconds, record, executable, value, sealed=sealed)
        elif issubclass(type(failure), (ValueError, TypeError)) and bind(record) is None:
            report = report_bad_args(seq, record)
        else:
            report = report_error(seq, seconds, record, executable, failure)
        if sealed:
            report = seal_report(report, record, executable)
        failure = None  # its traceback holds this frame
        words[ENDED + seq % LAST_RUNS] = seq * 2 + (report.result == b"null" and report.note is None)
        words[slot] = 0
        self._waiting.append(report)
        if ended - self._flushed > _FLUSH_NS:
            self._flush()

    def _on_alarm(self, _signum: int, _frame: FrameType | None) -> None:
        seq, why = self._page.interrupted()
        if why is not None and seq >= self._seq:
            if seq == self._armed:
                self._give_way()
            self._pending = seq
        if self._armed and self._waiting:
            self._out_of_reach(self._flush)

    def _take_signals_back(self) -> None:
        """A job may have taken our signal's handler away, or blocked the signal: the next one's timeout needs it."""
        if signal.getsignal(signal.SIGALRM) != self._on_alarm:
            signal.signal(signal.SIGALRM, self._on_alarm)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM, signal.SIGTERM))

    def _give_way(self) -> None:
        self._armed = 0  # first: a second signal must not raise while this one is on its way up
        self._gave_way = self._page.interrupted()[1] or "timeout"
        raise Interrupted(self._gave_way)

    def _out_of_reach(self, action: Callable[[], None]) -> None:
        """Do something of the loop's own in the middle of user code, safe from the handler: half a frame is worse."""
        armed = self._armed
        self._armed = 0
        try:
            action()
        finally:
            self._armed = armed
        if armed and self._pending == armed:
            self._give_way()

    def _put_now(self, message: ActorFrame | Ask) -> None:
        self._frames.clear()  # answers to those who did not wait for them
        encode_frames([message])  # one that is too large raises before it is among the reports
        self._waiting.append(message)
        self._flush()

    def _put_progress(self, message: Progress) -> None:
        self._waiting.append(message)
        self._flush()

    def _flush(self) -> None:
        send_all(self._sock, self._lock, self._waiting)
        self._flushed = monotonic_ns()

    def _in_forked_child(self) -> None:
        """A job called `os.fork`: the copy has no business with the node, and must not keep its socket open."""
        self._forked = True
        self._sock.close()


def drive(call: Callable[..., Coroutine[Any, Any, object]], *args: Any, **kwargs: Any) -> object:
    """Run a chain of middleware to its end without an event loop: it may await nothing but the rest of the chain."""
    coroutine = call(*args, **kwargs)
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError(
        "a middleware awaits something that needs an event loop, and this worker is a plain function; "
        "make the worker async"
    )


def _refuse_async(*_args: Any, **_kwargs: Any) -> None:
    raise TypeError("this worker is async; it runs in an async worker process")
