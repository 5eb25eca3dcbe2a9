"""From the state machine's transitions to events on the bus, while somebody wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.history import whole_history
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import State
from kathikon_actors.telemetry.bus import Bus
from kathikon_actors.telemetry.events import JobProgress, JobTransition

__all__ = ["JobWatch"]


class JobWatch:
    """Observes the state machine for one bus, and only while the bus has a subscriber for it.

    Args:
        bus: of the node.
        is_ours: tells whether a record is one of this node's: the machine serves every node of the process.
    """

    def __init__(self, bus: Bus, is_ours: Callable[[Record], bool]) -> None:
        self._bus = bus
        self._is_ours = is_ours
        bus.watch(self._look)
        self._look()

    def close(self) -> None:
        """Observe no more."""
        machine.unobserve(self._moved)

    def inserted(self, records: Iterable[Record]) -> None:
        """Tell of new jobs, once they are committed."""
        if self._bus.wants(JobTransition):
            for record in records:
                self._tell(record, "inserted", None, record.state, record.inserted_at, None)

    def progressed(self, record: Record) -> None:
        """Tell how far a job is."""
        if self._bus.wants(JobProgress):
            job_id, percent = as_uuid(record.id), record.progress
            self._bus.emit(JobProgress(job_id=job_id, worker=record.worker, queue=record.queue, percent=percent))

    def changed_outside(self, record: Record) -> None:
        """Tell of the last transition of a row that the store changed for us."""
        if self._bus.wants(JobTransition):
            at, event, old, new, *meta = json.decode(b"[" + whole_history(record) + b"]")[-1]
            self._tell(record, event, old, new, at, meta[0] if meta else None)

    def _look(self) -> None:
        if self._bus.wants(JobTransition):
            machine.observe(self._moved)
        else:
            machine.unobserve(self._moved)

    def _moved(self, record: Record, event: str, old: State, new: State, now: int, meta: dict[str, Any] | None) -> None:
        if self._is_ours(record):
            self._tell(record, event, old, new, now, meta)

    def _tell(
        self, record: Record, event: str, old: State | None, new: State, now: int, meta: dict[str, Any] | None
    ) -> None:
        seconds = waited = None
        if old == "executing" and record.attempted_at is not None and event != "never began":
            seconds = (now - record.attempted_at) / 1e6
        elif new == "executing":
            waited = max(0, now - record.scheduled_at) / 1e6
        reason = None if meta is None else meta.get("reason") or meta.get("note")
        self._bus.emit(
            JobTransition(
                job_id=as_uuid(record.id),
                worker=record.worker,
                queue=record.queue,
                event=event,
                old=old,
                new=new,
                attempt=record.attempt,
                seconds=seconds,
                waited=waited,
                reason=None if reason is None else str(reason),
            )
        )
