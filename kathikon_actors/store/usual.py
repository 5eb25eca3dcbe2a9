"""The rows that most jobs are: inserted with nothing but defaults, completed at the first attempt.

The columns that say so are left to the table and to the statements: a third of the columns travel, and a batch costs
its client and the server half. What is not usual takes the statements that carry every column (see `rows`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kathikon_actors.jobs.record import Record
from kathikon_actors.store.rows import SPARSE, Y2K, Columns, decode_rows, pg_id, sparse_row, us_of

__all__ = [
    "KEYED_COLUMNS",
    "LINKED_COLUMNS",
    "PARTITIONED_COLUMNS",
    "USUAL_COLUMNS",
    "decode_owned",
    "ends_usually",
    "has_only_key",
    "has_only_partition",
    "holds_key",
    "is_usual",
    "keyed_rows",
    "linked_rows",
    "partitioned_rows",
    "usual_ends",
    "usual_inserts",
    "usual_rows",
    "was_usual",
]

USUAL_COLUMNS: Final = (
    "owner", "inserted_at", "scheduled_at", "timeout", "priority", "max_attempts", "id", "queue", "worker", "args",
)  # fmt: skip
"""What a new job has beside the defaults of the table."""

KEYED_COLUMNS: Final = (*USUAL_COLUMNS, "tags", "unique_key", "holds_key")
"""The same of a job that may have tags and a unique key."""

PARTITIONED_COLUMNS: Final = (*USUAL_COLUMNS, "tags", "partition_key")
"""The same of a job that may have tags and a partition."""

LINKED_COLUMNS: Final = (*USUAL_COLUMNS, "tags", *SPARSE[2:], "holds_key")
"""The same of a job that may have tags, and what makes it hang together with others."""

_NO_KEY: Final = (None, None)


def was_usual(record: Record) -> bool:
    """Tell whether a new record has nothing beside `USUAL_COLUMNS`."""
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


def usual_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Give rows for COPY: `USUAL_COLUMNS`."""
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
    rows = zip(usual_rows(owner, records), records, strict=True)
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
    rows = zip(usual_rows(owner, records), records, strict=True)
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
