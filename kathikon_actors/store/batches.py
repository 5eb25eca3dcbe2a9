"""Batches on a Postgres connection; see `BatchStore`. Each function is one asyncio piece of work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.batch import BatchRecord
from kathikon_actors.jobs.errors import BatchClosed, BatchNotFound
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.commanding import change_finished
from kathikon_actors.store.commands import Requested
from kathikon_actors.store.retaking import deciding, retake_keys, settle_keys
from kathikon_actors.store.rows import decode_rows, pg_id, pg_time, us_of
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import counts_of, note_batch

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.connection import Raw

__all__ = ["PostgresBatches"]

T = TypeVar("T")


class _Pool(Protocol):
    async def run(self, work: Callable[..., Awaitable[T]], *args: Any) -> T: ...


class PostgresBatches:
    """A `BatchStore` on any pool of connections with our codecs."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool

    async def open(self, batch: BatchRecord) -> None:
        """See `BatchStore.open`."""
        await self._pool.run(_open, batch)

    async def seal(self, batch_id: bytes) -> BatchRecord:
        """See `BatchStore.seal`."""
        return await self._pool.run(_seal, batch_id)

    async def get(self, batch_id: bytes) -> BatchRecord | None:
        """See `BatchStore.get`."""
        return await self._pool.run(_get, batch_id)

    async def find(self, after: bytes | None, limit: int) -> list[BatchRecord]:
        """See `BatchStore.find`."""
        return await self._pool.run(_find, after, limit)

    async def children(self, parent: bytes, after: bytes | None, limit: int) -> list[Record]:
        """See `BatchStore.children`."""
        return await self._pool.run(_children, parent, after, limit)

    async def retry_failed(self, batch_id: bytes, now: int) -> Requested:
        """See `BatchStore.retry_failed`."""
        return await self._pool.run(deciding, _retry_failed, batch_id, now)

    async def prune(self, before: int, limit: int) -> int:
        """See `BatchStore.prune`."""
        return await self._pool.run(_prune, before, limit)


async def _open(raw: Raw, batch: BatchRecord) -> None:
    async with raw.transaction():
        status = await raw.execute(
            statement("open_batch"),
            pg_id(batch.id),
            pg_time(batch.opened_at),
            batch.needed,
            _id(batch.parent_id),
            _id(batch.outer_id),
            None if batch.run_at is None else pg_time(batch.run_at),
            batch.name,
            *(None if job is None else job.decode() for job in (batch.on_complete, batch.on_success, batch.on_failure)),
        )
        if status == "INSERT 0 0":
            return
        note_batch(batch.id, "opened")
        await raw.execute(statement("open_batch_counts"), pg_id(batch.id))
        if batch.outer_id is not None:
            outer = str(as_uuid(batch.outer_id))
            found = await raw.fetchrow(statement("hold_batches"), [outer])
            if found is None:
                raise BatchNotFound(outer)
            if not found[1]:
                raise BatchClosed(outer)
            await raw.execute(statement("grow_batches"), [outer], [1])


async def _seal(raw: Raw, batch_id: bytes) -> BatchRecord:
    async with raw.transaction():
        total = await raw.fetchval(statement("seal_batch"), pg_id(batch_id))
        if total is not None:
            note_batch(batch_id, "sealed", total)
            await raw.execute(statement("resolve_batch"), pg_id(batch_id))
        found = await _get(raw, batch_id)
        if found is None:
            raise BatchNotFound(as_uuid(batch_id))
        return found


async def _get(raw: Raw, batch_id: bytes) -> BatchRecord | None:
    rows = await raw.fetch(statement("get_batch"), pg_id(batch_id))
    return _decode(rows[0]) if rows else None


async def _find(raw: Raw, after: bytes | None, limit: int) -> list[BatchRecord]:
    return [_decode(row) for row in await raw.fetch(statement("find_batches"), _id(after), limit)]


async def _children(raw: Raw, parent: bytes, after: bytes | None, limit: int) -> list[Record]:
    return decode_rows(await raw.fetch(statement("children"), pg_id(parent), _id(after), limit))


async def _retry_failed(raw: Raw, batch_id: bytes, now: int) -> Requested:
    found, change = Requested(), Change("retry", now)
    # Rows and keys before the counts, as whoever ends a job locks them.
    failed = [row[0].bytes for row in await raw.fetch(statement("failed_children"), pg_id(batch_id))]
    found.errors.update(await retake_keys(raw, failed, change))
    resolved = await raw.fetchval(statement("hold_counts"), pg_id(batch_id))
    if resolved is None:
        raise BatchNotFound(as_uuid(batch_id))
    failed = [job_id for job_id in failed if job_id not in found.errors]
    if failed:
        await change_finished(raw, failed, change, found)
        await settle_keys(raw, failed)
    batch = await _get(raw, batch_id)
    if found.done and not resolved and batch is not None:
        note_batch(batch_id, "retried", *counts_of(batch))
    return found


async def _prune(raw: Raw, before: int, limit: int) -> int:
    gone = [row[0].bytes for row in await raw.fetch(statement("prune_batches"), pg_time(before), limit)]
    for batch_id in gone:
        note_batch(batch_id, "pruned")
    return len(gone)


def _id(raw: bytes | None) -> Any:
    return None if raw is None else pg_id(raw)


def _decode(row: Any) -> BatchRecord:
    return BatchRecord(
        id=row["id"].bytes,
        name=row["name"],
        opened_at=us_of(row["opened_at"]),
        sealed_at=None if row["sealed_at"] is None else us_of(row["sealed_at"]),
        resolved_at=None if row["resolved_at"] is None else us_of(row["resolved_at"]),
        succeeded=row["succeeded"],
        total=row["total"],
        completed=row["completed"],
        cancelled=row["cancelled"],
        discarded=row["discarded"],
        needed=row["needed"],
        parent_id=None if row["parent_id"] is None else row["parent_id"].bytes,
        run_at=None if row["run_at"] is None else us_of(row["run_at"]),
        outer_id=None if row["outer_id"] is None else row["outer_id"].bytes,
        on_complete=None if row["on_complete"] is None else row["on_complete"].encode(),
        on_success=None if row["on_success"] is None else row["on_success"].encode(),
        on_failure=None if row["on_failure"] is None else row["on_failure"].encode(),
    )
