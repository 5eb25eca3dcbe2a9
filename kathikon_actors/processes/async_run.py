"""One run of an async job on a trio loop: in a worker process, or in the node's own."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import count
from time import monotonic_ns
from typing import Any, TypeVar

import trio

from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.runtime import CURRENT, SideChannel, What
from kathikon_actors.jobs.sealing import SEALED, CannotOpen
from kathikon_actors.jobs.wire import error_from_wire
from kathikon_actors.processes.channel import ProgressThrottle
from kathikon_actors.processes.execution import (
    Executable,
    add_own_file,
    bind,
    report_bad_args,
    report_error,
    report_interrupted,
    report_value,
)
from kathikon_actors.processes.frames import encode_frames
from kathikon_actors.processes.messages import Ask, FromWorker, Reply, Report, Why
from kathikon_actors.processes.plain_run import call_in_thread
from kathikon_actors.processes.sealed_run import open_for, report_unopened, seal_report

__all__ = ["AsyncRun"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_numbers = count(1)

add_own_file(__file__)


class _Asked:
    """One question to the node."""

    __slots__ = ("event", "reply")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.reply: Reply | None = None


class AsyncRun:
    """What may stop the run, and the job's door to the node.

    Args:
        seq: names it.
        record: of the job; must not change while it runs.
        put: takes what the node should hear.
        side: the way to the node's actors; `None` in the node itself.

    Attributes:
        started: in ns of `time.monotonic_ns()`.
        why: it was asked to stop, and for this.
    """

    __slots__ = ("_asked", "_put", "_scope", "_throttle", "job_id", "record", "seq", "side", "started", "why")

    is_async = True

    def __init__(
        self, seq: int, record: Record, put: Callable[[FromWorker], None], side: SideChannel | None = None
    ) -> None:
        self._put = put
        self._throttle: ProgressThrottle | None = None
        self._scope = trio.CancelScope()
        self._asked: dict[int, _Asked] = {}
        self.seq = seq
        self.job_id = record.id
        self.record: Record | None = record
        self.side = side
        self.started = monotonic_ns()
        self.why: Why | None = None

    def report_progress(self, percent: int) -> None:
        """Send 0..100 to the node, as often as it wants to hear it."""
        if self._throttle is None:
            self._throttle = ProgressThrottle(self._put)
        self._throttle.report(self.seq, percent)

    def is_cancelled(self) -> bool:
        """Whether the node asked this job to stop because somebody cancelled it."""
        return self.why == "cancel"

    async def ask(self, what: What, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Ask the node and wait for its answer; cancelled, what was asked may happen all the same.

        Raises:
            FrameTooLarge: it fits into no frame; nothing was asked.
        """
        number = next(_numbers)
        asked = self._asked[number] = _Asked()
        try:
            question = Ask(self.seq, number, what, body)
            if self.side is not None:
                encode_frames([question])  # one that is too large raises here, not in the task that sends the reports
            self._put(question)
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

    def interrupt(self, why: Why) -> None:
        """Cancel it."""
        self.why = why
        self._scope.cancel()

    # Ctrl-C is for the program round the loop: it must not be taken for a failure of the job that happens to run.
    @trio.lowlevel.enable_ki_protection
    async def perform(
        self, record: Record, executable: Executable, returned: Callable[[BaseException | None], None]
    ) -> Report:
        """Call the worker; give how it ended.

        Args:
            record: of the job.
            executable: the worker.
            returned: called as soon as its code has ended, with what it raised.
        """
        if record.args.startswith(SEALED):
            try:
                plain = open_for(executable, record)
            except CannotOpen as error:
                returned(None)
                return report_unopened(self.seq, error)
            self.record = plain
            return seal_report(await self._perform(plain, executable, returned, sealed=True), record, executable)
        return await self._perform(record, executable, returned)

    async def _perform(
        self,
        record: Record,
        executable: Executable,
        returned: Callable[[BaseException | None], None],
        *,
        sealed: bool = False,
    ) -> Report:
        args = bind(record)
        failure: BaseException | None = None
        value: object = None
        CURRENT.set(self)
        with self._scope:
            try:
                if args is not None:
                    value = await self._call(executable, record, args)
            except trio.Cancelled:
                raise
            except BaseException as error:  # whatever user code raises, SystemExit too, is this job's failure only
                if isinstance(error, BaseExceptionGroup) and not self._scope.cancel_called:
                    self._give_way(error)
                failure = error
            # Inside the scope: in a copy that user code forked, trio is gone, and leaving the scope would raise.
            returned(failure)
        seconds = (monotonic_ns() - self.started) / 1e9
        try:
            if self.why is not None:
                return report_interrupted(self.seq, seconds, self.why)
            if args is None:
                return report_bad_args(self.seq, record)
            if failure is None:
                return report_value(self.seq, seconds, record, executable, value, sealed=sealed)
            return report_error(self.seq, seconds, record, executable, failure)
        finally:
            failure = None  # its traceback holds this frame

    async def _call(self, executable: Executable, record: Record, args: dict[str, Any]) -> object:
        """Call the worker; a plain function runs right here, on the loop, unless it has a job to ask with."""
        if executable.is_plain and executable.takes_job:
            return await call_in_thread(self, executable, record, args)
        result = executable.call(Job(record), **args) if executable.takes_job else executable.call(**args)
        return await result if executable.awaits else result

    def _give_way(self, group: BaseExceptionGroup[BaseException]) -> None:
        """A stop from outside comes out of a job's nursery in a group: the job has not failed, whatever else is there.

        Raises:
            BaseExceptionGroup: of the `trio.Cancelled` in it, if there is any.
        """
        cancelled, rest = group.split(trio.Cancelled)
        if cancelled is None:
            return
        if rest is not None:
            logger.warning("job %s raised while it was stopped", self.job_id.hex(), exc_info=rest)
        raise cancelled from None
