"""The rows that most jobs are: inserted with nothing but defaults, completed at the first attempt.

The columns that say so are left to the table and to the statements: a third of the columns travel, and a batch costs
its client and the server half. What is not usual takes the statements that carry every column (see `rows`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from struct import Struct, pack
from typing import Any, Final

from kathikon_actors.jobs.record import Record
from kathikon_actors.store.rows import SPARSE, Y2K, Columns, decode_rows, pg_id, sparse_row, us_of

__all__ = [
    "COPY_COLUMNS",
    "KEYED_COLUMNS",
    "LINKED_COLUMNS",
    "PARTITIONED_COLUMNS",
    "decode_owned",
    "ends_usually",
    "has_only_key",
    "has_only_partition",
    "holds_key",
    "is_usual",
    "keyed_rows",
    "linked_rows",
    "partitioned_rows",
    "usual_copies",
    "usual_ends",
    "usual_inserts",
    "was_usual",
]

COPY_COLUMNS: Final = (
    "owner", "timeout", "priority", "max_attempts", "queue", "worker", "inserted_at", "scheduled_at", "id", "args",
)  # fmt: skip
"""What a new job has beside the defaults of the table; the first six are the same in most jobs of a worker."""

_USUAL_COLUMNS: Final = (
    "owner", "inserted_at", "scheduled_at", "timeout", "priority", "max_attempts", "id", "queue", "worker", "args",
)  # fmt: skip

KEYED_COLUMNS: Final = (*_USUAL_COLUMNS, "tags", "unique_key", "holds_key")
"""The same of a job that may have tags and a unique key."""

PARTITIONED_COLUMNS: Final = (*_USUAL_COLUMNS, "tags", "partition_key")
"""The same of a job that may have tags and a partition."""

LINKED_COLUMNS: Final = (*_USUAL_COLUMNS, "tags", *SPARSE[2:], "holds_key")
"""The same of a job that may have tags, and what makes it hang together with others."""

_NO_KEY: Final = (None, None)


def was_usual(record: Record) -> bool:
    """Tell whether a new record has nothing beside `COPY_COLUMNS`."""
    return record.extra is None and not record.tags and is_usual(record)


def is_usual(record: Record) -> bool:
    """Tell whether a new record has nothing beside `LINKED_COLUMNS`."""
    return (
        not record.history
        and record.state == "available"
        and record.attempted_at is None
        and record.rerun_of is None
        and record.meta == b"{}"
        and record.keep_result
        and not record.orphaned
    )


# The format of a binary COPY: a head, for each row the number of its columns and each one as a length and its bytes,
# a tail. Written here it costs half of what it costs when asyncpg asks a codec for each value.
_HEAD: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TAIL: Final = b"\xff\xff"
_OWN_COLUMNS: Final = Struct(">iqiqi16si").pack
_COPY_BYTES: Final = 524_288


def usual_copies(owner: int, records: Sequence[Record], unowned: Collection[bytes] = ()) -> list[bytes]:
    """Give new rows as the bytes of one COPY, or of several when they are many: binary, `COPY_COLUMNS`.

    Args:
        owner: of all rows but those whose ids are in `unowned`.
        records: for which `was_usual`.
        unowned: ids of rows that are stored for whoever claims them.
    """
    copies: list[bytes] = []
    parts, size = [_HEAD], 0
    prefixes: dict[tuple[Any, ...], bytes] = {}
    for r in records:
        key = (r.queue, r.worker, r.timeout, r.priority, r.max_attempts, bool(unowned) and r.id in unowned)
        prefix = prefixes.get(key)
        if prefix is None:
            prefix = prefixes[key] = _shared_columns(None if key[5] else owner, r)
        args = r.args
        row = _OWN_COLUMNS(8, r.inserted_at - Y2K, 8, r.scheduled_at - Y2K, 16, r.id, len(args))
        parts += prefix, row, args
        size += len(args)
        if size > _COPY_BYTES:
            parts.append(_TAIL)
            copies.append(b"".join(parts))
            parts, size = [_HEAD], 0
    if len(parts) > 1:
        parts.append(_TAIL)
        copies.append(b"".join(parts))
    return copies


def _shared_columns(owner: int | None, record: Record) -> bytes:
    """Give the beginning of a row: how many columns there are, and the first six."""
    owned = pack(">i", -1) if owner is None else pack(">ii", 4, owner)
    numbers = pack(">idiiii", 8, record.timeout, 4, record.priority, 4, record.max_attempts)
    queue, worker = record.queue.encode(), record.worker.encode()
    names = pack(">i", len(queue)) + queue + pack(">i", len(worker)) + worker
    return pack(">h", len(COPY_COLUMNS)) + owned + numbers + names


def _usual_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    uuid = pg_id
    return [
        (
            owner,
            (r.inserted_at - Y2K,),
            (r.scheduled_at - Y2K,),
            r.timeout,
            r.priority,
            r.max_attempts,
            uuid(r.id),
            r.queue,
            r.worker,
            r.args.decode(),
        )
        for r in records
    ]


def linked_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Give rows for COPY: `LINKED_COLUMNS`."""
    rows = zip(_usual_rows(owner, records), records, strict=True)
    return [(*row, record.tags or None, *sparse_row(record)[2:], holds_key(record)) for row, record in rows]


