"""One PostgreSQL server for the whole test run, and a fresh database for each test that asks.

Fixtures: `postgres_server` and `postgres_dsn`. The server is started by the tests themselves in a temporary directory,
as root or not; under pytest-xdist each worker process has its own. It ends with the run: stopped by the fixture, or
by the kernel when the run is killed (its directory then stays behind).

It does not sync: a killed process loses nothing by that, and no test here cuts the power. A test that measures commits
starts its own `EmbeddedServer`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from kathikon_actors.store.datadir import USER, socket_dsn
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.store.probe import execute

__all__ = ["PostgresServer", "postgres_dsn", "postgres_server"]

SETTINGS = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "100"}


class PostgresServer:
    """The running server of this test process; makes and drops databases. All methods block."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._numbers = itertools.count(1)

    def dsn(self, database: str) -> str:
        """The address of a database."""
        return socket_dsn(self.server.socket.parent, database)

    def create_database(self, template: str = "template0") -> str:
        """Make a database as a copy of `template`, to which nobody may be connected; give its name."""
        name = f"test_{next(self._numbers)}"
        # Copying the files takes half the time of copying through the log.
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self._run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        execute(self.server.socket, statement, user=USER, database="postgres")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the run; started by the first test that asks."""
    # Not pytest's tmp_path_factory: that keeps the directories of the last three runs.
    directory = Path(tempfile.mkdtemp(prefix="kathikon-test-"))
    server = EmbeddedServer(directory, settings=SETTINGS)
    try:
        # In this thread, which lives as long as the run: the server ends with the thread that started it.
        trio.run(server.start)
        yield PostgresServer(server)
    finally:
        trio.run(server.stop, "immediate")
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgres_dsn(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of a fresh, empty database."""
    name = postgres_server.create_database()
    yield postgres_server.dsn(name)
    postgres_server.drop_database(name)
