"""What operators do to single rows: one transaction that locks the row, applies the change, and writes it back.

The lock is the fence: whoever else writes the row waits, and then finds it moved, or owned by nobody.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import JobNotFound, LeaseLost, OwnedElsewhere, StoreUnavailable
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.protocol import Changed, Membership
from kathikon_actors.store.retaking import deciding, gather_results, retake_keys, settle_keys
from kathikon_actors.store.rows import decode_rows, pg_id, whole_row
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import note_inserted

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["change_row"]

_LOOKS: Final = 5
"""A row that moves from one table to the other while it is looked for is found by looking again."""


async def change_row(
    raw: Raw, job_id: bytes, change: Change, membership: Membership | None, queues: Collection[str]
) -> Changed:
    """Apply an action to one row; see `Store.change`."""
    return await deciding(raw, _change_row, job_id, change, membership, queues)


async def _change_row(
    raw: Raw, job_id: bytes, change: Change, membership: Membership | None, queues: Collection[str]
) -> Changed:
    if membership is not None and not await raw.fetchval(
        statement("hold_membership"), membership.node_id, membership.epoch
    ):
        raise LeaseLost(membership.node, membership.epoch)
    row, finished = await _lock(raw, job_id)
    owner = row["owner"]
    if not finished and owner is not None:
        if change.action == "rerun":
            raise change.refused(as_uuid(job_id), row["state"])
        holder = await raw.fetchrow(statement("owner_of"), owner)
        if holder is not None and holder["alive"]:
            raise OwnedElsewhere(as_uuid(job_id), holder["name"])
    found = decode_rows([row], "")
    if not found:
        raise StoreUnavailable(f"the row of job {as_uuid(job_id)} cannot be read; nothing was changed")
    record = found[0]
    if change.is_done(record):  # a command that is tried again
        record.node = await raw.fetchval(statement("node_name"), owner)
        return Changed(record)
    keyed = finished and record.extra is not None and record.extra.unique_key is not None
    if keyed:
        change.check(record)
        for conflict in (await retake_keys(raw, [job_id], change)).values():
            raise conflict
    made = change.apply(record)
    if record.state not in TERMINAL_STATES:
        if finished:
            await gather_results(raw, [record])
        else:
            await raw.execute(statement("remove_job"), pg_id(job_id))
        await _put_live(raw, record, membership, queues, keyed or row["holds_key"])
        if finished:  # afterwards, so that its batch sees that it lives again
            await raw.execute(statement("remove_finished_job"), pg_id(job_id))
    elif finished:
        # What a node finished stays under its name.
        await raw.execute(statement("note_in_finished_job"), pg_id(job_id), record.history.decode())
        record.node = await raw.fetchval(statement("node_name"), owner)
    else:
        await raw.execute(statement("remove_job"), pg_id(job_id))
        await raw.execute(statement("put_finished_job"), *whole_row(None, record))
        record.node = None
    if made is not None:
        await _put_live(raw, made, membership, queues, keyed or None)
        note_inserted([made])
    if keyed:
        await settle_keys(raw, [job_id if made is None else made.id])
    return Changed(record, made)


async def _lock(raw: Raw, job_id: bytes) -> tuple[Any, bool]:
    """Give the locked row, and whether it is a finished one."""
    for _ in range(_LOOKS):
        for name, finished in (("lock_job", False), ("lock_finished_job", True)):
            row = await raw.fetchrow(statement(name), pg_id(job_id))
            if row is not None:
                return row, finished
    raise JobNotFound(as_uuid(job_id), archived=await raw.fetchval(statement("is_archived"), pg_id(job_id)))


async def _put_live(
    raw: Raw, record: Record, membership: Membership | None, queues: Collection[str], holds_key: bool | None = None
) -> None:
    mine = membership is not None and record.queue in queues
    row = whole_row(membership.node_id if membership is not None and mine else None, record)
    await raw.execute(statement("put_job"), *row, holds_key)
    record.node = membership.node if membership is not None and mine else None
    record.fence = record.attempt
    if not mine:
        await raw.execute(statement("tell"), record.queue)