def keyed_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Give rows for COPY: `KEYED_COLUMNS`."""
    uuid = pg_id
    return [
        (
            owner,
            (r.inserted_at - Y2K,),
            (r.scheduled_at - Y2K,),
            r.timeout,
            r.priority,
            r.max_attempts,
            uuid(r.id),
            r.queue,
            r.worker,
            r.args.decode(),
            r.tags or None,
            *((uuid(r.extra.unique_key), True) if r.extra is not None and r.extra.unique_key is not None else _NO_KEY),
        )
        for r in records
    ]


def has_only_key(record: Record) -> bool:
    """Tell whether a new record of which `is_usual` is true has nothing beside `KEYED_COLUMNS`."""
    extra = record.extra
    return extra is None or (
        extra.partition_key is None
        and extra.parent_id is None
        and extra.batch_id is None
        and extra.guarded is None
        and not extra.depends_on
        and not extra.dependency_results
        and extra.on_dependency_failure == "discard"
    )


def partitioned_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Give rows for COPY: `PARTITIONED_COLUMNS`."""
    rows = zip(_usual_rows(owner, records), records, strict=True)
    return [(*row, r.tags or None, None if r.extra is None else r.extra.partition_key) for row, r in rows]


def has_only_partition(record: Record) -> bool:
    """Tell whether a new record has nothing beside `PARTITIONED_COLUMNS`."""
    extra = record.extra
    return is_usual(record) and (
        extra is None
        or (
            extra.unique_key is None
            and extra.parent_id is None
            and extra.batch_id is None
            and extra.guarded is None
            and not extra.depends_on
            and not extra.dependency_results
            and extra.on_dependency_failure == "discard"
        )
    )


def holds_key(record: Record) -> bool | None:
    """Give the column `holds_key` of a new row."""
    return True if record.extra is not None and record.extra.unique_key is not None else None


def usual_inserts(records: Sequence[Record]) -> Columns:
    """Give the same as arrays for `insert_usual.sql`, without the owner."""
    return (
        [r.inserted_at - Y2K for r in records],
        [r.scheduled_at - Y2K for r in records],
        [r.timeout for r in records],
        [r.priority for r in records],
        [r.max_attempts for r in records],
        [pg_id(r.id) for r in records],
        [r.queue for r in records],
        [r.worker for r in records],
        [r.args.decode() for r in records],
    )


def ends_usually(record: Record) -> bool:
    """Tell whether a record completed at its first attempt, which the store has not seen begin."""
    return record.state == "completed" and not record.history and record.fence == 0 and record.progress == 100


def usual_ends(records: Sequence[Record]) -> Columns:
    """Give what is new of such records as arrays for `complete_rows.sql`; no results at all when each is null."""
    results = [None if r.result is None else r.result.decode() for r in records]
    return (
        [pg_id(r.id) for r in records],
        [(r.attempted_at or 0) - Y2K for r in records],
        [(r.finished_at or 0) - Y2K for r in records],
        [] if results.count("null") == len(results) else results,
    )


_STATE: Final = 15
"""The place of the state in a row of `load_owned.sql`; null there says that the job is a usual one."""


def decode_owned(rows: Iterable[Any], node: str) -> list[Record]:
    """Give the rows of `load_owned.sql` as records; one that cannot be read is left out with a warning."""
    records = []
    for row in rows:
        if row[_STATE] is None and row[8][0] == "{":
            inserted_at, scheduled_at, timeout, priority, max_attempts, job_id, queue, worker, args = row[:9]
            try:
                records.append(
                    Record(
                        id=job_id.bytes,
                        queue=queue,
                        worker=worker,
                        args=args.encode(),
                        state="available",
                        priority=priority,
                        max_attempts=max_attempts,
                        inserted_at=us_of(inserted_at),
                        scheduled_at=us_of(scheduled_at),
                        timeout=timeout,
                        node=node,
                        fence=0,
                    )
                )
                continue
            except ValueError:
                pass  # said below
        records += decode_rows([_whole(row)], node)
    return records


def _whole(row: Sequence[Any]) -> tuple[Any, ...]:
    """Give a row of `load_owned.sql` with its columns in the usual order, the defaults put in."""
    inserted_at, scheduled_at, timeout, priority, max_attempts, job_id, queue, worker, args, *rest = row
    if rest[6] is None:
        rest = [None, None, 0, 0, 0, True, "available", "{}", None, "", "", None, *rest[12:]]
    attempted_at, finished_at, attempt, progress, orphaned, keep_result, state, *others = rest
    return (
        inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
        orphaned, keep_result, job_id, state, queue, worker, args, *others,
    )  # fmt: skip
