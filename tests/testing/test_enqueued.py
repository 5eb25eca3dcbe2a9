"""Assertions about jobs that wait say what fits, and how the others differ."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator

import pytest
import trio

from kathikon_actors import Client, Node, open_node
from kathikon_actors.testing import all_enqueued, assert_enqueued, refute_enqueued
from tests.node import workers
from tests.node.workers import app


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node(app, name="n1") as node:
        yield node


async def test_what_waits_is_found_by_each_field(node: Node) -> None:
    """Worker, queue, a part of the arguments and of meta, tags, priority, time."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    job = await node.insert(
        workers.add.new(1, b=2).options(
            schedule_at=at, tags=["vip", "new"], priority=4, queue="wide", meta={"user": {"id": 7, "name": "ada"}}
        )
    )
    for fields in (
        {"queue": "wide"},
        {"args": {"a": 1}},
        {"meta": {"user": {"id": 7}}},
        {"tags": ["vip"]},
        {"priority": 4},
        {"scheduled_at": at},
    ):
        assert [found.id for found in await assert_enqueued(node, workers.add, **fields)] == [job.id], fields
    for fields in ({"queue": "default"}, {"args": {"a": 2}}, {"meta": {"user": {"id": 8}}}, {"tags": ["old"]}):
        await refute_enqueued(node, "add", **fields)
    assert await all_enqueued(node, workers.note) == []


async def test_a_job_that_is_missing_is_told_with_those_that_wait(node: Node) -> None:
    """The message says what was wanted and how each waiting job differs."""
    await node.insert(workers.add.new(1).options(schedule_in=60))
    with pytest.raises(AssertionError, match=r"with worker 'add', args \{'a': 2\}, 0 found.*\n.*args is \{'a': 1"):
        await assert_enqueued(node, workers.add, args={"a": 2})
    with pytest.raises(AssertionError, match="2 jobs expected"):
        await assert_enqueued(node, workers.add, count=2)
    with pytest.raises(AssertionError, match="no job expected with worker 'add'"):
        await refute_enqueued(node, workers.add)
    with pytest.raises(TypeError, match="no worker"):
        await assert_enqueued(node, 7)


async def test_a_job_that_comes_later_is_waited_for(postgres_dsn: str) -> None:
    """With a timeout, also through a client with no node."""
    async with Client(postgres_dsn) as client, trio.open_nursery() as nursery:

        async def insert_soon() -> None:
            await trio.sleep(0.02)
            await client.insert("add", {"a": 1}, queue="wide")

        nursery.start_soon(insert_soon)
        assert len(await assert_enqueued(client, "add", timeout=10.0)) == 1
