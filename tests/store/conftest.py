"""The stores under test, each as something one can connect to several times."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.memory import MemoryData, MemoryStore
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Store


@dataclass
class Backend:
    """One place for jobs; every store that `connect` gives is one more connection to it."""

    kind: str
    make: Callable[[], Store]
    opened: list[Store] = field(default_factory=list)

    async def connect(self) -> Store:
        """Open one more store; it is closed when the test ends."""
        store = self.make()
        self.opened.append(store)
        await store.open()
        return store


@asynccontextmanager
async def opening(backend: Backend) -> AsyncIterator[Backend]:
    """Close what the backend has opened."""
    yield backend
    for store in backend.opened:
        await store.close()


@pytest.fixture(params=["memory", "postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """Where the jobs of a test are kept; the database only when it is asked for."""
    return "memory:" if request.param == "memory" else request.getfixturevalue("postgres_dsn")


@pytest.fixture
async def backend(place: str) -> AsyncIterator[Backend]:
    """An empty place for jobs, of each kind there is."""
    if place == "memory:":
        data = MemoryData()
        async with opening(Backend("memory", lambda: MemoryStore(data))) as found:
            yield found
    else:
        async with open_loop(), opening(Backend("postgres", lambda: PostgresStore(place, timeout=20))) as found:
            yield found


@pytest.fixture
async def store(backend: Backend) -> Store:
    """One open store of each kind."""
    return await backend.connect()
