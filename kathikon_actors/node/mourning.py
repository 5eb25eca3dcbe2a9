"""Calls `on_discard` of jobs that their own failure discarded, in worker processes of its own.

The end of such a job is committed when its `on_discard` has run, so that a node which dies in between loses nothing:
the last attempt is made again, and `on_discard` with it, as at least once says. It has the job's timeout; what it
raises, or a process that it kills, is logged and changes nothing. Few jobs end this way, so a few processes do it,
forked when they are needed and gone when they are not.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.processes.exits import WorkerDied, ZygoteDied
from kathikon_actors.processes.frames import FrameTooLarge
from kathikon_actors.processes.messages import Mourn, Report

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.processes.handle import WorkerProcess, Zygote
    from kathikon_actors.queue.runner import Kind
    from kathikon_actors.store.table import Table

__all__ = ["Wake"]

logger = logging.getLogger(__name__)

LANES: Final = 2
"""Processes of each kind, at the most."""

IDLE: Final = 5.0
"""Seconds without work after which a process is let go."""

STOP_GRACE: Final = 0.5
"""Seconds that an idle process has to end."""

PAUSE: Final = 0.5
"""Seconds until the next attempt when no process could be forked."""


class _Mourned(NamedTuple):
    """A job as it is, executing, and as it will be when its `on_discard` has run."""

    record: Record
    after: Record


class Wake:
    """The discarded jobs whose `on_discard` has not run yet.

    Args:
        kind_of: which kind of process calls a worker's `on_discard`; `None` when it has none.
        table: where the jobs are.
    """

    def __init__(self, kind_of: Callable[[str], Kind | None], table: Table) -> None:
        self._kind_of = kind_of
        self._table = table
        self._waiting: dict[Kind, deque[_Mourned]] = {"plain": deque(), "async": deque()}
        self._under_way: dict[bytes, _Mourned] = {}
        self._idle: dict[Kind, int] = {"plain": 0, "async": 0}
        self._came = trio.Event()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values())) + len(self._under_way)

    def mourns(self, worker: str) -> bool:
        """See `Mourners.mourns`."""
        return self._kind_of(worker) is not None

    def take(self, record: Record, after: Record) -> None:
        """See `Mourners.take`."""
        self._waiting[self._kind_of(record.worker) or "plain"].append(_Mourned(record, after))
        self._came.set()

    def give_up(self) -> None:
        """The node stops and waits no longer: the jobs end without it."""
        left = [*self._under_way.values(), *(mourned for waiting in self._waiting.values() for mourned in waiting)]
        self._under_way.clear()
        for waiting in self._waiting.values():
            waiting.clear()
        for mourned in left:
            logger.warning("on_discard of job %s was not waited for: the node stops", as_uuid(mourned.record.id))
            self._end(mourned)

    def _end(self, mourned: _Mourned) -> None:
        record = mourned.record
        if record.state == "executing" and self._table.records.get(record.id) is record:
            machine.become(record, mourned.after)
            self._table.changed([record])

    async def run(
        self, zygote: Callable[[], Zygote], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Call what is due until cancelled."""
        # A crash of this task left these in the middle: they are called again.
        for mourned in self._under_way.values():
            self._waiting[self._kind_of(mourned.record.worker) or "plain"].appendleft(mourned)
        self._under_way.clear()
        lanes: dict[Kind, int] = {"plain": 0, "async": 0}
        self._idle = {"plain": 0, "async": 0}

        async def lane(kind: Kind) -> None:
            try:
                await self._lane(kind, zygote)
            finally:
                lanes[kind] -= 1
                self._came.set()  # what came while it stopped its process found no place for a lane of its own

        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                self._came = trio.Event()
                for kind, waiting in self._waiting.items():
                    for _ in range(min(LANES - lanes[kind], len(waiting) - self._idle[kind])):
                        lanes[kind] += 1
                        nursery.start_soon(lane, kind)
                await self._came.wait()

    async def _lane(self, kind: Kind, zygote: Callable[[], Zygote]) -> None:
        """Work with one process until there has been nothing to do for a while."""
        process: WorkerProcess | None = None
        seq = 0
        try:
            while True:
                mourned = await self._next(kind)
                if mourned is None:
                    return
                if process is None:
                    process, seq = await self._fork(kind, zygote), 0
                seq += 1
                if not await self._call(process, seq, mourned.after):
                    process = None
                if self._under_way.pop(mourned.record.id, None) is not None:
                    self._end(mourned)
        finally:
            if process is not None:
                with trio.CancelScope(shield=True):
                    await process.stop(STOP_GRACE)
                    process.close()

    async def _next(self, kind: Kind) -> _Mourned | None:
        self._idle[kind] += 1
        try:
            with trio.move_on_after(IDLE):
                while not self._waiting[kind]:
                    await self._came.wait()
                    await trio.lowlevel.checkpoint()
        finally:
            self._idle[kind] -= 1
        if not self._waiting[kind]:
            return None
        mourned = self._waiting[kind].popleft()
        self._under_way[mourned.record.id] = mourned
        return mourned

    async def _fork(self, kind: Kind, zygote: Callable[[], Zygote]) -> WorkerProcess:
        while True:
            try:
                return await zygote().fork(kind, 1, f"kathikon discards {kind}")
            except OSError as error:
                logger.warning("no process for on_discard, trying again: %s", error)
                await trio.sleep(PAUSE)

    async def _call(self, process: WorkerProcess, seq: int, record: Record) -> bool:
        """Call one; tell whether the process can be used again."""
        job = f"on_discard of job {as_uuid(record.id)} ({record.worker})"
        limit = trio.CancelScope(deadline=trio.current_time() + record.timeout)
        try:
            with limit:
                process.send([Mourn(seq, record)])
                while True:
                    for message in await process.receive():
                        if isinstance(message, Report) and message.seq == seq:
                            if message.verdict != "completed":
                                logger.error("%s failed: %s\n%s", job, message.message, message.traceback or "")
                            return True
            logger.error("%s did not end within %g s; its process is killed", job, record.timeout)
            process.kill()
            while True:
                await process.receive()
        except WorkerDied as died:
            if not limit.cancelled_caught:
                logger.error("%s killed its process: %s", job, died.exit)  # noqa: TRY400 no traceback of interest
        except FrameTooLarge as error:
            logger.error("%s was not called: %s", job, error)  # noqa: TRY400 no traceback of interest
            return True
        except ZygoteDied:
            raise  # that is no fault of the job
        except Exception:
            # It wrote into the node's socket: called again, it would do so again, and the restarts of this task would
            # end the node.
            logger.exception("%s failed; its process is killed", job)
            process.close()
        return False
