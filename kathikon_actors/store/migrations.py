"""Brings the schema `kathikon` up to date: numbered SQL files, each in one transaction, each at most once.

Which ones were applied, and the checksum of each, stands in `kathikon.migrations`. Nodes that start at the same time
wait for each other on an advisory lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final

import asyncpg

from kathikon_actors.jobs.errors import BadConfiguration

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["LOCK_CLASS", "Migration", "migrate", "migrations", "pending", "script"]

LOCK_CLASS: Final = 0x6B617468
"""The first number of every advisory lock; the second is 0 for migrations, else a node_id."""

_TABLE: Final = """
CREATE SCHEMA IF NOT EXISTS kathikon;
CREATE TABLE IF NOT EXISTS kathikon.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True)
class Migration:
    """One step of the schema.

    Attributes:
        number: from 1, without gaps.
        name: the file's name without number and ending.
        sql: its text.
    """

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: a file that was applied must not change any more."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """Give every migration of this version of Kathikon, in order."""
    found = []
    for file in (files("kathikon_actors.store") / "sql" / "migrations").iterdir():
        stem, dot, ending = file.name.rpartition(".")
        if dot and ending == "sql":
            number, _, name = stem.partition("_")
            found.append(Migration(int(number), name, file.read_text("utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def pending(raw: Raw, known: Sequence[Migration]) -> list[Migration]:
    """Give the migrations that this database lacks.

    Raises:
        BadConfiguration: the schema is newer than this program, or was made by other files of the same number.
    """
    try:
        applied = {row[0]: row[1] for row in await raw.fetch("SELECT number, checksum FROM kathikon.migrations")}
    except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError):
        applied = {}
    except asyncpg.InsufficientPrivilegeError as error:
        raise BadConfiguration(f"the schema kathikon cannot be read: {error}; grant the user its use") from None
    newest = max(applied, default=0)
    if newest > len(known):
        raise BadConfiguration(
            f"the schema of this database is at {newest}, this program knows {len(known)}: "
            "it was used by a newer version of Kathikon; upgrade this one"
        )
    for migration in known:
        if applied.get(migration.number, migration.checksum) != migration.checksum:
            raise BadConfiguration(
                f"migration {migration.number} ({migration.name}) of this database is not the one of this version; "
                "the schema was made by an unreleased version: use another database"
            )
    return [migration for migration in known if migration.number not in applied]


async def migrate(raw: Raw, known: Sequence[Migration] | None = None) -> list[Migration]:
    """Apply what is missing; give what was applied.

    Args:
        raw: an asyncpg connection outside a transaction.
        known: the migrations, those of this version by default.

    Raises:
        BadConfiguration: see `pending`; or the user may not create the schema.
    """
    known = migrations() if known is None else known
    done: list[Migration] = []
    try:
        while await pending(raw, known):
            async with raw.transaction():
                await raw.execute(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, 0)")
                await raw.execute(_TABLE)
                missing = await pending(raw, known)
                if missing:
                    await _apply(raw, missing[0])
                    done.append(missing[0])
    except asyncpg.InsufficientPrivilegeError as error:
        raise BadConfiguration(
            f"the schema kathikon cannot be made: {error}; let the database's owner run the migrations once"
        ) from None
    return done


def script() -> str:
    """Give SQL for psql that does what `migrate` does on an empty database, for whoever may not run programs on it."""
    steps = (
        f"-- Migration {step.number}: {step.name}\n{step.sql.strip()}\n"
        f"INSERT INTO kathikon.migrations (number, name, checksum)\n"
        f"    VALUES ({step.number}, '{step.name}', '{step.checksum}');\n"
        for step in migrations()
    )
    return "\n".join([f"BEGIN;\n{_TABLE.strip()}\n", *steps, "COMMIT;\n"])


async def _apply(raw: Raw, migration: Migration) -> None:
    await raw.execute(migration.sql)
    await raw.execute(
        "INSERT INTO kathikon.migrations (number, name, checksum) VALUES ($1, $2, $3)",
        migration.number,
        migration.name,
        migration.checksum,
    )
