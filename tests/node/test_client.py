"""Programs without a node: clients on trio, on asyncio and in plain code do the same on one database."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import trio
import trio_asyncio

from kathikon_actors import (
    AlreadyExists,
    BadConfiguration,
    Client,
    InvalidJob,
    InvalidState,
    Job,
    JobNotFound,
    NewJob,
    OwnedElsewhere,
    StoreUnavailable,
    SyncClient,
    UnknownOption,
    WaitTimeout,
    open_node,
)
from kathikon_actors.node import asking
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore
from tests.node import workers
from tests.node.workers import app
from tests.support.waiting import eventually

NAMES = (
    "insert", "insert_many", "get", "list", "wait", "cancel", "retry", "rerun", "discard", "counts",
    "tree", "events",
)  # fmt: skip

Program = Callable[[Any], Awaitable[None]]


class Awaitably:
    """A `SyncClient` with the look of a `Client`, so that one program is a test of both."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(self._client, name)(*args, **kwargs)

        return call


@pytest.fixture(params=["trio", "asyncio", "sync"])
def run(request: pytest.FixtureRequest, postgres_dsn: str) -> Callable[[Program], None]:
    """Runs a program with an open client, in each kind of program."""

    async def with_client(program: Program) -> None:
        async with Client(postgres_dsn) as client:
            await program(client)

    def start(program: Program) -> None:
        if request.param == "trio":
            trio.run(with_client, program)
        elif request.param == "asyncio":
            asyncio.run(with_client(program))
        else:
            with SyncClient(postgres_dsn) as client:
                asyncio.run(program(Awaitably(client)))  # type: ignore[arg-type]

    return start


def test_all_clients_have_the_same_names() -> None:
    """And a node has them too."""
    from kathikon_actors import Node

    for kind in (Client, SyncClient, Node):
        assert [name for name in NAMES if not callable(getattr(kind, name, None))] == []


def test_a_client_inserts_and_looks_without_a_node(run: Callable[[Program], None]) -> None:
    """What it inserts belongs to nobody; `get`, `list` and `counts` show it, other ids are not found."""

    async def program(client: Any) -> None:
        job = await client.insert(workers.add.new(1, b=2), priority=3, tags=["vip", 'a "b", c\\'], meta={"x": 1})
        named = await client.insert("elsewhere.work", {"any": [1]}, queue="remote", schedule_in=60)
        bound = await client.insert(workers.add, {"a": 7})
        many = await client.insert_many(workers.add.new(i) for i in range(2500))
        assert (job.state, job.node, job.args, job.priority) == ("available", None, {"a": 1, "b": 2}, 3)
        assert (named.worker, named.queue, named.state) == ("elsewhere.work", "remote", "scheduled")
        for inserted in (job, named, bound):
            assert (await client.get(inserted.id)).to_dict() == inserted.to_dict()
        assert (many.inserted, many.errors, many.ids) == (2500, [], sorted(many.ids))
        assert [found.id for found in await client.list(tags=["vip"])] == [job.id]
        counts = {counts.queue: counts.by_state for counts in await client.counts()}
        assert counts == {"default": {"available": 2502}, "remote": {"scheduled": 1}}
        with pytest.raises(JobNotFound):
            await client.get(uuid4())
        with pytest.raises(JobNotFound):
            await client.wait("no uuid")
        with pytest.raises(WaitTimeout, match="it is available"):
            await client.wait(job.id, timeout=0.05)

    run(program)


async def refuses_strangers(client: Any) -> None:
    """What no node could read or run, one by one and in a chunk with others."""
    strangers: list[tuple[NewJob, type[Exception], str]] = [
        (NewJob("zz", 5, None, {"queue": "q"}), InvalidJob, "args is 5"),  # type: ignore[arg-type]
        (NewJob("zz", {}, None, {"queue": "a b"}), InvalidJob, "queue is 'a b'; a name is"),
        (NewJob("zz", {}, None, {"queue": 5}), InvalidJob, "queue is 5; a name is"),
        (NewJob("zz", {}, None, {"queue": "\ud800"}), InvalidJob, "queue is"),
        (NewJob("zz", {}, None, {"queue": "q", "quue": 1}), UnknownOption, 'Did you mean "queue"'),
        (NewJob("z\0", {}, None, {"queue": "q"}), InvalidJob, "worker is none"),
        (NewJob("\ud800", {}, None, {"queue": "q"}), InvalidJob, "worker is none"),
        (NewJob("z" * 256, {}, None, {"queue": "q"}), InvalidJob, "worker is none"),
        (NewJob([], {}, None, {"queue": "q"}), InvalidJob, "worker is none"),  # type: ignore[arg-type]
        (NewJob("add", None), InvalidJob, "args is None"),  # type: ignore[arg-type]
    ]
    for new, kind, told in strangers:
        with pytest.raises(kind, match=told):
            await client.insert(new)
    good = workers.add.new(1).options(tags=["good"])
    many = await client.insert_many([good, *(new for new, _, _ in strangers), good])
    assert many.inserted == 2 and len(await client.list(tags=["good"])) == 2
    assert [(place, type(error)) for place, error in many.errors] == [
        (place + 1, kind) for place, (_, kind, _) in enumerate(strangers)
    ]


