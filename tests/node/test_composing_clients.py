"""The same calls from programs without a node: on trio, on asyncio, and without either; and in their transactions."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
import trio

from kathikon_actors import (
    Batch,
    BatchClosed,
    Client,
    DependenciesNotFound,
    SyncClient,
    Unique,
    Workflow,
    open_node,
)
from tests.node.workers import add, app
from tests.support.waiting import eventually

MISSING = "01a00000-0000-7000-8000-000000000000"


async def compose(client: Client) -> dict[str, object]:
    """Insert unique jobs, a workflow and a batch; give what was told."""
    first = await client.insert(add.new(1), unique=Unique(), tags=["u"])
    second = await client.insert(add.new(1), unique=Unique())
    many = await client.insert_many([add.new(2), add.new(1).options(unique=Unique())])
    flow = await client.workflow(Workflow().add("a", add.new(3)).add("b", add.new(4), after="a"))
    async with client.open_batch(Batch(on_complete=add.new(5).options(tags=["done"]))) as batch:
        await batch.insert_many(add.new(n) for n in range(20))
    told = {
        "conflict": (first.conflict, second.conflict, second.id == first.id),
        "many": (many.inserted, many.conflicts == [(1, first.id)]),
        "flow": flow["b"].state,
        "batch": (await client.batch(batch.id)).state,
    }
    try:
        await client.insert(add.new(6), batch=batch.id)
    except BatchClosed:
        told["closed"] = True
    return told


EXPECTED = {
    "conflict": (False, True, True),
    "many": (1, True),
    "flow": "blocked",
    "batch": "running",
    "closed": True,
}


def test_a_client_on_asyncio_composes(postgres_dsn: str) -> None:
    """FastAPI and its kin need no node of their own."""

    async def main() -> None:
        async with Client(postgres_dsn) as client:
            assert await compose(client) == EXPECTED

    asyncio.run(main())


async def test_a_client_on_trio_composes_and_a_node_runs_it(postgres_dsn: str) -> None:
    """What becomes ready is claimed."""
    async with Client(postgres_dsn) as client:
        assert await compose(client) == EXPECTED
        async with open_node(app, store=postgres_dsn, name="n1") as node:
            with trio.fail_after(30):
                while not await node.list(tags=["done"], state="completed"):
                    await trio.sleep(0.02)
            [batch] = await client.batches()
            assert (await client.wait_batch(batch.id, timeout=10)).completed == 20

            async def all_have_ended() -> bool:
                return await client.count_by(state=["blocked", "available"]) == 0

            await eventually(all_have_ended, "the others have run, too")


def test_plain_code_composes(postgres_dsn: str) -> None:
    """Django, Flask and scripts."""
    with SyncClient(postgres_dsn) as client:
        first = client.insert(add.new(1), unique=Unique())
        assert client.insert(add.new(1), unique=Unique()).id == first.id
        jobs = client.workflow(Workflow().add("a", add.new(3)).add("b", add.new(4), after="a"))
        assert jobs["b"].depends_on == [jobs["a"].id]
        with client.open_batch(Batch(name="plain")) as batch:
            batch.insert(add.new(1))
            batch.insert_many(add.new(n) for n in range(3))
            assert batch.status().state == "open"
        status = client.batch(batch.id)
        assert (status.state, status.total, status.name) == ("running", 4, "plain")
        assert len(client.children(batch.id)) == 4
        for child in client.children(batch.id):
            client.cancel(child.id)
        assert client.wait_batch(batch.id, timeout=5).state == "failed"
        assert client.retry_failed(batch.id).changed == 4
        assert client.close_batch(batch.id).state == "running"
        assert [status.id for status in client.batches()] == [batch.id]
        assert client.prune_batches(older_than=0) == 0


async def test_composed_inserts_join_the_transaction_of_the_caller(postgres_dsn: str) -> None:
    """With whatever codecs its connection has; gone on rollback, key and all."""

    async def own_transaction(client: Client, *, commit: bool) -> list[bool]:
        connection = await asyncpg.connect(postgres_dsn)
        try:
            transaction = connection.transaction()
            await transaction.start()
            parent = await client.insert(add.new(1), unique=Unique(), connection=connection)
            again = await client.insert(add.new(1), unique=Unique(), connection=connection)
            child = await client.insert(add.new(2), depends_on=[parent], connection=connection)
            with pytest.raises(DependenciesNotFound):
                await client.insert(add.new(2), depends_on=[MISSING], connection=connection)
            await (transaction.commit() if commit else transaction.rollback())
            return [parent.conflict, again.conflict, child.state == "blocked"]
        finally:
            await connection.close()

    def on_asyncio(*, commit: bool) -> list[bool]:
        async def main() -> list[bool]:
            async with Client(postgres_dsn) as client:
                return await own_transaction(client, commit=commit)

        return asyncio.run(main())

    assert await trio.to_thread.run_sync(lambda: on_asyncio(commit=False)) == [False, True, True]
    assert await trio.to_thread.run_sync(lambda: on_asyncio(commit=True)) == [False, True, True]
    async with Client(postgres_dsn) as client:
        assert await client.count_by(all=True) == 2


INSERT_AS_A_NODE = """
INSERT INTO kathikon.jobs (inserted_at, scheduled_at, id, queue, worker, unique_key, holds_key)
SELECT now(), now(), gen_random_uuid(), queue, worker, unique_key, true FROM kathikon.finished_jobs
"""


@pytest.mark.parametrize("commit", [False, True])
def test_a_transaction_goes_on_when_a_key_is_taken_from_under_it(postgres_dsn: str, commit: bool) -> None:
    """A node inserts the same: the transaction waits for that, then has a conflict, or the job."""

    async def main() -> None:
        async with Client(postgres_dsn) as client:
            await client.cancel((await client.insert(add.new(1), unique=Unique())).id)
            first, second = await asyncpg.connect(postgres_dsn), await asyncpg.connect(postgres_dsn)
            try:
                node, mine = first.transaction(), second.transaction()
                await node.start()
                await mine.start()
                await first.execute(INSERT_AS_A_NODE)
                await client.insert(add.new(2), connection=second)
                waits = asyncio.create_task(client.insert(add.new(1), unique=Unique(), connection=second))
                watched = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $1"
                async with asyncio.timeout(20):
                    while not await first.fetchval(watched, second.get_server_pid()):
                        await asyncio.sleep(0.001)
                await (node.commit() if commit else node.rollback())
                assert (await waits).conflict is commit
                await mine.commit()
                assert await client.count_by(all=True, state="available") == 2
                assert await first.fetchval("SELECT count(*) FROM kathikon.unique_keys") == 0
            finally:
                await first.close()
                await second.close()

    asyncio.run(main())
