"""Fixtures for pytest, there wherever this package is installed.

- `kathikon_postgres`: the address of a fresh, empty database on a private server of the run.
- `kathikon_node`: a running node for the test, of the app that your fixture `kathikon_app` returns; on the memory
  store, or on what your fixture `kathikon_store` returns (for instance `kathikon_postgres`). For tests under
  pytest-trio.

    @pytest.fixture
    def kathikon_app():
        return shop.app

    async def test_a_charge(kathikon_node):
        job = await kathikon_node.insert(charge.new("INV-1"))
        assert (await kathikon_node.wait(job.id, timeout=5)).state == "completed"
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kathikon_actors.node.app import App
    from kathikon_actors.node.node import Node
    from kathikon_actors.testing.postgres import PostgresServer

try:
    from pytest_trio import trio_fixture  # type: ignore[import-untyped]
except ImportError:  # the fixture of a node needs it, the others do not
    trio_fixture = pytest.fixture

__all__ = ["kathikon_app", "kathikon_node", "kathikon_postgres", "kathikon_postgres_server", "kathikon_store"]


@pytest.fixture(scope="session")
def kathikon_postgres_server() -> Iterator[PostgresServer]:
    """Run a private server for the whole run, started by the first test that asks; each xdist worker has its own."""
    from kathikon_actors.testing.postgres import open_postgres_server

    with open_postgres_server() as server:
        yield server


@pytest.fixture
def kathikon_postgres(kathikon_postgres_server: PostgresServer) -> Iterator[str]:
    """Give the address of a fresh, empty database; it is dropped after the test."""
    name = kathikon_postgres_server.create_database()
    yield kathikon_postgres_server.dsn(name)
    kathikon_postgres_server.drop_database(name)


@pytest.fixture
def kathikon_app() -> App:
    """Say which app `kathikon_node` runs: define a fixture of this name in your conftest."""
    pytest.fail("kathikon_node runs the app of a fixture named kathikon_app; define one that returns your App")


@pytest.fixture
def kathikon_store() -> str:
    """Say which store `kathikon_node` uses; override it for another than memory."""
    return "memory:"


@trio_fixture  # type: ignore[untyped-decorator]
async def kathikon_node(kathikon_app: App, kathikon_store: str) -> AsyncIterator[Node]:
    """Run a node of `kathikon_app` round the test."""
    from kathikon_actors.node.opening import open_node

    async with open_node(kathikon_app, store=kathikon_store, name="test") as node:
        yield node
