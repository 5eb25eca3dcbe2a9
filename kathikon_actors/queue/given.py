"""One run that a worker process was given."""

from __future__ import annotations

import math

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.queue.settle import Ending, end_by_hand

__all__ = ["Given"]


class Given:
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

    __slots__ = ("before", "cost", "kill_at", "record", "sent", "shown", "why")

    def __init__(self, record: Record, before: machine.Before, cost: float, sent: float) -> None:
        self.record = record
        self.before = before
        self.cost = cost
        self.sent = sent
        self.why: Ending | None = None
        self.kill_at = math.inf
        self.shown = False

    def undo(self, now: int) -> None:
        """It never started: it is as it was, but a cancel that came meanwhile holds."""
        machine.never_began(self.record, self.before)
        end_by_hand(self.record, self.why, now)
