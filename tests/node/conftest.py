"""Nodes for the tests, on each kind of store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from kathikon_actors import Node, open_node
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


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A running node with the workers of `tests.node.workers`."""
    async with open_node(app, store=store_url, name="n1", shutdown_timeout=2.0) as node:
        yield node
