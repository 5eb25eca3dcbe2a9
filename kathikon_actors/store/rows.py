"""Job records as rows and back: the order of the columns, and how times, ids and JSON travel.

Times travel as microseconds since 2000 and ids as asyncpg's own UUID: a quarter of the cost of `datetime` and
`uuid.UUID`. In arrays, where asyncpg looks at each element several times, a time is a plain number, and a column that
holds its usual value in the whole batch is empty.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

from asyncpg.pgproto import pgproto

from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import STATES

__all__ = [
    "COLUMNS",
    "SPARSE",
    "Y2K",
    "Columns",
    "array_literal",
    "copy_rows",
    "decode_rows",
    "insert_columns",
    "is_plain",
    "outcome_columns",
    "pg_id",
    "pg_time",
    "pg_us",
    "sparse_row",
    "unowned_columns",
    "us_of",
    "whole_row",
    "wide_rows",
]

COLUMNS: Final = (
    "inserted_at", "scheduled_at", "attempted_at", "finished_at", "timeout", "priority", "max_attempts", "attempt",
    "progress", "orphaned", "keep_result", "id", "state", "queue", "worker", "args", "meta", "tags", "history",
    "errors", "result",
)  # fmt: skip
"""The columns of a plain job, in the order of every statement; `owner` stands apart, `SPARSE` comes behind."""

SPARSE: Final = (
    "rerun_of", "original_id", "unique_key", "guarded", "partition_key", "depends_on", "on_dependency_failure",
    "dependency_results", "batch_id", "parent_id",
)  # fmt: skip
"""The columns that only some jobs have. A COPY of plain jobs leaves them out; in arrays they are empty then."""

_WIDTH: Final = len(COLUMNS) + len(SPARSE)
_NONE: Final = (None,) * (len(SPARSE) - 2)
_NOTHING: Final = list(_NONE)

Columns: TypeAlias = tuple[list[Any], ...]

Y2K: Final = 946_684_800_000_000
"""Microseconds from 1970 to 2000, where Postgres counts from."""

_EARLIEST: Final = -62_135_596_800_000_000
_LATEST: Final = 253_402_300_799_999_999

_log = logging.getLogger("kathikon.store")

# Built by one call without checks; at runtime it is a subclass of uuid.UUID.
pg_id = cast("Callable[[bytes], UUID]", pgproto.UUID)
"""Give 16 bytes as the UUID that asyncpg encodes fastest."""


def pg_time(us: int) -> tuple[int]:
    """Give microseconds since 1970 as the tuple that asyncpg's codec takes for a timestamptz."""
    return (us - Y2K,)


def pg_us(us: int) -> int:
    """Give microseconds since 1970 as microseconds since 2000, for statements that take times as numbers."""
    return us - Y2K


