"""Records in partitions of a fair queue."""

from __future__ import annotations

from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record

__all__ = ["in_partition"]


def in_partition(name: str | None, record: Record) -> Record:
    """Give the record with its partition set."""
    if name is not None:
        record.extra = Extra(partition_key=name)
    return record
