"""A queue whose memory is full of jobs that a limit holds up: it stays as small as it may be, and the others run."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from kathikon_actors import App, Limit, Node, Queue, Rate, open_node, worker
from tests.support.waiting import eventually

BOUND = 100
PLACES = 10
MOST = BOUND + PLACES


@worker(rate_limit=Rate(1, per=3600.0))
async def hourly(number: int) -> int:
    return number


@worker(concurrency=Limit(1, by="args.account"))
async def one_an_account(account: int, number: int) -> int:
    await trio.sleep(0.002)
    return number


@worker
async def free(number: int) -> int:
    return number


class Watched:
    """A node, and how many jobs its memory held at the most."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.most = 0

    async def watch(self) -> None:
        table = self.node._state.the_table()
        while True:
            self.most = max(self.most, len(table.records), table.borders["default"].held)
            await trio.sleep(0.001)

    async def completed(self, worker_name: str) -> int:
        done = await self.node.list(worker=worker_name, state="completed", limit=10_000)
        return len(done)

    async def last(self, worker_name: str) -> dt.datetime:
        """When the last job of a worker completed."""
        done = await self.node.list(worker=worker_name, state="completed", limit=10_000)
        return max(job.completed_at for job in done if job.completed_at is not None)


@pytest.fixture
async def watched(postgres_dsn: str) -> AsyncIterator[Watched]:
    app = App(
        queues=[Queue("default", max_in_memory=BOUND, concurrency=PLACES)], workers=[hourly, one_an_account, free]
    )
    async with open_node(app, store=postgres_dsn, name="n1") as node, trio.open_nursery() as nursery:
        watched = Watched(node)
        nursery.start_soon(watched.watch)
        yield watched
        nursery.cancel_scope.cancel()


def reached(count: Callable[[], object], number: int) -> Callable[[], object]:
    async def is_reached() -> bool:
        return await count() == number  # type: ignore[misc]

    return is_reached


async def test_jobs_that_a_rate_holds_up_keep_no_others_out_of_memory(watched: Watched) -> None:
    """2,000 that run once an hour come first by their priority: memory keeps its bound, and the rest is done."""
    node = watched.node
    await node.insert_many(hourly.new(i).options(priority=9) for i in range(2000))
    await node.insert_many(free.new(i) for i in range(300))
    await eventually(reached(lambda: watched.completed("free"), 300), "the others are done", 30)
    await eventually(reached(lambda: watched.completed("hourly"), 1), "one of the hour is done")
    assert watched.most <= MOST


async def test_keys_that_are_taken_fill_memory_for_no_others(watched: Watched) -> None:
    """One account has 500 jobs, one after the other; those of another worker pass them, and all are done."""
    node = watched.node
    await node.insert_many(one_an_account.new(1, i).options(priority=9) for i in range(500))
    await node.insert_many(free.new(i) for i in range(300))
    await eventually(reached(lambda: watched.completed("free"), 300), "the others are done", 30)
    await eventually(reached(lambda: watched.completed("one_an_account"), 500), "all are done", 60)
    assert await watched.last("free") < await watched.last("one_an_account")
    assert watched.most <= MOST


async def test_a_queue_with_a_rate_of_its_own_takes_no_more_than_its_memory(postgres_dsn: str) -> None:
    """Each wave is better than all that fill memory, and has no place there: what is there goes on until it has."""
    app = App(
        queues=[Queue("default", max_in_memory=20, concurrency=5, rate_limit=Rate(100, per=1.0, burst=1))],
        workers=[free],
    )
    async with open_node(app, store=postgres_dsn, name="n1") as node, trio.open_nursery() as nursery:
        watched = Watched(node)
        nursery.start_soon(watched.watch)
        for wave in range(5):
            await node.insert_many(free.new(i).options(priority=wave) for i in range(60))
            border = node._state.the_table().borders["default"]
            await eventually(lambda: border.held >= 24, "memory is full")  # noqa: B023
        await eventually(reached(lambda: watched.completed("free"), 300), "all are done", 60)
        assert watched.most <= 25
        nursery.cancel_scope.cancel()
