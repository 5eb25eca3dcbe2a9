"""Nodes for the tests, on each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import cast

import pytest

from kathikon_actors import App, Client, Node, open_node
from tests.node.workers import app
from tests.support.waiting import eventually


@pytest.fixture(params=["memory", "postgres"])
def store_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty store."""
    if request.param == "memory":
        return "memory:"
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


async def nothing_is_ahead(node: Node, queue: str = "default") -> None:
    """Wait until the processes of a queue hold what they run and no more: what was given ahead is taken back."""
    crew = node._state.crews[queue]
    await eventually(lambda: all(runner.busy <= 1 for runner in crew.runners), "what was given ahead is taken back")


OpenNode = Callable[..., AbstractAsyncContextManager[Node]]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a place on memory, on a node with Postgres, and on two nodes that share one Postgres."""
    if "place" in metafunc.fixturenames:
        places = ["memory", "postgres"]
        if metafunc.definition.get_closest_marker("one_node") is None:
            places.append("two nodes")
        metafunc.parametrize("place", places, indirect=True)


@dataclass(frozen=True)
class Place:
    """Where a test of the contract runs.

    Attributes:
        url: of an empty store.
        two: two nodes run the jobs, and a client that has none inserts them and looks.
    """

    url: str
    two: bool

    @asynccontextmanager
    async def open(self, app: App, keys: Sequence[bytes | str] = ()) -> AsyncIterator[Node]:
        """Run one node or two; give what the test calls: the calls have the same names."""
        async with AsyncExitStack() as stack:
            node = await stack.enter_async_context(open_node(app, store=self.url, name="n1", shutdown_timeout=2.0))
            if self.two:
                await stack.enter_async_context(open_node(app, store=self.url, name="n2", shutdown_timeout=2.0))
                client = await stack.enter_async_context(Client(self.url, encryption_keys=keys))
                yield cast("Node", client)
            else:
                yield node


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """An empty store, and how many nodes are to run there."""
    if request.param == "memory":
        return Place("memory:", two=False)
    return Place(request.getfixturevalue("postgres_dsn"), two=request.param == "two nodes")


@pytest.fixture
async def node(place: Place) -> AsyncIterator[Node]:
    """A running node with the workers of `tests.node.workers`, or a client of two."""
    async with place.open(app) as node:
        yield node
