"""Cron entries in Postgres; see `CronStore`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.cron import StoredCron
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.cron_store import CronChange, Firing, ids_of
from kathikon_actors.store.outside import insert_composed_rows, insert_rows
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["PostgresCrons"]


class PostgresCrons:
    """`CronStore` on connections to Postgres.

    Args:
        run: runs one of the functions below on a connection, with its arguments.
    """

    def __init__(self, run: Callable[..., Awaitable[Any]]) -> None:
        self._run = run

    async def cron_version(self) -> int:
        """See `CronStore.cron_version`."""
        version: int = await self._run(_fetch_version)
        return version

    async def load_crons(self) -> list[StoredCron]:
        """See `CronStore.load_crons`."""
        rows: list[StoredCron] = await self._run(_load)
        return rows

    async def declare_crons(self, rows: Sequence[StoredCron], now: int) -> None:
        """See `CronStore.declare_crons`."""
        await self._run(_declare, rows, now)

    async def add_cron(self, row: StoredCron, now: int) -> bool:
        """See `CronStore.add_cron`."""
        given = (row.name, row.expression, row.timezone, row.catch_up, row.template, now)
        done: bool = await self._run(_change, "add_cron", *given)
        return done

    async def change_cron(self, name: str, change: CronChange) -> bool:
        """See `CronStore.change_cron`."""
        given = (change.expression, change.timezone, change.catch_up, change.template, change.paused, change.now)
        done: bool = await self._run(_change, "change_cron", name, *given)
        return done

    async def remove_cron(self, name: str) -> bool:
        """See `CronStore.remove_cron`."""
        done: bool = await self._run(_change, "remove_cron", name)
        return done

    async def fire_crons(self, firings: Sequence[Firing]) -> dict[str, tuple[bytes, ...]]:
        """See `CronStore.fire_crons`."""
        settled: dict[str, tuple[bytes, ...]] = await self._run(_fire, firings)
        return settled

    async def insert_job(self, job: Record) -> Answer:
        """See `CronStore.insert_job`."""
        answers: dict[bytes, Answer] = await self._run(_insert, [job])
        return answers[job.id]


async def _fetch_version(raw: Raw) -> int:
    version: int = await raw.fetchval(statement("cron_version"))
    return version


async def _load(raw: Raw) -> list[StoredCron]:
    return [StoredCron(*row) for row in await raw.fetch(statement("load_crons"))]


async def _declare(raw: Raw, rows: Sequence[StoredCron], now: int) -> None:
    columns = (
        [row.name for row in rows],
        [row.expression for row in rows],
        [row.timezone for row in rows],
        [row.catch_up for row in rows],
        [row.template for row in rows],
        [row.declaration for row in rows],
    )
    renewed = [(row.name, older, row.declaration) for row in rows for older in row.older_declarations]
    async with raw.transaction():
        if renewed:
            await raw.execute(statement("renew_declarations"), *map(list, zip(*renewed, strict=True)))
        if await raw.fetch(statement("declare_crons"), *columns, now):
            await raw.execute(statement("cron_raise_version"))


async def _fire(raw: Raw, firings: Sequence[Firing]) -> dict[str, tuple[bytes, ...]]:
    columns = (
        [f.name for f in firings],
        [f.revision for f in firings],
        [f.after for f in firings],
        [f.until for f in firings],
    )
    async with raw.transaction():
        names = {row[0] for row in await raw.fetch(statement("fire_crons"), *columns)}
        settled = [firing for firing in firings if firing.name in names]
        answers = await _insert(raw, [job for firing in settled for job in firing.jobs])
    return {firing.name: ids_of(firing, answers) for firing in settled}


async def _change(raw: Raw, name: str, *given: object) -> bool:
    async with raw.transaction():
        done = bool(await raw.fetch(statement(name), *given))
        if done:
            await raw.execute(statement("cron_raise_version"))
        return done


async def _insert(raw: Raw, jobs: Sequence[Record]) -> dict[bytes, Answer]:
    """Insert what may be unique, or belong to a fair queue, as any other insert; no tick is lost to a full queue."""
    if any(job.extra is not None for job in jobs):
        return await insert_composed_rows(raw, jobs, limited=False)
    refused = await insert_rows(raw, jobs, limited=False)
    return {job.id: Answer(job, error=refused.get(job.id)) for job in jobs}
