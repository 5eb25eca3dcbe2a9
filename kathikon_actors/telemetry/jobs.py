"""From the state machine's transitions to events on the bus, while somebody wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import State
from kathikon_actors.telemetry.bus import Bus
from kathikon_actors.telemetry.events import JobProgress, JobTransition
from kathikon_actors.telemetry.telling import Telling, heard, inserted, transition

__all__ = ["JobWatch"]


class JobWatch:
    """Observes the state machine for one bus, and only while the bus has a subscriber for it.

    Args:
        bus: of the node.
        is_ours: tells whether a record is one of this node's: the machine serves every node of the process.
        telling: of the node's store.
    """

    def __init__(self, bus: Bus, is_ours: Callable[[Record], bool], telling: Telling | None = None) -> None:
        self._bus = bus
        self._telling = Telling() if telling is None else telling
        self._is_ours = is_ours
        bus.watch(self._look)
        self._look()

    def close(self) -> None:
        """Observe no more."""
        machine.unobserve(self._moved)

    def inserted(self, records: Iterable[Record]) -> None:
        """Tell of new jobs, once they are committed."""
        if self._bus.wants(JobTransition):
            for record in self._telling.new(records):
                self._bus.emit(inserted(record))

    def progressed(self, record: Record) -> None:
        """Tell how far a job is."""
        if self._bus.wants(JobProgress):
            job_id, percent = as_uuid(record.id), record.progress
            self._bus.emit(JobProgress(job_id=job_id, worker=record.worker, queue=record.queue, percent=percent))

    def _look(self) -> None:
        if self._bus.wants(JobTransition):
            machine.observe(self._moved)
        else:
            machine.unobserve(self._moved)

    def _moved(self, record: Record, event: str, old: State, new: State, now: int, meta: dict[str, Any] | None) -> None:
        told = heard()
        if told is not None:
            # Within a transaction of a store: whoever runs it tells, after the commit.
            if told.bus is self._bus:
                told.job(transition(record, event, old, new, now, meta))
        elif self._is_ours(record):
            moved = transition(record, event, old, new, now, meta)
            self._telling.overtake(moved.job_id, record, old)
            self._bus.emit(moved)
