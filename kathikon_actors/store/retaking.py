"""Unique keys of jobs that have ended and are to live again, on a Postgres connection.

The key is taken first; then the rows that live are stored with `holds_key` set, where they meet the rows of inserts
that are under way: whoever comes second finds the index taken, rolls back and decides anew. `settle_keys` comes last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg

from kathikon_actors.jobs.composing import with_results
from kathikon_actors.jobs.errors import StoreUnavailable, UniqueConflict
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.keys import TRIES, is_of_key
from kathikon_actors.store.rows import pg_id
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import forget

if TYPE_CHECKING:
    from kathikon_actors.jobs.actions import Change
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.store.connection import Raw

__all__ = ["deciding", "gather_results", "retake_keys", "settle_keys"]

T = TypeVar("T")


async def deciding(raw: Raw, work: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run `work(raw, *args)` in a transaction; in another one when an insert took a key of it meanwhile.

    Raises:
        StoreUnavailable: that happened again and again; nothing was changed.
    """
    for _ in range(TRIES):
        try:
            async with raw.transaction():
                return await work(raw, *args)
        except asyncpg.UniqueViolationError as error:
            if not is_of_key(error):
                raise
            forget()
    raise StoreUnavailable(f"others were faster with a unique key {TRIES} times; nothing was changed")


async def retake_keys(raw: Raw, ids: Sequence[bytes], change: Change) -> dict[bytes, UniqueConflict]:
    """Lock finished jobs and take their unique keys for what is to live of them, within the transaction that is open.

    Gives the errors of those whose keys other jobs have: they must stay as they are.
    """
    ended = [pg_id(job_id) for job_id in ids]
    takers = [pg_id(change.new_id)] * len(ended) if change.action == "rerun" else ended
    rows = await raw.fetch(statement("retake_keys"), ended, takers)
    return {
        refused.bytes: UniqueConflict(as_uuid(refused.bytes), as_uuid(holder.bytes), change.action)
        for refused, holder in rows
    }


async def gather_results(raw: Raw, records: Sequence[Record]) -> list[Record]:
    """Ended jobs live again: they get the results of parents that have completed since; give those that got some."""
    waited = [r for r in records if r.extra is not None and r.extra.depends_on]
    if not waited:
        return []
    parents = {str(as_uuid(parent)) for r in waited if r.extra is not None for parent in r.extra.depends_on}
    rows = await raw.fetch(statement("ended_parents"), list(parents))
    results = {UUID(job_id).bytes: result.encode() for job_id, state, result in rows if state == "completed" and result}
    changed = []
    for record in waited:
        assert record.extra is not None
        extra = with_results(record.extra, results)
        if extra is not record.extra:
            record.extra = extra
            changed.append(record)
    return changed


async def settle_keys(raw: Raw, ids: Sequence[bytes]) -> None:
    """The rows of those that took keys are stored."""
    await raw.execute(statement("settle_keys"), [pg_id(job_id) for job_id in ids])
