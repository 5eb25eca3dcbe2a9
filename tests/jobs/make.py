"""Records for the tests of the pure rooms."""

from __future__ import annotations

from typing import Any

from kathikon_actors.jobs.record import Record

NOW = 1_700_000_000_000_000
"""A moment, in microseconds since 1970: 2023-11-14 22:13:20 UTC."""


def record(number: int = 1, **fields: Any) -> Record:
    """Make an available record with id `number`; `fields` override."""
    values: dict[str, Any] = {
        "id": number.to_bytes(16, "big"),
        "queue": "default",
        "worker": "charge",
        "args": b"{}",
        "state": "available",
        "priority": 0,
        "max_attempts": 3,
        "inserted_at": NOW,
        "scheduled_at": NOW,
        "timeout": 300.0,
    }
    return Record(**(values | fields))
