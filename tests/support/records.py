"""Records for tests of stores and of what stands on them."""

from __future__ import annotations

import time
from copy import copy
from typing import Any

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.record import Record

__all__ = ["MINUTE", "as_stored", "completed", "new_record", "now_us"]

MINUTE = 60_000_000
_ids = IdSource()


def now_us() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def new_record(**fields: Any) -> Record:
    """A job that was inserted now; any field may be given."""
    now = now_us()
    usual: dict[str, Any] = {
        "id": _ids.next(now),
        "queue": "default",
        "worker": "noop",
        "args": b"{}",
        "state": "available",
        "priority": 0,
        "max_attempts": 3,
        "inserted_at": now,
        "scheduled_at": now,
        "timeout": 300.0,
    }
    record = Record(**(usual | fields))
    machine.inserted(record)
    return record


def completed(record: Record, result: bytes | None = b"null") -> Record:
    """The record after one successful attempt, with the fence of a row that never ran."""
    done = copy(record)
    done.fence = record.attempt
    machine.begin(done, now_us())
    machine.complete(done, now_us(), result)
    return done


def as_stored(record: Record, node: str | None) -> Record:
    """The record as a store gives it back."""
    stored = copy(record)
    stored.fence = record.attempt
    stored.node = node
    stored.dirty = False
    stored.durability = "commit"
    return stored
