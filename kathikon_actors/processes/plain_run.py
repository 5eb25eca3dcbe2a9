"""A plain function where there is no process for it: on a node under test, and without a node.

It runs in a thread, so that it can wait for what it asks of the node, and the loop stands still meanwhile, as it would
for the function itself: a virtual clock does not run away. The loop goes on while the function waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.runtime import CURRENT, SideChannel, What
from kathikon_actors.processes.execution import Executable, add_own_file
from kathikon_actors.processes.plain import Interrupted, drive

if TYPE_CHECKING:
    from kathikon_actors.processes.async_run import AsyncRun

__all__ = ["call_in_thread"]

T = TypeVar("T")

add_own_file(__file__)


class _Asked(NamedTuple):
    """The function wants something of the node."""

    what: What
    body: bytes


class _Far(NamedTuple):
    """The function tells how far it is: the loop hears it from its own thread."""

    percent: int


class _Came(NamedTuple):
    """What came of a question, or of the function."""

    value: Any
    error: BaseException | None = None


class _Door:
    """What the job sees of its run, as in a worker process for plain functions."""

    is_async = False

    def __init__(self, run: AsyncRun) -> None:
        self._run = run
        self.job_id = run.job_id
        self.record: Record | None = run.record
        self.said: SimpleQueue[_Asked | _Far | _Came] = SimpleQueue()
        self.answers: SimpleQueue[_Came] = SimpleQueue()

    @property
    def side(self) -> SideChannel | None:
        """The node's actors are in this very process."""
        return self._run.side

    def ask(self, what: What, body: bytes, decode: Callable[[bytes], T]) -> T:
        """Ask the node and wait for its answer."""
        self.said.put(_Asked(what, body))
        answer = self.answers.get()
        if answer.error is not None:
            raise answer.error
        return decode(answer.value)

    def report_progress(self, percent: int) -> None:
        """See `JobRuntime.report_progress`."""
        self.said.put(_Far(percent))

    def is_cancelled(self) -> bool:
        """See `JobRuntime.is_cancelled`."""
        return self._run.is_cancelled()

    def serve(self, executable: Executable, job: Job, args: dict[str, Any]) -> None:
        """Be the thread."""
        CURRENT.set(self)
        try:
            value = drive(executable.call, job, **args) if executable.awaits else executable.call(job, **args)
        except BaseException as error:  # SystemExit too is this job's failure only
            self.said.put(_Came(None, error))
        else:
            self.said.put(_Came(value))


async def call_in_thread(run: AsyncRun, executable: Executable, record: Record, args: dict[str, Any]) -> object:
    """Call a plain function that takes its job.

    Raises:
        BaseException: what it raised.
        trio.Cancelled: it was stopped while it waited for an answer.
    """
    door = _Door(run)
    work = (door.serve, executable, Job(record), args)
    Thread(target=copy_context().run, args=work, name=record.worker, daemon=True).start()
    while True:
        said = door.said.get()
        if isinstance(said, _Came):
            if said.error is not None:
                raise said.error
            return said.value
        if isinstance(said, _Far):
            run.report_progress(said.percent)
            continue
        try:
            answer = _Came(await run.ask(said.what, said.body, bytes))
        except Exception as error:
            answer = _Came(None, error)
        except BaseException:  # cancelled
            while not isinstance(said, _Came):
                if isinstance(said, _Asked):
                    door.answers.put(_Came(None, Interrupted(run.why or "timeout")))
                said = door.said.get()
            raise
        door.answers.put(answer)
