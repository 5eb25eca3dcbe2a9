"""Jobs of a broadcast queue: the announcement that was inserted, and its delivery to each node.

The announcement is a job that no worker runs: it is completed as soon as it is announced. Each node that lives within
the queue's window then has a job of its own, with attempts, errors and a history of its own.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sealing import SEALED, bound_id

__all__ = ["ANNOUNCED", "deliver", "delivery_id", "is_delivery"]

ANNOUNCED: Final = "announced to every node"

_VERSION, _DELIVERY = 6, 0x80


def delivery_id(announcement: bytes, node: str) -> bytes:
    """Give the id of a delivery: always the same, beside the announcement in the order of ids, a UUIDv8."""
    tail = bytearray(sha256(announcement + node.encode()).digest()[:10])
    tail[0] = tail[0] & 0x0F | _DELIVERY
    tail[2] = tail[2] & 0x3F | 0x80
    return announcement[:_VERSION] + bytes(tail)


def is_delivery(record: Record) -> bool:
    """Tell a delivery from an announcement."""
    parent = None if record.extra is None else record.extra.parent_id
    return parent is not None and record.id[_VERSION] & 0xF0 == _DELIVERY and record.id[:_VERSION] == parent[:_VERSION]


def deliver(announcement: Record, node: str, now: int) -> Record:
    """Make the job of one node.

    Args:
        announcement: as it was inserted; its state is of no interest.
        node: the node's name.
        now: microseconds since 1970.
    """
    known = announcement.extra or Extra()
    sealed = announcement.args.startswith(SEALED) or announcement.meta.startswith(SEALED)
    job = Record(
        id=delivery_id(announcement.id, node),
        queue=announcement.queue,
        worker=announcement.worker,
        args=announcement.args,
        state="available",
        priority=announcement.priority,
        max_attempts=announcement.max_attempts,
        inserted_at=now,
        scheduled_at=now,
        timeout=announcement.timeout,
        meta=announcement.meta,
        tags=announcement.tags,
        keep_result=announcement.keep_result,
        node=node,
        fence=0,
        original_id=bound_id(announcement) if sealed else None,  # what is encrypted is bound to that id
        extra=Extra(
            parent_id=announcement.id,
            partition_key=known.partition_key,
            depends_on=known.depends_on,
            dependency_results=known.dependency_results,
        ),
    )
    machine.inserted(job)
    return job
