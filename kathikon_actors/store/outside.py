"""What programs without a node do on a Postgres connection: insert rows that nobody owns, read, count.

Each function is one asyncio piece of work, on a connection of ours or, for a transactional insert, on the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import AlreadyExists, KathikonError, StoreUnavailable
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.composing import insert_composed
from kathikon_actors.store.depth import limited_queues, refuse_above
from kathikon_actors.store.keys import TRIES, KeyTaken
from kathikon_actors.store.protocol import MAX_PAGE, Counts, Page
from kathikon_actors.store.rows import decode_rows, pg_id, unowned_columns
from kathikon_actors.store.selecting import filter_values
from kathikon_actors.store.statements import statement
from kathikon_actors.telemetry.telling import forget, note_inserted

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["count_rows", "find_rows", "get_row", "insert_composed_rows", "insert_rows"]


async def insert_rows(raw: Raw, records: Sequence[Record], limited: bool = True) -> dict[bytes, KathikonError]:
    """Store new rows that nobody owns; give why some were refused: `AlreadyExists`, `QueueFull`.

    Within a transaction of the caller's it is a part of that.

    Args:
        raw: any asyncpg connection.
        records: each id once.
        limited: the bounds of queues hold; see `depth`.
    """
    if not records:
        return {}
    if raw.is_in_transaction():  # also one that asyncpg did not begin and would not nest in
        return await _insert_and_note(raw, records, limited=limited, fence=False)
    async with raw.transaction():
        return await _insert_and_note(raw, records, limited=limited, fence=True)


async def _insert_and_note(
    raw: Raw, records: Sequence[Record], *, limited: bool, fence: bool
) -> dict[bytes, KathikonError]:
    """Insert; what is new is noted before the commit, after which another connection may see and run it."""
    refused = await _insert_rows(raw, records, limited=limited, fence=fence)
    note_inserted(record for record in records if record.id not in refused)
    return refused


async def _insert_rows(
    raw: Raw, records: Sequence[Record], *, limited: bool, fence: bool
) -> dict[bytes, KathikonError]:
    if not records:
        return {}
    row = await raw.fetchrow(statement("insert_unowned"), *unowned_columns(records), not limited)
    assert row is not None
    stored, refused = set(row["ids"]), dict[bytes, KathikonError]()
    if row["limited"]:
        rest = [record for record in records if record.queue in row["limited"]]
        refused |= await refuse_above(raw, rest, row["limited"], fence=fence)
        rest = [record for record in rest if record.id not in refused]
        if rest:
            row = await raw.fetchrow(statement("insert_unowned"), *unowned_columns(rest), True)
            assert row is not None
            stored |= set(row["ids"])
    ids = {str(as_uuid(record.id)): record.id for record in records if record.id not in refused}
    undone = await raw.fetch(statement("undo_unowned"), list(ids)) if ids else []
    existed = {ids[job_id] for job_id in ids.keys() - stored} | {ids[row[0]] for row in undone}
    return refused | {job_id: AlreadyExists(as_uuid(job_id)) for job_id in existed}


async def insert_composed_rows(
    raw: Raw, records: Sequence[Record], whole: bool = False, limited: bool = True
) -> dict[bytes, Answer]:
    """Store new rows that nobody owns, some of which may meet a unique job, wait or be refused.

    Within a transaction of the caller's it is a part of that.

    Args:
        raw: any asyncpg connection.
        records: each id once.
        whole: store nothing when one of them is refused; its answer says why. Not within the caller's transaction.
        limited: the bounds of queues hold; see `depth`.
    """
    for _ in range(TRIES):
        try:
            if raw.is_in_transaction():
                return await _insert_nested(raw, records, limited=limited)
            async with raw.transaction():
                answers = await _insert_composed_rows(raw, records, limited=limited, fence=True)
                if whole and any(answer.error is not None for answer in answers.values()):
                    raise _NotWhole(answers)
                return answers
        except _NotWhole as refused:
            forget()
            return refused.answers
        except KeyTaken:
            forget()
    raise StoreUnavailable(f"others were faster with a unique key {TRIES} times; nothing was stored")


class _NotWhole(Exception):
    """Rolls back the transaction of inserts that go together, one of which was refused."""

    def __init__(self, answers: dict[bytes, Answer]) -> None:
        super().__init__()
        self.answers = answers


async def _insert_nested(raw: Raw, records: Sequence[Record], *, limited: bool) -> dict[bytes, Answer]:
    """Insert within the caller's transaction, which goes on when a key was taken meanwhile."""
    if all(record.extra is None or record.extra.unique_key is None for record in records):
        return await _insert_composed_rows(raw, records, limited=limited, fence=False)
    await raw.execute("SAVEPOINT kathikon_keys")
    try:
        answers = await _insert_composed_rows(raw, records, limited=limited, fence=False)
    except KeyTaken:
        await raw.execute("ROLLBACK TO SAVEPOINT kathikon_keys")
        await raw.execute("RELEASE SAVEPOINT kathikon_keys")
        raise
    await raw.execute("RELEASE SAVEPOINT kathikon_keys")
    return answers


async def _insert_composed_rows(
    raw: Raw, records: Sequence[Record], *, limited: bool, fence: bool
) -> dict[bytes, Answer]:
    taken: dict[bytes, KathikonError] = {}

    async def store_rows(rows: list[Record]) -> None:
        missing = await _insert_rows(raw, rows, limited=False, fence=False)
        if missing and any(r.extra is not None and r.extra.unique_key is not None for r in rows if r.id in missing):
            raise KeyTaken  # or an id was, which is seen the next time
        taken.update(missing)
        note_inserted(record for record in rows if record.id not in taken)

    async def admit(rows: list[Record]) -> Mapping[bytes, KathikonError]:
        return await refuse_above(raw, rows, bounded, fence=fence)

    bounded = await limited_queues(raw, (record.queue for record in records)) if limited else []
    answers = await insert_composed(raw, records, store_rows, check_ids=True, admit=admit if bounded else None)
    answers = {record.id: Answer(record) for record in records} | answers
    return answers | {job_id: Answer(error=error) for job_id, error in taken.items()}


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
