"""What this machine and this Postgres give for the bare operation, by plain asyncpg on asyncio."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import statistics
import time
import uuid
from dataclasses import dataclass

import asyncpg

__all__ = ["Floor", "measure_floor"]

TABLE = """
CREATE TABLE IF NOT EXISTS bench_floor (
    id uuid PRIMARY KEY, queue text, worker text, state text, priority integer, attempt integer, max_attempts integer,
    inserted_at timestamptz DEFAULT now(), scheduled_at timestamptz DEFAULT now(), args jsonb, meta jsonb, tags text[]
)
"""
COLUMNS = ("id", "queue", "worker", "state", "priority", "attempt", "max_attempts", "args", "meta", "tags")
ROW = ("q", "noop", "available", 0, 0, 3, "{}", "{}", [])
TIMES = ("inserted_at", "scheduled_at")
"""The columns that are sent as well where all twelve are: a job's own times, as a plain program gives them."""


@dataclass(frozen=True)
class Floor:
    """The bare figures.

    Attributes:
        commit_ms: median milliseconds of one committed one-row insert.
        copy: rows/s by COPY of all twelve columns, 1,000 a transaction.
        narrow_copy: the same of ten columns; the server fills in the times.
        unnest: rows/s by INSERT .. SELECT unnest, 1,000 a transaction.
    """

    commit_ms: float
    copy: float
    narrow_copy: float
    unnest: float


def measure_floor(dsn: str, *, seconds: float) -> Floor:
    """Measure for about `seconds` each."""
    return asyncio.run(_measure(dsn, seconds))


async def _measure(dsn: str, seconds: float) -> Floor:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("DROP TABLE IF EXISTS bench_floor")
        await connection.execute(TABLE)
        insert = await connection.prepare(
            "INSERT INTO bench_floor (id, queue, worker, state, priority, attempt, max_attempts, args, meta, tags) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        )
        times = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began = time.perf_counter()
            await insert.fetch(uuid.uuid4(), *ROW)
            times.append(time.perf_counter() - began)
        narrow_copy = await _copy(connection, seconds, with_times=False)
        copy = await _copy(connection, seconds, with_times=True)
        unnest = (
            "INSERT INTO bench_floor (id, queue, worker, state, priority, attempt, max_attempts, args, meta, tags) "
            "SELECT i, q, w, s, p, a, m, j::jsonb, k::jsonb, '{}' FROM unnest($1::uuid[], $2::text[], $3::text[], "
            "$4::text[], $5::int[], $6::int[], $7::int[], $8::text[], $9::text[]) AS t (i, q, w, s, p, a, m, j, k)"
        )
        inserted, began = 0, time.perf_counter()
        while time.perf_counter() < began + seconds:
            columns = [[uuid.uuid4() for _ in range(1000)], *([value] * 1000 for value in ROW[:-1])]
            await connection.execute(unnest, *columns)
            inserted += 1000
        unnest_rate = inserted / (time.perf_counter() - began)
        await connection.execute("DROP TABLE bench_floor")
    finally:
        await connection.close()
    return Floor(statistics.median(times) * 1e3, copy, narrow_copy, unnest_rate)


async def _copy(connection: asyncpg.Connection, seconds: float, *, with_times: bool) -> float:
    """Give the rows/s of COPY, 1,000 a transaction."""
    columns = (*COLUMNS, *TIMES) if with_times else COLUMNS
    copied, began = 0, time.perf_counter()
    while time.perf_counter() < began + seconds:
        if with_times:
            rows = [(uuid.uuid4(), *ROW, *(dt.datetime.now(dt.UTC) for _ in TIMES)) for _ in range(1000)]
        else:
            rows = [(uuid.uuid4(), *ROW) for _ in range(1000)]
        await connection.copy_records_to_table("bench_floor", columns=columns, records=rows)
        copied += 1000
    return copied / (time.perf_counter() - began)


if __name__ == "__main__":
    import sys

    print(json.dumps(measure_floor(sys.argv[1], seconds=2.0).__dict__))