def test_a_client_refuses_what_does_not_fit(run: Callable[[Program], None]) -> None:
    """Nothing is stored; the queue of a worker that is only a name must be given; an id is taken once."""

    async def program(client: Any) -> None:
        with pytest.raises(InvalidJob, match="queue is not given"):
            await client.insert("elsewhere", {})
        with pytest.raises(TypeError, match="missing a required argument: 'a'"):
            await client.insert(workers.add, {})
        with pytest.raises(UnknownOption, match='Did you mean "priority"'):
            await client.insert(workers.add.new(1), prioritty=1)
        assert await client.list() == []
        first, other = uuid4(), uuid4()
        await client.insert(workers.add.new(1), id=first)
        with pytest.raises(AlreadyExists):
            await client.insert(workers.add.new(2), id=first)
        await client.cancel(first)
        with pytest.raises(AlreadyExists):
            await client.insert(workers.add.new(2), id=first)
        await refuses_strangers(client)
        given = [workers.add.new(i).options(id=job_id) for i, job_id in enumerate([first, other, other])]
        many = await client.insert_many([*given, "no job", workers.add.new(3)])
        assert many.ids[0] == other and many.inserted == 2
        assert [(i, type(error)) for i, error in many.errors] == [
            (0, AlreadyExists),
            (2, AlreadyExists),
            (3, InvalidJob),
        ]
        assert (await client.get(first)).args["a"] == 1

    run(program)


def test_a_client_changes_jobs_that_nobody_owns(run: Callable[[Program], None]) -> None:
    """Cancel, retry, discard, rerun, each with its line of history; what is not possible is refused."""

    async def program(client: Any) -> None:
        job = await client.insert(workers.add.new(1))
        assert (await client.cancel(job.id)).state == "cancelled"
        with pytest.raises(InvalidState):
            await client.cancel(job.id)
        assert (await client.retry(job.id)).state == "available"
        assert (await client.discard(job.id)).state == "discarded"
        assert (await client.retry(job.id, delay=60)).state == "scheduled"
        assert (await client.discard(job.id)).state == "discarded"
        again = await client.rerun(job.id)
        assert (again.rerun_of, again.state, again.node) == (job.id, "available", None)
        assert (await client.wait(job.id)).state == "discarded"
        events = [entry["event"] for entry in (await client.get(job.id)).history]
        assert events == ["inserted", "cancelled", "retried", "discarded", "retried", "discarded", "rerun"]
        for action in ("cancel", "retry", "rerun", "discard"):
            with pytest.raises(JobNotFound):
                await getattr(client, action)(uuid4())

    run(program)


async def test_a_client_sees_a_node_work_and_its_jobs_are_the_nodes(postgres_dsn: str) -> None:
    """It waits for a node's job, has the node change one, and finds another one free when the node left."""
    async with Client(postgres_dsn) as client:
        async with open_node(app, store=postgres_dsn, name="n1") as node:
            job = await node.insert(workers.add.new(2, b=3))
            assert (await client.wait(job.id, timeout=20)).result == 5
            later = await node.insert(workers.add.new(1), schedule_in=3600)
            other = await node.insert(workers.add.new(1), schedule_in=3600)
            assert (await client.cancel(other.id)).state == "cancelled"
            assert (await client.rerun(job.id)).rerun_of == job.id
        assert (await client.cancel(later.id)).state == "cancelled"


