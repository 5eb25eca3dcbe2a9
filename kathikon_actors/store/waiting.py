"""Waiting for the end of a job, or for the commit of what was last changed of it."""

from __future__ import annotations

import trio

from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.remembered import Remembered
from kathikon_actors.store.unwritten import Unwritten

__all__ = ["Waiter", "Waiting"]

MEMORABLE = 10_000
"""Bytes: a job whose arguments, results and meta are longer is not remembered."""


class Waiter:
    """One who waits, and what it is told: the record, or `None` when the job is not here any more."""

    __slots__ = ("ended", "event", "record")

    def __init__(self, ended: bool) -> None:
        self.ended = ended
        self.event = trio.Event()
        self.record: Record | None = None


class Waiting:
    """The part of a `Table` that callers wait on.

    Completed jobs are remembered for those who ask for them next; `completed` is final, so they cannot be stale.
    """

    records: dict[bytes, Record]
    unwritten: Unwritten
    _waiters: dict[bytes, list[Waiter]]
    _completed: Remembered

    async def wait_written(self, job_id: bytes) -> Record | None:
        """Wait until what was last changed of a job is committed.

        Returns:
            The record, or `None` when the job is not here (any more): ask the store.
        """
        record = self.records.get(job_id, self.unwritten.ended.get(job_id))
        if record is None or record.durability != "commit":
            await trio.lowlevel.checkpoint()
            return record
        return await self._wait(job_id, ended=False)

    def forget(self, job_id: bytes) -> None:
        """What is remembered of a completed job is not what the store has any more."""
        self._completed.forget(job_id)

    async def wait_ended(self, job_id: bytes) -> Record | None:
        """Wait until a job of this table has ended and that is committed.

        Returns:
            The record, or `None` when the job is not here (any more): ask the store.
        """
        record = self.records.get(job_id)
        if record is None or (record.durability != "commit" and record.state in TERMINAL_STATES):
            await trio.lowlevel.checkpoint()
            return record or self._completed.get(job_id) or self.unwritten.ended.get(job_id)
        return await self._wait(job_id, ended=True)

    async def _wait(self, job_id: bytes, *, ended: bool) -> Record | None:
        waiter = Waiter(ended)
        self._waiters.setdefault(job_id, []).append(waiter)
        try:
            await waiter.event.wait()
        finally:
            waiting = self._waiters.get(job_id)
            if waiting is not None:
                waiting.remove(waiter)
                if not waiting:
                    del self._waiters[job_id]
        return waiter.record

    def _remember(self, record: Record) -> None:
        if record.state == "completed" and _size(record) <= MEMORABLE:
            self._completed.add(record)

    def _resolve(self, record: Record, *, lost: bool) -> None:
        for waiter in self._waiters.get(record.id, ()):
            if lost or not waiter.ended or record.state in TERMINAL_STATES:
                waiter.record = None if lost else record
                waiter.event.set()

    def _tell_all(self) -> None:
        """Have everybody who waits ask the store."""
        for waiters in list(self._waiters.values()):
            for waiter in waiters:
                waiter.event.set()


def _size(record: Record) -> int:
    size = len(record.args) + len(record.meta) + len(record.result or b"")
    return size if record.extra is None else size + len(record.extra.dependency_results)