def copy_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Give rows for COPY: `owner`, then `COLUMNS`."""
    uuid = pg_id
    return [
        (
            owner,
            (r.inserted_at - Y2K,),
            (r.scheduled_at - Y2K,),
            None if r.attempted_at is None else (r.attempted_at - Y2K,),
            None if r.finished_at is None else (r.finished_at - Y2K,),
            r.timeout,
            r.priority,
            r.max_attempts,
            r.attempt,
            r.progress,
            r.orphaned,
            r.keep_result,
            uuid(r.id),
            r.state,
            r.queue,
            r.worker,
            r.args.decode(),
            r.meta.decode(),
            r.tags or None,
            r.history.decode(),
            r.errors.decode(),
            None if r.result is None else r.result.decode(),
        )
        for r in records
    ]


def is_plain(record: Record) -> bool:
    """Tell whether none of `SPARSE` is set."""
    return record.extra is None and record.rerun_of is None


def wide_rows(owner: int | None, records: Sequence[Record]) -> list[tuple[Any, ...]]:
    """Give rows for COPY with every column: `owner`, `COLUMNS`, `SPARSE`."""
    return [(*row, *sparse_row(record)) for row, record in zip(copy_rows(owner, records), records, strict=True)]


def whole_row(owner: int | None, record: Record) -> tuple[Any, ...]:
    """Give one row with every column: `owner`, `COLUMNS`, `SPARSE`."""
    return (*copy_rows(owner, [record])[0], *sparse_row(record))


def sparse_row(record: Record) -> tuple[Any, ...]:
    """Give one row of `SPARSE`."""
    extra = record.extra
    links = (_id(record.rerun_of), _id(record.original_id))
    if extra is None:
        return (*links, *_NONE)
    return (
        *links,
        _id(extra.unique_key),
        extra.guarded,
        extra.partition_key,
        [pg_id(parent) for parent in extra.depends_on] or None,
        None if extra.on_dependency_failure == "discard" else extra.on_dependency_failure,
        extra.dependency_results.decode() or None,
        _id(extra.batch_id),
        _id(extra.parent_id),
    )


def _sparse_columns(records: Sequence[Record]) -> Columns:
    """Give `SPARSE` as arrays, empty ones when all jobs are plain; lists of ids as array literals."""
    if all(map(is_plain, records)):
        return tuple([] for _ in SPARSE)
    columns = list(map(list, zip(*map(sparse_row, records), strict=True)))
    place = SPARSE.index("depends_on")
    columns[place] = [None if ids is None else array_literal(map(str, ids)) for ids in columns[place]]
    return tuple(columns)


def _id(raw: bytes | None) -> UUID | None:
    return None if raw is None else pg_id(raw)


def insert_columns(records: Sequence[Record]) -> Columns:
    """Give `COLUMNS` and `SPARSE` as arrays; tags as array literals, since nested arrays cannot be ragged."""
    columns = list(map(list, zip(*copy_rows(0, records), strict=True)))[1:]
    tags = COLUMNS.index("tags")
    columns[tags] = [None if value is None else array_literal(value) for value in columns[tags]]
    return (*columns, *_sparse_columns(records))


def unowned_columns(records: Sequence[Record]) -> Columns:
    """Give the columns of new rows as arrays for `insert_unowned.sql`, in types that every connection encodes alike."""
    *_links, unique_key, guarded, partition_key, depends_on, on_failure, results, batch_id, parent_id = _sparse_columns(
        records
    )
    return (
        [r.inserted_at - Y2K for r in records],
        [r.scheduled_at - Y2K for r in records],
        [r.timeout for r in records],
        [r.priority for r in records],
        [r.max_attempts for r in records],
        [r.keep_result for r in records],
        [str(pg_id(r.id)) for r in records],
        [r.state for r in records],
        [r.queue for r in records],
        [r.worker for r in records],
        [r.args.decode() for r in records],
        [r.meta.decode() for r in records],
        [array_literal(r.tags) if r.tags else None for r in records],
        [r.history.decode() for r in records],
        *([None if value is None else str(value) for value in ids] for ids in (unique_key, batch_id, parent_id)),
        guarded,
        partition_key,
        depends_on,
        on_failure,
        results,
    )


def outcome_columns(records: Sequence[Record]) -> Columns:
    """Give the columns that change after the insert as arrays for `finish_rows.sql` and `change_rows.sql`.

    An empty array stands for the values that those statements put: of a first attempt that completed.
    """
    attempts = [r.attempt for r in records]
    fences = [r.fence for r in records]
    return (
        [pg_id(r.id) for r in records],
        [] if fences == [attempt - 1 for attempt in attempts] else fences,
        _unless_all([r.state for r in records], "completed"),
        _unless_all(attempts, 1),
        _unless_all([r.max_attempts for r in records], 3),
        [r.scheduled_at - Y2K for r in records],
        [None if r.attempted_at is None else r.attempted_at - Y2K for r in records],
        [None if r.finished_at is None else r.finished_at - Y2K for r in records],
        [r.history.decode() for r in records] if any(r.history for r in records) else [],
        [r.errors.decode() for r in records] if any(r.errors for r in records) else [],
        [None if r.result is None else r.result.decode() for r in records],
        _unless_all([r.progress for r in records], 100),
        _unless_all([r.orphaned for r in records], 0),
    )


def decode_rows(rows: Iterable[Any], node: str | None = None) -> list[Record]:
    """Give the rows as records with `fence` set; one that cannot be decoded is left out with a warning.

    Args:
        rows: `COLUMNS` and `SPARSE` in their order; without `node`, one more column names the node.
        node: the owner of all of them.
    """
    records = []
    for row in rows:
        try:
            records.append(_decode(row, row[_WIDTH] if node is None else node))
        except (ValueError, TypeError, AttributeError) as error:
            _log.warning("job %s is left out, its row cannot be read: %s", row[11], error)
    return records


def _decode(row: Sequence[Any], node: str | None) -> Record:
    (
        inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
        orphaned, keep_result, job_id, state, queue, worker, args, meta, tags, history, errors, result, rerun_of,
        original_id, *sparse,
    ) = row[:_WIDTH]  # fmt: skip
    if state not in STATES:
        raise ValueError(f'no state is called "{state}"')
    for name, value in (("args", args), ("meta", meta)):
        if value[0] != "{" and not value.lstrip().startswith("{"):
            raise ValueError(f"{name} is not a JSON object")
    return Record(
        id=job_id.bytes,
        queue=queue,
        worker=worker,
        args=args.encode(),
        state=state,
        priority=priority,
        max_attempts=max_attempts,
        inserted_at=us_of(inserted_at),
        scheduled_at=us_of(scheduled_at),
        timeout=timeout,
        attempt=attempt,
        attempted_at=None if attempted_at is None else us_of(attempted_at),
        finished_at=None if finished_at is None else us_of(finished_at),
        meta=meta.encode(),
        tags=_tags(tags) if tags else (),
        history=history.encode(),
        errors=errors.encode(),
        result=None if result is None else result.encode(),
        keep_result=keep_result,
        progress=progress,
        orphaned=orphaned,
        node=node,
        fence=attempt,
        rerun_of=None if rerun_of is None else rerun_of.bytes,
        original_id=None if original_id is None else original_id.bytes,
        extra=None if sparse == _NOTHING else _extra(*sparse),
    )


def _extra(
    unique_key: Any,
    guarded: int | None,
    partition_key: str | None,
    depends_on: Sequence[Any] | None,
    on_failure: Any,
    results: str | None,
    batch_id: Any,
    parent_id: Any,
) -> Extra:
    return Extra(
        unique_key=None if unique_key is None else unique_key.bytes,
        guarded=guarded,
        partition_key=partition_key,
        depends_on=tuple(parent.bytes for parent in depends_on or ()),
        on_dependency_failure=on_failure or "discard",
        dependency_results=b"" if results is None else results.encode(),
        batch_id=None if batch_id is None else batch_id.bytes,
        parent_id=None if parent_id is None else parent_id.bytes,
    )


def us_of(value: tuple[int]) -> int:
    """Give what asyncpg's codec made of a timestamptz as microseconds since 1970."""
    us = value[0] + Y2K
    if not _EARLIEST <= us <= _LATEST:
        raise ValueError("a time lies outside the years 1 to 9999")
    return us


def _tags(tags: list[Any]) -> tuple[str, ...]:
    if not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags are not a list of strings")
    return tuple(tags)


def array_literal(tags: Iterable[str]) -> str:
    """Give strings as the text of a Postgres array."""
    quoted = (tag.replace("\\", "\\\\").replace('"', '\\"') for tag in tags)
    return "{" + ",".join(f'"{tag}"' for tag in quoted) + "}"


def _unless_all(values: list[Any], usual: object) -> list[Any]:
    """Give no values at all when each is the one that the statement puts for a missing one."""
    return [] if values.count(usual) == len(values) else values
