"""What a rotation of keys goes through in memory; see `SealedStore`."""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from kathikon_actors.jobs.rotation import Carried
from kathikon_actors.jobs.sealing import bound_id
from kathikon_actors.store.rotating import PAGE

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = ["MemorySealed", "carried_by", "put_into"]


class MemorySealed:
    """`SealedStore` on rows in memory.

    Args:
        rows: gives every row.
        begin: raises `StoreUnavailable` when the store is closed.
    """

    def __init__(self, rows: Callable[[], Iterable[Record]], begin: Callable[[], Awaitable[None]]) -> None:
        self._rows = rows
        self._begin = begin

    async def page(self, after: bytes | None) -> list[Carried]:
        """See `SealedStore.page`."""
        await self._begin()
        rows = {record.id: record for record in self._rows() if after is None or record.id > after}
        return [carried_by(rows[job_id]) for job_id in heapq.nsmallest(PAGE, rows)]

    async def replace(self, changes: Sequence[tuple[Carried, Carried]]) -> int:
        """See `SealedStore.replace`."""
        await self._begin()
        rows = {record.id: record for record in self._rows()}
        number = 0
        for old, new in changes:
            record = rows.get(new.id)
            if record is not None and carried_by(record) == old:
                put_into(record, new)
                number += 1
        return number


def carried_by(record: Record) -> Carried:
    """Give what a record carries."""
    extra = record.extra
    return Carried(
        record.id,
        bound_id(record),
        record.args.decode(),
        record.meta.decode(),
        None if record.result is None else record.result.decode(),
        record.errors.decode(),
        None if extra is None or not extra.dependency_results else extra.dependency_results.decode(),
    )


def put_into(record: Record, carried: Carried) -> None:
    """Let a record carry this."""
    record.args, record.meta = carried.args.encode(), carried.meta.encode()
    record.result = None if carried.result is None else carried.result.encode()
    record.errors = carried.errors.encode()
    if record.extra is not None:
        results = (carried.dependency_results or "").encode()
        record.extra = msgspec.structs.replace(record.extra, dependency_results=results)
