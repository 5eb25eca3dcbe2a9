"""A batch as users see it."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import from_us

if TYPE_CHECKING:
    from kathikon_actors.jobs.batch import BatchRecord, BatchState

__all__ = ["BatchStatus"]


@dataclass(frozen=True)
class BatchStatus:
    """A batch as it was at one moment.

    Attributes:
        state: `open` (takes more children), `running` (closed), `succeeded`, `failed`.
        total: children so far.
        completed: of these; `cancelled`, `discarded` likewise. The rest has not ended.
        parent_id: the job that opened it while it ran, and waits for it.
        outer_id: the batch in which it counts as one child.
    """

    id: UUID
    name: str | None
    state: BatchState
    total: int
    completed: int
    cancelled: int
    discarded: int
    opened_at: dt.datetime
    closed_at: dt.datetime | None
    resolved_at: dt.datetime | None
    parent_id: UUID | None
    outer_id: UUID | None

    @classmethod
    def of(cls, record: BatchRecord) -> BatchStatus:
        """Give what a store keeps as users see it."""
        return cls(
            id=as_uuid(record.id),
            name=record.name,
            state=record.state,
            total=record.total,
            completed=record.completed,
            cancelled=record.cancelled,
            discarded=record.discarded,
            opened_at=from_us(record.opened_at),
            closed_at=None if record.sealed_at is None else from_us(record.sealed_at),
            resolved_at=None if record.resolved_at is None else from_us(record.resolved_at),
            parent_id=None if record.parent_id is None else as_uuid(record.parent_id),
            outer_id=None if record.outer_id is None else as_uuid(record.outer_id),
        )

    @property
    def pending(self) -> int:
        """Children that have not ended."""
        return self.total - self.completed - self.cancelled - self.discarded

    @property
    def progress(self) -> float:
        """Per cent of the children that have ended, 0 to 100; of none all have."""
        return 100.0 if not self.total else 100.0 * (self.total - self.pending) / self.total

    @property
    def is_resolved(self) -> bool:
        """Whether it has ended."""
        return self.resolved_at is not None

    def to_dict(self) -> dict[str, Any]:
        """Give every field by name, times as ISO 8601."""
        shown = {**asdict(self), "pending": self.pending, "progress": self.progress}
        return {name: _plain(value) for name, value in shown.items()}


def _plain(value: object) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value
