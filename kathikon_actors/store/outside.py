"""What programs without a node do on a Postgres connection: insert rows that nobody owns, read, count.

Each function is one asyncio piece of work, on a connection of ours or, for a transactional insert, on the caller's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import AlreadyExists
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.composing import insert_composed
from kathikon_actors.store.protocol import MAX_PAGE, Counts, Page
from kathikon_actors.store.rows import decode_rows, pg_id, unowned_columns
from kathikon_actors.store.selecting import filter_values
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import forget, note_inserted

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["count_rows", "find_rows", "get_row", "insert_composed_rows", "insert_rows"]


async def insert_rows(raw: Raw, records: Sequence[Record]) -> set[bytes]:
    """Store new rows that nobody owns; give the ids that existed already; see `Store.insert_unowned`.

    Within a transaction of the caller's it is a part of that.
    """
    if not records:
        return set()
    if raw.is_in_transaction():  # also one that asyncpg did not begin and would not nest in
        existed = await _insert_rows(raw, records)
    else:
        async with raw.transaction():
            existed = await _insert_rows(raw, records)
    note_inserted(record for record in records if record.id not in existed)
    return existed


async def _insert_rows(raw: Raw, records: Sequence[Record]) -> set[bytes]:
    if not records:
        return set()
    ids = {str(as_uuid(record.id)): record.id for record in records}
    row = await raw.fetchrow(statement("insert_unowned"), *unowned_columns(records))
    assert row is not None
    undone = await raw.fetch(statement("undo_unowned"), list(ids))
    return {ids[job_id] for job_id in ids.keys() - set(row["ids"])} | {ids[row[0]] for row in undone}


async def insert_composed_rows(raw: Raw, records: Sequence[Record], whole: bool = False) -> dict[bytes, Answer]:
    """Store new rows that nobody owns, some of which may meet a unique job, wait or be refused.

    Within a transaction of the caller's it is a part of that.

    Args:
        raw: any asyncpg connection.
        records: each id once.
        whole: store nothing when one of them is refused; its answer says why. Not within the caller's transaction.
    """
    if raw.is_in_transaction():
        return await _insert_composed_rows(raw, records)
    try:
        async with raw.transaction():
            answers = await _insert_composed_rows(raw, records)
            if whole and any(answer.error is not None for answer in answers.values()):
                raise _NotWhole(answers)
    except _NotWhole as refused:
        forget()
        return refused.answers
    return answers


class _NotWhole(Exception):
    """Rolls back the transaction of inserts that go together, one of which was refused."""

    def __init__(self, answers: dict[bytes, Answer]) -> None:
        super().__init__()
        self.answers = answers


async def _insert_composed_rows(raw: Raw, records: Sequence[Record]) -> dict[bytes, Answer]:
    taken: set[bytes] = set()

    async def store_rows(rows: list[Record]) -> None:
        taken.update(await _insert_rows(raw, rows))
        note_inserted(record for record in rows if record.id not in taken)

    answers = await insert_composed(raw, records, store_rows, check_ids=True)
    answers = {record.id: Answer(record) for record in records} | answers
    return answers | {job_id: Answer(error=AlreadyExists(as_uuid(job_id))) for job_id in taken}


async def get_row(raw: Raw, job_id: bytes) -> Record | None:
    """Give the row of one job; see `Store.get`."""
    return next(iter(decode_rows(await raw.fetch(statement("get_job"), pg_id(job_id)))), None)


async def find_rows(raw: Raw, page: Page) -> list[Record]:
    """Give one page of jobs; see `Store.find`."""
    rows = await raw.fetch(
        statement("find_newest" if page.newest_first else "find_oldest"),
        *filter_values(page.wanted),
        None if page.after is None else pg_id(page.after),
        min(page.limit, MAX_PAGE),
    )
    return decode_rows(rows)


async def count_rows(raw: Raw) -> list[Counts]:
    """Count jobs by queue and state; see `Store.counts`."""
    queues: dict[str, Counts] = {}
    for queue, state, number in await raw.fetch(statement("counts")):
        queues.setdefault(queue, Counts(queue)).by_state[state] = number
    return [queues[name] for name in sorted(queues)]
