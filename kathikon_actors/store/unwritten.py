"""The jobs of a table that are not written at once: `durability="snapshot"` a moment later, `"memory"` never.

A snapshot job is in the table like any other; that it changed is noted here, and `write` hands what was noted to the
journal's lane of outcomes. A record whose fence is -1 has no row yet: the store makes one, in the archive when the job
has ended by then. A job in memory leaves the table when it has ended, and is remembered here for a while.
"""

from __future__ import annotations

from collections import OrderedDict

from kathikon_actors.jobs.record import Record
from kathikon_actors.store.lane_queue import LaneQueue

__all__ = ["Unwritten"]

MOST_NOTED = 10_000
"""Snapshot jobs that changed; with so many they are written before the interval is over."""

REMEMBERED = 10_000
"""Jobs in memory that have ended and can still be looked at and run again: the last ones."""


class Unwritten:
    """What a table has not handed to the journal.

    Args:
        outcomes: the lane that snapshots are written in.

    Attributes:
        ended: jobs in memory that have ended, by id, the last one last.
    """

    def __init__(self, outcomes: LaneQueue[Record]) -> None:
        self._outcomes = outcomes
        self._noted: list[Record] = []
        self.ended: OrderedDict[bytes, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._noted)

    def note(self, record: Record) -> None:
        """A snapshot job is new or has changed; it is marked dirty already, so that it is noted once."""
        self._noted.append(record)
        if len(self._noted) >= MOST_NOTED:
            self.write()

    def write(self) -> None:
        """Have the journal write everything that was noted."""
        noted, self._noted = self._noted, []
        for record in noted:
            self._outcomes.add(record, 1)

    def remember(self, record: Record) -> None:
        """A job in memory has ended."""
        self.ended[record.id] = record
        if len(self.ended) > REMEMBERED:
            self.ended.popitem(last=False)
