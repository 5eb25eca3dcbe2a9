"""The supervision tree of a node, asked for from outside: through the store, wherever the node runs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import trio

from kathikon_actors import App, Client, NodeSilent, NodeUnclear, NoNode, Queue, SyncClient, UnknownNode, open_node
from supervisors import ChildSpec, Crash, Normal, TreeNode, format_node
from supervisors.testing import crash, wait_restarted
from tests.node.workers import WORKERS, app
from tests.support.nodes import far_node


def shape(tree: TreeNode) -> tuple[Any, ...]:
    """All of it that does not pass with time."""
    end = None if tree.last_exit is None else str(tree.last_exit)
    return (
        str(tree.id), tree.type, tree.state, tree.strategy, tree.max_restarts, tree.total_restarts, end,
        tuple(map(shape, tree.children)),
    )  # fmt: skip


async def on_trio(dsn: str, *args: Any) -> TreeNode:
    async with Client(dsn) as client:
        return await client.tree(*args)


async def on_asyncio(dsn: str, *args: Any) -> TreeNode:
    def program() -> TreeNode:
        return asyncio.run(on_trio(dsn, *args))

    return await trio.to_thread.run_sync(program)


async def in_plain_code(dsn: str, *args: Any) -> TreeNode:
    def program() -> TreeNode:
        with SyncClient(dsn) as client:
            return client.tree(*args)

    return await trio.to_thread.run_sync(program)


@pytest.mark.parametrize("ask", [on_trio, on_asyncio, in_plain_code])
async def test_a_client_has_the_tree_of_the_node_that_lives(ask: Callable[..., Any], postgres_dsn: str) -> None:
    """The same as on the node itself, with the exits of children that crashed."""
    mine = App([Queue("default")], WORKERS, children=[ChildSpec(("my", 1), trio.sleep_forever)])
    async with open_node(mine, store=postgres_dsn, name="n1") as node:
        crash(node.supervisor, ["telemetry"], KeyError("gone: away"))
        await wait_restarted(node.supervisor, ["telemetry"])
        await wait_restarted(node.supervisor, ["control"])
        there = node.tree()
        here: TreeNode = await ask(postgres_dsn)
        assert shape(here) == shape(there)
        (telemetry,) = [child for child in here.children if child.id == "telemetry"]
        assert isinstance(telemetry.last_exit, Crash)
        assert str(telemetry.last_exit) == "crash: KeyError: 'gone: away'"
        assert "queue default" in format_node(here)
        assert here.uptime is not None and there.uptime is not None and here.uptime >= there.uptime


def test_exits_are_given_as_what_they_are() -> None:
    """Each kind, there and back."""
    from kathikon_actors.node.trees import _exit_of
    from supervisors import Killed, Shutdown

    for reason in (
        Normal(),
        Killed(),
        Shutdown(),
        Shutdown("asked: twice"),
        Crash(ValueError()),
        Crash(OSError("a: b")),
    ):
        again = _exit_of(str(reason))
        assert type(again) is type(reason) and str(again) == str(reason)


async def test_of_several_nodes_one_has_to_be_named(postgres_dsn: str) -> None:
    """Wherever it runs; who is not there is told with the names of those who are."""
    async with Client(postgres_dsn) as client:
        with pytest.raises(NoNode):
            await client.tree()
        with pytest.raises(UnknownNode, match=r'no node "n1" is known on this store \(living: none\)'):
            await client.tree("n1")
        async with open_node(app, store=postgres_dsn, name="near"):
            with far_node(postgres_dsn, "distant"):
                with pytest.raises(NodeUnclear, match=r'name one: tree\("distant"\)') as unclear:
                    await client.tree()
                assert unclear.value.living == ("distant", "near")
                assert (await client.tree("near")).id == "node near"
                assert (await client.tree("distant", timeout=20)).id == "node distant"
                with pytest.raises(UnknownNode, match=r'Did you mean "distant"\?'):
                    await client.tree("distent")
        with pytest.raises(UnknownNode, match='node "near" does not live: it has left'):
            await client.tree("near")
        with pytest.raises(ValueError, match="give seconds above 0"):
            await client.tree("near", timeout=0)


async def test_a_node_that_does_not_answer_in_time_is_said_so(postgres_dsn: str) -> None:
    """It answers no question that nobody waits for any more, and later ones it does."""
    with far_node(postgres_dsn, "sleepy") as process:
        async with Client(postgres_dsn) as client:
            process.send_signal(signal.SIGSTOP)
            begun = trio.current_time()
            with pytest.raises(NodeSilent, match='"sleepy" did not answer within 0.3 s'):
                await client.tree(timeout=0.3)
            assert 0.25 < trio.current_time() - begun < 5
            process.send_signal(signal.SIGCONT)
            assert (await client.tree(timeout=20)).id == "node sleepy"
        raw = await asyncio_fetch(postgres_dsn, "SELECT count(*) FROM kathikon.commands")
        assert raw == 0


async def asyncio_fetch(dsn: str, query: str) -> Any:
    async def fetch() -> Any:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(lambda: asyncio.run(fetch()))
