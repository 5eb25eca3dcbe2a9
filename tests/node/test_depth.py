"""The bound of a queue, as its nodes declare it, holds for programs without a node: by every way of inserting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import psycopg
import pytest
import trio

from kathikon_actors import (
    AlreadyExists,
    App,
    Batch,
    Client,
    DependenciesNotFound,
    NewJob,
    Queue,
    QueueFull,
    SyncClient,
    Unique,
    Workflow,
    open_node,
)
from kathikon_actors.node.app import App as _App
from kathikon_actors.store.connection import open_loop
from tests.node import workers
from tests.support.waiting import eventually

queues = [
    Queue("default"),
    Queue("bounded", max_depth=5, paused=True),
    Queue("held", max_depth=10, on_full="hold", paused=True),
]
app = App(queues=queues, workers=workers.WORKERS)

Program = Callable[[Client], Awaitable[None]]


def one(queue: str = "bounded", **options: Any) -> NewJob:
    return workers.add.new(1, 2).options(queue=queue, **options)


async def publish(dsn: str, an_app: _App = app) -> None:
    """Run a node for a moment; its queues are paused, so nothing of them ends."""
    async with open_node(an_app, store=dsn, name="n1"):
        pass


@pytest.fixture
async def client(postgres_dsn: str) -> AsyncIterator[Client]:
    """A client of a store on which nodes have declared these queues, and none runs any more."""
    await publish(postgres_dsn)
    async with Client(postgres_dsn) as client:
        yield client


@pytest.mark.parametrize("kind", ["trio", "asyncio", "sync"])
def test_a_full_queue_refuses_a_client(kind: str, postgres_dsn: str) -> None:
    """With the figures; nothing is stored, and other queues are not concerned."""

    async def program(client: Any) -> None:
        for _ in range(5):
            await client.insert(one())
        for job in (one(), one(unique=Unique(keys=("queue",)))):
            with pytest.raises(QueueFull, match='queue "bounded" holds 5 jobs, its max_depth is 5') as caught:
                await client.insert(job)
            assert (caught.value.depth, caught.value.max_depth) == (5, 5)
        await client.insert(one("default"))
        await client.insert(one("undeclared"))
        for _ in range(12):
            await client.insert(one("held"))
        assert await client.count_by(queue="bounded") == 5
        first = (await client.list(queue="bounded"))[0]
        await client.cancel(first.id)
        with pytest.raises(AlreadyExists):
            await client.insert(one(id=first.id))
        await client.insert(one(unique=Unique(keys=("queue",))))
        with pytest.raises(QueueFull):
            await client.insert(one())
        assert (await client.insert(one(unique=Unique(keys=("queue",))))).conflict  # it is there already

    async def with_client() -> None:
        async with Client(postgres_dsn) as client:
            await program(client)

    trio.run(publish, postgres_dsn)
    if kind == "trio":
        trio.run(with_client)
    elif kind == "asyncio":
        asyncio.run(with_client())
    else:
        from tests.node.test_client import Awaitably

        with SyncClient(postgres_dsn) as sync:
            asyncio.run(program(Awaitably(sync)))


async def test_insert_many_of_a_client_stores_what_there_is_room_for(client: Client) -> None:
    """By its index in the input, also across chunks and among jobs that a store has to decide on."""
    many = await client.insert_many(one("bounded" if n % 2 else "default") for n in range(2_500))
    assert many.inserted == 1_250 + 5
    assert [index for index, _ in many.errors] == list(range(11, 2_500, 2))
    assert {type(error) for _, error in many.errors} == {QueueFull}
    assert str(many.errors[0][1]) == 'queue "bounded" holds 5 jobs, its max_depth is 5; insert again later'
    await client.cancel_by(queue="bounded")
    composed = [one(unique=Unique(keys=("meta.n",)), meta={"n": n // 2}) for n in range(14)]
    many = await client.insert_many(composed)
    assert many.inserted == 5 and [index for index, _ in many.conflicts] == [1, 3, 5, 7, 9]
    assert [index for index, _ in many.errors] == [10, 11, 12, 13]
    assert await client.run(count_keys) == 5  # what was refused has left none behind
    assert {type(error) for _, error in many.errors} == {QueueFull}
    await client.cancel_by(queue="bounded")
    again = await client.insert_many([composed[13]])  # the key of what was refused is free
    assert again.inserted == 1 and not again.conflicts


async def count_keys(raw: Any) -> int:
    number: int = await raw.fetchval(
        "SELECT (SELECT count(*) FROM kathikon.unique_keys) + (SELECT count(*) FROM kathikon.jobs WHERE holds_key)"
    )
    return number


async def test_what_goes_together_is_stored_as_a_whole_or_not_at_all(client: Client) -> None:
    """A workflow, a batch's children, an `insert_many` that gives up."""
    flow = Workflow()
    for number in range(6):
        flow.add(f"s{number}", one())
    with pytest.raises(QueueFull):
        await client.workflow(flow)
    assert await client.count_by(queue="bounded") == 0
    aborted = await client.insert_many([one() for _ in range(6)], on_error="abort")
    assert aborted.inserted == 0 and [index for index, _ in aborted.errors] == [5]
    async with client.open_batch(Batch()) as batch:
        many = await batch.insert_many(one() for _ in range(7))
    assert many.inserted == 5 and (await client.batch(batch.id)).total == 5
    parent = one(id="01a00000-0000-7000-8000-000000000001")
    many = await client.insert_many([parent, one("default", depends_on=[parent.given["id"]])])
    assert [type(error) for _, error in many.errors] == [QueueFull, DependenciesNotFound]