async def test_a_worker_that_no_node_has_is_a_failed_attempt(postgres_dsn: str) -> None:
    """Its code may be deployed later; the node and the jobs behind it go on."""
    async with open_node(app, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        early = await client.insert("deployed_later", {"a": 1}, queue="default", max_attempts=2)
        done = await client.insert(workers.add.new(1))
        assert (await node.wait(done.id, timeout=20)).result == 1

        seen: list[Job] = []

        async def has_failed() -> bool:
            seen.append(await client.get(early.id))
            return seen[-1].state == "retryable"

        await eventually(has_failed, "it was tried")
        found = seen[-1]
        assert (found.attempt, found.errors[0]["kind"]) == (1, "unknown_worker")
        assert 'no worker "deployed_later"' in found.errors[0]["message"]


async def test_cancel_against_claim_has_one_winner(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is cancelled, or it is claimed and its owner, which does not answer here, is named: never both."""
    monkeypatch.setattr(asking, "ANSWER_TIMEOUT", 0.0)
    ends = {"cancelled": 0, "claimed": 0}
    async with Client(postgres_dsn) as client, open_loop():
        store = PostgresStore(postgres_dsn)
        await store.open()
        try:
            membership = await store.join("claimer", 600)
            for n in range(100):
                job = await client.insert(workers.add.new(n))
                claimed: list[bytes] = []
                cancelled: list[bytes] = []

                async def claim(into: list[bytes]) -> None:
                    into += [record.id for record in await store.claim(membership, ["default"], 10)]

                async def cancel(into: list[bytes], job_id: Any) -> None:
                    with suppress(OwnedElsewhere):
                        into.append((await client.cancel(job_id)).id.bytes)

                async with trio.open_nursery() as nursery:
                    nursery.start_soon(claim, claimed)
                    nursery.start_soon(cancel, cancelled, job.id)
                assert claimed + cancelled == [job.id.bytes]
                ends["claimed" if claimed else "cancelled"] += 1
                assert (await client.get(job.id)).state == ("available" if claimed else "cancelled")
        finally:
            await store.close()
    assert sum(ends.values()) == 100


def test_two_retries_from_two_programs_are_one(postgres_dsn: str) -> None:
    """One of them is told that the job is available already; the row is there once."""

    async def program() -> None:
        async with Client(postgres_dsn) as one, Client(postgres_dsn) as two:
            for n in range(50):
                job = await one.insert(workers.add.new(n))
                await two.cancel(job.id)
                found = await asyncio.gather(one.retry(job.id), two.retry(job.id), return_exceptions=True)
                assert sorted(type(each).__name__ for each in found) == ["InvalidState", "Job"]
                events = [entry["event"] for entry in (await one.get(job.id)).history]
                assert events == ["inserted", "cancelled", "retried"]

    asyncio.run(program())


async def plain_connection(dsn: str) -> Any:
    """A connection as a user may have one, with a codec of its own."""
    connection = await asyncpg.connect(dsn)
    await connection.set_type_codec("json", schema="pg_catalog", encoder=lambda _: "null", decoder=lambda _: "user's")
    return connection


def test_an_insert_in_the_callers_transaction_shares_its_fate(postgres_dsn: str) -> None:
    """Invisible before the commit, there after it, gone on rollback; a taken id leaves it whole."""

    async def program() -> None:
        async with Client(postgres_dsn) as client:
            connection = await plain_connection(postgres_dsn)
            try:
                transaction = connection.transaction()
                await transaction.start()
                gone = await client.insert(workers.add.new(1), connection=connection)
                assert await client.list() == []
                await transaction.rollback()
                with pytest.raises(JobNotFound):
                    await client.get(gone.id)
                async with connection.transaction():
                    kept = await client.insert(workers.add.new(2), connection=connection, tags=["x"])
                    with pytest.raises(AlreadyExists):
                        await client.insert(workers.add.new(2), connection=connection, id=kept.id)
                    with pytest.raises(JobNotFound):
                        await client.get(kept.id)
                assert (await client.get(kept.id)).to_dict() == kept.to_dict()
                with pytest.raises(TypeError, match="connection of asyncpg"):
                    await client.insert(workers.add.new(2), connection=object())
            finally:
                await connection.close()

    asyncio.run(program())


async def test_a_node_inserts_in_the_callers_transaction_too(postgres_dsn: str) -> None:
    """On trio, with a connection of the node's own asyncio loop."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        connection = await trio_asyncio.aio_as_trio(plain_connection)(postgres_dsn)
        begin, end = (trio_asyncio.aio_as_trio(connection.execute) for _ in range(2))
        await begin("BEGIN")
        gone = await node.insert(workers.add.new(1), connection=connection)
        await end("ROLLBACK")
        await begin("BEGIN")
        kept = await node.insert(workers.add.new(1), connection=connection)
        with pytest.raises(JobNotFound):
            await node.get(kept.id)
        await end("COMMIT")
        await trio_asyncio.aio_as_trio(connection.close)()
        with pytest.raises(JobNotFound):
            await node.get(gone.id)
        assert (await node.get(kept.id)).args == {"a": 1}
    async with open_node(app, name="n2") as node:
        with pytest.raises(BadConfiguration, match="needs a store on Postgres"):
            await node.insert(workers.add.new(1), connection=connection)


def test_a_sync_client_is_shared_by_threads_and_survives_a_fork(postgres_dsn: str) -> None:
    """Web servers do both: eight threads at once, then a child that uses it as if it were its own."""
    with SyncClient(postgres_dsn) as client:
        threads = [threading.Thread(target=client.insert, args=(workers.add.new(i),)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        pid = os.fork()
        if pid == 0:
            try:
                client.insert(workers.add.new(8))
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert sorted(job.args["a"] for job in client.list()) == list(range(9))
    with pytest.raises(StoreUnavailable, match="closed"):
        client.list()


def test_a_server_that_is_not_there_is_said_so() -> None:
    """Each kind of client names the place; a store that no other process reaches is refused."""
    dsn = "postgresql://nobody:secret@127.0.0.1:1/shop"

    async def program() -> None:
        async with Client(dsn):
            raise AssertionError("unreachable")

    for start in (lambda: trio.run(program), lambda: asyncio.run(program()), lambda: SyncClient(dsn).list()):
        with pytest.raises(StoreUnavailable, match='database "shop" on 127.0.0.1:1') as caught:
            start()
        assert "secret" not in str(caught.value)
    with pytest.raises(BadConfiguration, match="other processes reach"):
        Client("memory:")
    with pytest.raises(BadConfiguration):
        SyncClient("memory:")
