"""One timer for all that is due later: scheduled jobs, backoffs, snoozes."""

from __future__ import annotations

import time
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

import trio

from kathikon_actors import faults
from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import DUE_STATES
from kathikon_actors.store.table import Table

__all__ = ["Scheduler"]

LONGEST_SLEEP = 1.0
"""Seconds: due times are wall-clock times, and the wall clock may be set while we sleep."""

MOST_STALE: Final = 1000
"""Entries beyond twice what the table holds at which those are thrown away that nobody waits for any more."""


class Scheduler:
    """Makes records available when their time has come.

    Like a producer it holds nothing that the table does not hold.

    Args:
        table: where the records are.
        clock: gives microseconds since 1970.
        longest_sleep: seconds.
    """

    def __init__(
        self,
        table: Table,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        longest_sleep: float = LONGEST_SLEEP,
    ) -> None:
        self._longest_sleep = longest_sleep
        self._table = table
        self._clock = clock
        self._heap: list[tuple[int, bytes, int, Record]] = []
        self._pushed = 0
        self._earlier = trio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    async def run(self, *, task_status: trio.TaskStatus[Scheduler] = trio.TASK_STATUS_IGNORED) -> None:
        """Promote what is due until cancelled."""
        try:
            for record in self._table.attach_scheduler(self.push):
                self.push(record)
            task_status.started(self)
            while True:
                self._earlier = trio.Event()
                wait = self._promote_due()
                with trio.move_on_after(wait):
                    await self._earlier.wait()
        finally:
            self._table.detach_scheduler(self.push)

    def push(self, record: Record) -> None:
        """Take a record that is due later."""
        first = self._heap[0][0] if self._heap else None
        self._pushed += 1
        heappush(self._heap, (record.scheduled_at, record.id, self._pushed, record))
        if first is None or record.scheduled_at < first:
            self._earlier.set()
        if len(self._heap) > 2 * len(self._table.records) + MOST_STALE:
            self._tidy()

    def _tidy(self) -> None:
        """Throw away what was cancelled, put off or given away: it may be due in years only."""
        waiting = {entry[1]: entry for entry in self._heap if self._is_waiting(entry[3], entry[0])}
        self._heap[:] = waiting.values()
        heapify(self._heap)

    def _is_waiting(self, record: Record, at: int) -> bool:
        return record.state in DUE_STATES and record.scheduled_at == at and self._table.records.get(record.id) is record

    def _promote_due(self) -> float:
        """Promote everything that is due; give the seconds until the next one."""
        heap, now, due = self._heap, self._clock(), []
        try:
            while heap and heap[0][0] <= now:
                at, _, _, record = heappop(heap)
                # What was cancelled, put off to another time or given away since it came here is passed over.
                if self._is_waiting(record, at):
                    if faults.armed:
                        faults.touch("scheduler.before_due", **faults.about(record))
                    machine.promote(record, now)
                    due.append(record)
        finally:
            # Also when we die here: what is available already is nobody's to find but the producer's.
            if due:
                self._table.route(due)
        return min(self._longest_sleep, max(0.0, (heap[0][0] - now) / 1e6)) if heap else float("inf")
