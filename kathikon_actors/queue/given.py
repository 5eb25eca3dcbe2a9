"""One run that a worker process was given."""

from __future__ import annotations

import math
from copy import copy

import msgspec

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.queue.settle import Ending, end_by_hand
from kathikon_actors.store.mourners import Mourners

__all__ = ["FAILED", "Given"]

FAILED = frozenset({"failed", "discarded", "interrupted"})
"""Verdicts that may be the end of a job."""

STORED_EVERY = 1_000_000
"""Microseconds between two writes of the progress of a job that is written as executing."""


class Given(msgspec.Struct, gc=False, eq=False):
    """What is remembered of a run until it has ended.

    Attributes:
        record: of the job.
        before: what `begin` changed.
        cost: expected seconds.
        sent: monotonic seconds.
        why: it was asked to stop, and for this.
        kill_at: monotonic seconds: when it has not given way by then its process is killed.
        shown: it was written as executing.
    """

    record: Record
    before: machine.Before
    cost: float
    sent: float
    why: Ending | None = None
    kill_at: float = math.inf
    shown: bool = False
    stored_at: int = 0

    def note_progress(self, percent: int, now: int) -> bool:
        """The job told how far it is; tell whether that is to be written."""
        self.record.progress = percent
        if not self.shown or now - self.stored_at < STORED_EVERY:
            return False
        self.stored_at = now
        return True

    def mourn(self, mourners: Mourners, was: Record) -> Record | None:
        """Put a job that its own failure discarded back to what it `was` until its `on_discard` has run.

        Gives what it becomes then; `None` when it has none. What an operator discards is no failure.
        """
        record = self.record
        if record.state != "discarded" or self.why == "discard" or not mourners.mourns(record.worker):
            return None
        after = copy(record)
        machine.become(record, was)
        mourners.take(record, after)
        return after

    def undo(self, now: int) -> None:
        """It never started: it is as it was, but a cancel that came meanwhile holds."""
        machine.never_began(self.record, self.before)
        end_by_hand(self.record, self.why, now)
