"""What the table and the runners know of those who call `on_discard`."""

from __future__ import annotations

from typing import Protocol

from kathikon_actors.jobs.record import Record

__all__ = ["Mourners"]


class Mourners(Protocol):
    """Who calls `on_discard`."""

    def mourns(self, worker: str) -> bool:
        """Whether a worker has an `on_discard`."""
        ...

    def take(self, record: Record, after: Record) -> None:
        """Call it with the job as it is `after`; then `record` becomes that."""