async def test_clients_side_by_side_never_exceed_the_bound(client: Client, postgres_dsn: str) -> None:
    """Forty at once on four connections, and four programs with chunks of their own."""
    full = 0

    async def insert(times: int) -> None:
        nonlocal full
        for _ in range(times):
            try:
                await client.insert(one())
            except QueueFull:
                full += 1

    for _ in range(5):
        full = 0
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(insert, 1)
        assert full == 35 and await client.count_by(queue="bounded", state="available") == 5
        await client.cancel_by(queue="bounded")
    stored: list[int] = []

    async def insert_many() -> None:
        async with Client(postgres_dsn) as other:
            stored.append((await other.insert_many([one() for _ in range(4)])).inserted)

    for _ in range(5):
        stored.clear()
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(insert_many)
        assert sum(stored) == 5, stored
        await client.cancel_by(queue="bounded")


async def test_an_insert_in_the_callers_transaction_is_refused_too(client: Client, postgres_dsn: str) -> None:
    """It counts its own, and waits for nobody: what others have in flight may come on top."""
    async with open_loop():
        await _in_transactions(client, postgres_dsn)


async def _in_transactions(client: Client, dsn: str) -> None:
    from trio_asyncio import aio_as_trio

    connection, other = [await aio_as_trio(asyncpg.connect)(dsn) for _ in range(2)]
    transactions = [connection.transaction(), other.transaction()]
    for begin in transactions:
        await aio_as_trio(begin.start)()
    for _ in range(4):
        await client.insert(one(), connection=connection)
    await client.insert(one(), connection=other)
    await client.insert(one(), connection=other)
    await client.insert(one(), connection=connection)
    with pytest.raises(QueueFull):
        await client.insert(one(), connection=connection)
    with trio.fail_after(10):  # nor does anybody wait for it
        await client.insert(one())
    for end in transactions:
        await aio_as_trio(end.commit)()
    assert await client.count_by(queue="bounded") == 8
    with pytest.raises(QueueFull, match="holds 5 jobs"):
        await client.insert(one())
    for one_of in (connection, other):
        await aio_as_trio(one_of.close)()


def test_plain_code_and_sql_are_refused_too(postgres_dsn: str) -> None:
    """By psycopg, and by the function for other languages."""
    trio.run(publish, postgres_dsn)
    with SyncClient(postgres_dsn) as client, psycopg.connect(postgres_dsn) as connection:
        for _ in range(3):
            client.insert(one(), connection=connection)
        for _ in range(2):
            connection.execute("SELECT kathikon.insert_job('add', '{\"a\": 1}', 'bounded')")
        with pytest.raises(QueueFull):
            client.insert(one(), connection=connection)
        message = 'queue "bounded" holds 5 jobs, its max_depth is 5; insert again later'
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match=message), connection.transaction():
            connection.execute("SELECT kathikon.insert_job('add', '{\"a\": 1}', 'bounded')")
        connection.execute("SELECT kathikon.insert_job('add', '{\"a\": 1}', 'held')")
        connection.commit()
        assert client.count_by(queue="bounded") == 5


async def test_what_nodes_declare_last_holds(client: Client, postgres_dsn: str) -> None:
    """Also what was changed at run time; without a bound there is none."""
    wider = App(queues=[Queue("default"), Queue("bounded", max_depth=7, paused=True)], workers=workers.WORKERS)
    await publish(postgres_dsn, wider)
    assert (await client.insert_many(one() for _ in range(9))).inserted == 7
    async with open_node(wider, store=postgres_dsn, name="n1") as node:
        await node.add_queue(Queue("added", max_depth=1, paused=True))
        await client.insert(one("added"))
        with pytest.raises(QueueFull):
            await client.insert(one("added"))
    without = App(queues=[Queue("default"), Queue("bounded", paused=True)], workers=workers.WORKERS)
    await publish(postgres_dsn, without)
    await client.insert(one())
    await publish(postgres_dsn, App(queues=[Queue("bounded", max_depth=1, on_full="refuse")], workers=workers.WORKERS))
    with pytest.raises(QueueFull):
        await client.insert(one())


async def test_what_a_node_works_on_counts(postgres_dsn: str) -> None:
    """What it owns as well as what nobody owns; a job that has ended makes room."""
    busy = App(queues=[Queue("bounded", max_depth=5, paused=True)], workers=workers.WORKERS)
    async with open_node(busy, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        for _ in range(3):
            await node.insert(one())
        assert (await client.insert_many(one() for _ in range(4))).inserted == 2
        with pytest.raises(QueueFull):
            await client.insert(one())
        await node.resume("bounded")

        async def room() -> bool:
            try:
                await client.insert(one())
            except QueueFull:
                return False
            return True

        await eventually(room, "there is room again")


async def test_counting_reads_no_more_than_the_bound(client: Client) -> None:
    """By the index, whatever else is in the table; a queue without a bound is not counted at all."""
    await client.insert_many(one("default") for _ in range(3_000))
    await client.insert_many(one() for _ in range(5))

    async def reads(raw: Any) -> int:
        async with raw.transaction():
            before = await raw.fetchval("SELECT pg_stat_get_xact_tuples_returned('kathikon.jobs'::regclass)")
            await raw.fetchval("SELECT kathikon.queue_depth('bounded', 5)")
            after = await raw.fetchval("SELECT pg_stat_get_xact_tuples_returned('kathikon.jobs'::regclass)")
            assert await raw.fetchval("SELECT to_regclass('kathikon.jobs_queue') IS NOT NULL")
        return int(after - before)

    assert await client.run(reads) == 0  # rows of the table that were read one after the other
