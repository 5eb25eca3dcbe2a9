"""Jobs that programs without a node run themselves: claimed with a lease, finished with a token that only they have.

Such a row belongs to -1, so that no node takes it. Whoever wants to finish it must hold the claim (its token, its
attempt, its lease) while it writes; a claim whose lease ran out is given back by whoever claims next, or by the leader.
The row of the job is always locked before that of its claim. Each function is one asyncio piece of work for `Pool.run`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from uuid import UUID

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.errors import ClaimLost
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.rows import decode_rows, pg_id, pg_us
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["EXTERNAL", "claim_external", "extend_external", "finish_external", "give_back_expired"]

EXTERNAL: Final = -1
"""The owner of rows that an external runner has."""

_EXPIRED: Final = "its runner's lease ran out"

POISON: Final = 3
"""A job whose runner was lost this often is discarded."""


async def claim_external(
    raw: Raw, queue: str, limit: int, lease: float, token: UUID, runner: str, now: int
) -> list[Record]:
    """Take up to `limit` due rows that nobody owns, best first, each as begun; concurrent claims share none."""
    await give_back_expired(raw, now)
    async with raw.transaction():
        records = decode_rows(await raw.fetch(statement("external_pick"), queue, limit), "")
        for record in records:
            if record.state != "available":
                machine.promote(record, now)
            machine.begin(record, now)
        if records:
            await raw.execute(
                statement("external_begin"),
                [pg_id(r.id) for r in records],
                [r.attempt for r in records],
                [r.history.decode() for r in records],
                [pg_us(now) for _ in records],
                token,
                runner,
                float(lease),
            )
    records.sort(key=lambda r: (-r.priority, r.scheduled_at, r.id))
    return records


async def extend_external(raw: Raw, job_id: bytes, attempt: int, token: UUID, lease: float) -> None:
    """Move the lease's end to `lease` seconds from now.

    Raises:
        ClaimLost: it ran out, or the job was taken away.
    """
    if not await raw.fetchval(statement("external_extend"), pg_id(job_id), token, attempt, float(lease)):
        raise ClaimLost(as_uuid(job_id))


async def finish_external(
    raw: Raw, job_id: bytes, attempt: int, token: UUID, end: Callable[[Record, str], None]
) -> Record:
    """Let `end` move the record, which is executing, and write it.

    Args:
        raw: the connection.
        job_id: 16 bytes.
        attempt: that was claimed.
        token: of the claim.
        end: moves the record by the state machine; it is given the runner's name too.

    Raises:
        ClaimLost: the lease ran out, or the job was taken away; nothing was changed.
    """
    async with raw.transaction():
        record = await _held(raw, job_id, attempt)
        runner = await raw.fetchval(statement("external_hold"), pg_id(job_id), token, attempt)
        if record is None or runner is None:
            raise ClaimLost(as_uuid(job_id))
        end(record, runner)
        await _write(raw, record)
        return record


async def give_back_expired(raw: Raw, now: int) -> int:
    """Give back what runners hold whose lease has run out; give how many."""
    number = 0
    for job_id, attempt in await raw.fetch(statement("external_expired")):
        async with raw.transaction():
            record = await _held(raw, job_id.bytes, attempt)
            if not await raw.fetchval(statement("external_lost"), job_id, attempt):
                continue  # its lease was extended, or somebody else was faster
            if record is None:  # an operator was faster
                await raw.execute(statement("external_forget"), job_id)
                continue
            record.orphaned += 1
            if record.history.count(json.encode(_EXPIRED)) + 1 >= POISON:
                message = f"the leases of {POISON} runners ran out that had it"
                machine.discard(record, now, message, error=machine.quote_error(now, attempt, "orphaned", message))
            else:
                machine.take_back(record, now, _EXPIRED)
            await _write(raw, record)
            number += 1
    return number


async def _held(raw: Raw, job_id: bytes, attempt: int) -> Record | None:
    rows = await raw.fetch(statement("lock_job"), pg_id(job_id))
    if not rows or rows[0]["owner"] != EXTERNAL or rows[0]["attempt"] != attempt:
        return None
    return next(iter(decode_rows(rows, "")), None)


async def _write(raw: Raw, record: Record) -> None:
    await raw.execute(
        statement("external_write"),
        pg_id(record.id),
        record.state,
        record.attempt,
        record.progress,
        record.orphaned,
        record.history.decode(),
        record.errors.decode(),
        None if record.result is None else record.result.decode(),
        pg_us(record.scheduled_at),
        None if record.finished_at is None else pg_us(record.finished_at),
    )
    await raw.execute(statement("external_forget"), pg_id(record.id))
    if record.state in TERMINAL_STATES:
        await raw.execute(statement("finish_changed"), [pg_id(record.id)])
    else:
        await raw.execute(statement("tell"), record.queue)
    record.node = None
    record.fence = record.attempt
