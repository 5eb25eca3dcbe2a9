"""Migrations: each once, all or nothing, and never by a program that does not know the schema."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.store.connection import Connection, open_loop
from kathikon_actors.store.migrations import Migration, migrate, migrations, pending
from kathikon_actors.store.urls import parse_store_url

ONE = Migration(1, "one", "CREATE TABLE kathikon.one (x integer)")
TWO = Migration(2, "two", "CREATE TABLE kathikon.two (x integer); INSERT INTO kathikon.one VALUES (2)")
BROKEN = Migration(2, "broken", "CREATE TABLE kathikon.two (x integer); SELECT 1 / 0")


@pytest.fixture
async def connection(postgres_dsn: str) -> AsyncIterator[Connection]:
    async with open_loop():
        connection = Connection(parse_store_url(postgres_dsn), 10)
        yield connection
        await connection.close()


async def query(raw: Any, text: str) -> list[Any]:
    return [tuple(row) for row in await raw.fetch(text)]


async def run_migrate(raw: Any, known: list[Migration]) -> list[int]:
    return [migration.number for migration in await migrate(raw, known)]


def test_the_files_are_numbered_from_one_without_gaps() -> None:
    """The number of the newest is how many there are."""
    assert [migration.number for migration in migrations()] == list(range(1, len(migrations()) + 1))


async def test_each_migration_is_applied_once_and_in_order(connection: Connection) -> None:
    """A second run does nothing; a longer list applies only what is new."""
    assert await connection.run(run_migrate, [ONE]) == [1]
    assert await connection.run(run_migrate, [ONE, TWO]) == [2]
    assert await connection.run(run_migrate, [ONE, TWO]) == []
    assert await connection.run(query, "SELECT x FROM kathikon.one") == [(2,)]
    assert await connection.run(query, "SELECT number, name FROM kathikon.migrations ORDER BY 1") == [
        (1, "one"),
        (2, "two"),
    ]


async def test_a_migration_that_fails_leaves_nothing_behind(connection: Connection) -> None:
    """Those before it stay; mended, it is applied."""
    with pytest.raises(Exception, match="division by zero"):
        await connection.run(run_migrate, [ONE, BROKEN])
    assert [m.number for m in await connection.run(pending, [ONE, TWO])] == [2]
    assert await connection.run(query, "SELECT to_regclass('kathikon.two')") == [(None,)]
    assert await connection.run(run_migrate, [ONE, TWO]) == [2]


async def test_nodes_that_start_together_apply_each_migration_once(postgres_dsn: str) -> None:
    """They wait for each other."""
    applied: list[int] = []
    async with open_loop():
        connections = [Connection(parse_store_url(postgres_dsn), 20) for _ in range(6)]

        async def one(connection: Connection) -> None:
            applied.extend(await connection.run(run_migrate, [ONE, TWO]))

        async with trio.open_nursery() as nursery:
            for connection in connections:
                nursery.start_soon(one, connection)
        for connection in connections:
            await connection.close()
    assert sorted(applied) == [1, 2]


async def test_a_schema_of_a_newer_version_is_refused(connection: Connection) -> None:
    """An old program does not write into tables it does not know."""
    await connection.run(run_migrate, [ONE, TWO])
    with pytest.raises(BadConfiguration, match="newer version"):
        await connection.run(run_migrate, [ONE])


async def test_a_migration_that_was_changed_after_it_ran_is_refused(connection: Connection) -> None:
    """The checksum tells."""
    await connection.run(run_migrate, [ONE])
    with pytest.raises(BadConfiguration, match="migration 1"):
        await connection.run(run_migrate, [Migration(1, "one", ONE.sql + " ")])


async def test_a_user_without_rights_is_told_who_must_migrate(connection: Connection, postgres_dsn: str) -> None:
    """The error names the next step."""
    await connection.run(query, "DROP ROLE IF EXISTS guest")
    await connection.run(query, "CREATE ROLE guest")
    await connection.run(query, "SET ROLE guest")
    with pytest.raises(BadConfiguration, match="owner run the migrations"):
        await connection.run(run_migrate, [ONE])
    await connection.run(query, "RESET ROLE")
    await connection.run(query, "DROP ROLE guest")


async def test_live_finished_and_archived_rows_have_the_same_columns(postgres_dsn: str) -> None:
    """In the same order: rows move between the tables as they are."""
    async with open_loop():
        connection = Connection(parse_store_url(postgres_dsn), 10)
        await connection.run(migrate)

        async def columns(raw: Any) -> dict[str, list[str]]:
            rows = await raw.fetch(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'kathikon' "
                "AND table_name IN ('jobs', 'finished_jobs', 'archived_jobs') ORDER BY table_name, ordinal_position"
            )
            found: dict[str, list[str]] = {}
            for table, column in rows:
                found.setdefault(table, []).append(column)
            return found

        found = await connection.run(columns)
        await connection.close()
    first = found.pop("jobs")
    assert found and all(other == first for other in found.values())
