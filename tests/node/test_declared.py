"""Jobs by the names of workers whose code is elsewhere: as nodes have declared them, from every kind of client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
import trio

from kathikon_actors import (
    App,
    Batch,
    Client,
    Cron,
    Fail,
    InvalidJob,
    Job,
    NewJob,
    Queue,
    SyncClient,
    Unique,
    UnknownWorker,
    Worker,
    Workflow,
    open_node,
    worker,
)
from kathikon_actors.node import declared
from tests.node.test_client import Awaitably
from tests.node.test_external import execute
from tests.support.waiting import eventually

Program = Callable[[Any], Awaitable[None]]
WAIT = 30.0


@worker(queue="billing", max_attempts=5, timeout=60, priority=2, tags=["money"], backoff=lambda *_: 0.01)
def charge_customer(job: Job, invoice_id: str, cents: int, note: str = "") -> Any:
    return cents if cents >= 0 else Fail("never")


@worker(queue="billing", unique=Unique(keys=("worker", "args.account")))
def rebuild(account: int, reason: str = "") -> str:
    return reason


@worker
async def plain(job: Job, **more: Any) -> Any:
    return more


@worker(queue="billing", durability="memory")
def light() -> None: ...


class Free(Worker):
    queue = "billing"

    def perform(self, job: Job) -> Any:
        return job.args


WORKERS = [charge_customer, rebuild, plain, light, Free]
app = App([Queue("billing"), Queue("others")], WORKERS, default_queue="others", max_attempts=7, timeout=9.5)


@pytest.fixture
def run(run_kind: str, postgres_dsn: str) -> Callable[[Program], None]:
    """Runs a program with an open client, in each kind of program, after a node of the app has come and gone."""

    async def node() -> None:
        async with open_node(app, store=postgres_dsn, name="n1"):
            pass

    async def with_client(program: Program) -> None:
        async with Client(postgres_dsn) as client:
            await program(client)

    def start(program: Program) -> None:
        trio.run(node)
        if run_kind == "trio":
            trio.run(with_client, program)
        elif run_kind == "asyncio":
            asyncio.run(with_client(program))
        else:
            with SyncClient(postgres_dsn) as client:
                asyncio.run(program(Awaitably(client)))  # type: ignore[arg-type]

    return start


@pytest.fixture(params=["trio", "asyncio", "sync"])
def run_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def what(job: Job) -> tuple[Any, ...]:
    return job.queue, job.max_attempts, job.timeout, job.priority, list(job.tags)


CHARGE = ("billing", 5, 60.0, 2, ["money"])
OTHERS = ("others", 7, 9.5, 0, [])
ARGS = {"invoice_id": "I1", "cents": 5}


def test_a_job_by_name_is_as_its_worker_declares_it(run: Callable[[Program], None]) -> None:
    """The call comes before the worker, the worker before the app, in every call that takes a name."""

    async def program(client: Any) -> None:
        assert what(await client.insert("charge_customer", ARGS)) == CHARGE
        assert what(await client.insert("plain", {"any": 1})) == OTHERS
        assert what(await client.insert("Free", {"any": 1})) == ("billing", 7, 9.5, 0, [])
        other = await client.insert(
            "charge_customer", ARGS, queue="x", max_attempts=1, timeout=2, priority=-1, tags=["y"]
        )
        assert what(other) == ("x", 1, 2.0, -1, ["y"])
        given = await client.insert("charge_customer", ARGS, queue="billing")
        assert what(given) == what(await client.get(given.id)) == CHARGE
        many = await client.insert_many([NewJob("charge_customer", {**ARGS, "note": str(n)}) for n in range(3)])
        for job_id in many.ids:
            assert what(await client.get(job_id)) == CHARGE
        whole = await client.insert_many([NewJob("plain", {})], on_error="abort")
        assert what(await client.get(whole.ids[0])) == OTHERS
        later = await client.schedule("charge_customer", ARGS, in_=60)
        assert (later.state, what(later)) == ("scheduled", CHARGE)
        flow = Workflow().add("a", NewJob("charge_customer", ARGS)).add("b", NewJob("plain", {}), after="a")
        steps = await client.workflow(flow)
        assert (what(steps["a"]), what(steps["b"]), steps["b"].state) == (CHARGE, OTHERS, "blocked")

    run(program)


def test_crons_and_callbacks_by_name_are_too(postgres_dsn: str, run_kind: str, run: Callable[[Program], None]) -> None:
    """Of a batch, of an entry that is added and changed; a child of a batch."""

    async def program(client: Any) -> None:
        await client.schedule("charge_customer", ARGS, cron="0 3 * * *", name="nightly")
        batch = await client.new_batch(Batch(on_success=NewJob("charge_customer", ARGS)))
        child = await client.insert("rebuild", {"account": 1}, batch=batch)
        assert child.queue == "billing"
        await client.close_batch(batch)
        with pytest.raises(UnknownWorker):
            await client.new_batch(Batch(on_success=NewJob("charge_custome", ARGS)))
        with pytest.raises(TypeError, match="missing a required argument: 'cents'"):
            await client.new_batch(Batch(on_failure=NewJob("charge_customer", {"invoice_id": "I"})))
        with pytest.raises(TypeError, match="missing a required argument: 'cents'"):
            await client.schedule("charge_customer", {"invoice_id": "I"}, cron="0 3 * * *", name="other")

    run(program)

    async def rest() -> None:
        async with Client(postgres_dsn) as client:
            assert what(await client.crons.run_now("nightly")) == CHARGE
            await client.crons.change("nightly", job=NewJob("plain", {}))
            assert what(await client.crons.run_now("nightly")) == OTHERS
            with pytest.raises(TypeError, match="missing a required argument"):
                await client.crons.add(Cron("bad", "@daily", NewJob("charge_customer", {})))
            (claimed,) = [job for job in await client.claim("billing", 10) if job.worker == "rebuild"]
            await client.complete(claimed)
            (called,) = [job for job in await client.list(worker="charge_customer") if "batch" in job.meta]
            assert what(called) == CHARGE

    trio.run(rest)


def test_what_does_not_fit_is_refused_as_on_the_node(run: Callable[[Program], None]) -> None:
    """Arguments by their names, a name that nobody has declared; nothing is stored. With a queue it is accepted."""

    async def program(client: Any) -> None:
        for args, problem in (
            ({"invoice_id": "I1"}, "missing a required argument: 'cents'"),
            ({**ARGS, "cent": 1}, "got an unexpected keyword argument 'cent'"),
            ({**ARGS, "job": 1}, "got an unexpected keyword argument 'job'"),
        ):
            text = f"charge_customer(invoice_id, cents, note=...): {problem}"
            with pytest.raises(TypeError) as refused:
                await client.insert("charge_customer", args, queue="billing")
            assert str(refused.value) == text
            many = await client.insert_many([NewJob("charge_customer", args, None, {"queue": "x"})])
            assert [(index, str(error)) for index, error in many.errors] == [(0, text)]
        with pytest.raises(TypeError, match="'job' is given by the queue"):
            await client.insert("plain", {"job": 1})
        with pytest.raises(UnknownWorker, match='no worker "chrge_customer".*Did you mean "charge_customer"'):
            await client.insert("chrge_customer", ARGS)
        with pytest.raises(UnknownWorker, match="Give its queue"):
            await client.insert("zzz", {}, queue=None)
        with pytest.raises(InvalidJob, match='durability is "memory"'):
            await client.insert("light", {})
        with pytest.raises(InvalidJob, match="worker is none: a worker's name is"):
            await client.insert("", {})
        first = await client.insert_many(
            [NewJob("plain", {"n": 1}), NewJob("zzz", {}), NewJob("plain", {"n": 3})], on_error="abort"
        )
        assert (first.inserted, first.errors[0][0]) == (0, 1) and isinstance(first.errors[0][1], UnknownWorker)
        assert await client.list() == []
        later = await client.insert("deployed_later", {"any": 1}, queue="billing")
        assert what(later) == ("billing", 3, 300.0, 0, [])

    run(program)


def test_a_unique_worker_is_unique_by_name_too(
    postgres_dsn: str, run_kind: str, run: Callable[[Program], None]
) -> None:
    """Its key is that of the node: the same job, whichever of the two inserts it."""

    async def program(client: Any) -> None:
        first = await client.insert("rebuild", {"account": 7})
        second = await client.insert("rebuild", {"account": 7, "reason": "again"})
        assert (first.conflict, second.conflict, second.id) == (False, True, first.id)
        assert not (await client.insert("rebuild", {"account": 7}, unique=None)).conflict
        many = await client.insert_many([NewJob("rebuild", {"account": 7}), NewJob("rebuild", {"account": 8})])
        assert (many.inserted, many.conflicts) == (1, [(0, first.id)])
        real = await client.insert(rebuild.new(7))
        assert (real.conflict, real.id) == (True, first.id)

    run(program)


def test_a_job_by_name_joins_the_callers_transaction(
    run_kind: str, run: Callable[[Program], None], postgres_dsn: str
) -> None:
    """What is declared is read beside it, on the client's own connection, also when the client has never read it."""
    psycopg = pytest.importorskip("psycopg")

    async def program(client: Any) -> None:
        if run_kind == "asyncio":
            connection = await asyncpg.connect(postgres_dsn)
            try:
                transaction = connection.transaction()
                await transaction.start()
                assert what(await client.insert("charge_customer", ARGS, connection=connection)) == CHARGE
                with pytest.raises(TypeError, match="'cents'"):
                    await client.insert("charge_customer", {"invoice_id": "I"}, connection=connection)
                await transaction.rollback()
            finally:
                await connection.close()
        elif run_kind == "sync":
            with psycopg.connect(postgres_dsn) as connection:
                assert what(await client.insert("charge_customer", ARGS, connection=connection)) == CHARGE
                with pytest.raises(TypeError, match="'cents'"):
                    await client.insert("charge_customer", {"invoice_id": "I"}, connection=connection)
                connection.rollback()
        assert await client.list() == []

    run(program)


async def test_what_is_inserted_by_name_runs_on_the_node(postgres_dsn: str) -> None:
    """Its workers are known as soon as its block begins; a declared number of attempts is what the job has."""
    async with open_node(app, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        job = await client.insert("charge_customer", ARGS)
        assert (await node.wait(job.id, WAIT)).result == 5
        failing = await client.insert("charge_customer", {"invoice_id": "I2", "cents": -1})
        done = await node.wait(failing.id, WAIT)
        assert (done.state, done.attempt, done.max_attempts) == ("discarded", 5, 5)
        free = await client.insert("Free", {"job": 1, "x": 2})
        assert (await node.wait(free.id, WAIT)).result == {"job": 1, "x": 2}


async def test_one_query_is_for_many_jobs(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first insert by name reads; a miss and a minute read again, and many at once read a few times at most."""
    reads = 0
    read = declared.declared_workers

    async def counted(raw: Any) -> Any:
        nonlocal reads
        reads += 1
        return await read(raw)

    monkeypatch.setattr(declared, "declared_workers", counted)
    async with open_node(app, store=postgres_dsn, name="n1"), Client(postgres_dsn) as client:
        await client.insert(charge_customer.new("I", 1))
        assert reads == 0
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(client.insert, "charge_customer", ARGS)
        assert 1 <= reads <= 4
        reads = 0
        await client.insert_many(NewJob("charge_customer", ARGS) for _ in range(3000))
        for _ in range(50):
            await client.insert("plain", {})
        assert reads == 0
        many = await client.insert_many(NewJob("nobody", {}, None, {"queue": "billing"}) for _ in range(3000))
        assert many.inserted == 3000 and 1 <= reads <= 30
        reads = 0
        monkeypatch.setattr(declared, "FRESH", 0.0)
        await client.insert("charge_customer", ARGS)
        assert reads == 1


async def test_of_two_apps_the_one_that_started_last_is_right(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the newer one of a node has no more is unknown, once it has started; other apps keep theirs."""
    monkeypatch.setattr(declared, "FRESH", 0.0)
    monkeypatch.setattr(declared, "MISSED", 0.0)

    @worker(name="charge_customer", queue="late", max_attempts=2)
    def other(invoice_id: str) -> None: ...

    second = App([Queue("late")], [other])
    async with Client(postgres_dsn) as client:
        async with open_node(app, store=postgres_dsn, name="n1"):
            assert what(await client.insert("charge_customer", ARGS)) == CHARGE
            async with open_node(second, store=postgres_dsn, name="n2"):
                job = await client.insert("charge_customer", {"invoice_id": "I"})
                assert (job.queue, job.max_attempts, job.priority) == ("late", 2, 0)
                with pytest.raises(TypeError, match="unexpected keyword argument 'cents'"):
                    await client.insert("charge_customer", ARGS)
                assert (await client.insert("plain", {})).queue == "others"
        async with open_node(second, store=postgres_dsn, name="n1"):
            with pytest.raises(UnknownWorker, match=r"known: charge_customer\)"):
                await client.insert("plain", {})
        async with open_node(app, store=postgres_dsn, name="n3"):
            assert what(await client.insert("charge_customer", ARGS)) == CHARGE


async def test_a_node_that_starts_is_known_to_a_client_that_missed_it(postgres_dsn: str) -> None:
    """What a client did not find it looks for again soon."""
    async with Client(postgres_dsn) as client:
        with pytest.raises(InvalidJob, match="queue is not given"):
            await client.insert("charge_customer", ARGS)
        async with open_node(app, store=postgres_dsn, name="n1"):

            async def is_known() -> bool:
                try:
                    return what(await client.insert("charge_customer", ARGS)) == CHARGE
                except InvalidJob:
                    return False

            await eventually(is_known, "it is known", 5)


async def test_jobs_of_an_app_with_keys_are_encrypted_or_refused(postgres_dsn: str) -> None:
    """A client without the keys stores no plain text, unless it is told to."""
    pytest.importorskip("cryptography")
    from kathikon_actors import generate_key

    key = generate_key()
    keyed = App([Queue("billing"), Queue("default")], WORKERS, encryption_keys=[key])
    async with open_node(keyed, store=postgres_dsn, name="n1") as node:
        async with Client(postgres_dsn) as client, Client(postgres_dsn, encryption_keys=[key]) as keyholder:
            with pytest.raises(InvalidJob, match="no encryption_keys here"):
                await client.insert("charge_customer", ARGS)
            job = await keyholder.insert("charge_customer", ARGS)
            assert (await node.wait(job.id, WAIT)).result == 5
            stored = "SELECT args::text FROM kathikon.all_jobs WHERE id = $1"
            assert '"I1"' not in await execute(postgres_dsn, stored, job.id)
            bare = await client.insert("charge_customer", ARGS, encrypt=False)
            assert '"I1"' in await execute(postgres_dsn, stored, bare.id)
        with pytest.raises(asyncpg.PostgresError, match="which SQL cannot do.*encrypt => false"):
            await execute(postgres_dsn, """SELECT kathikon.insert_job('plain', '{"a": 1}')""")
        await execute(postgres_dsn, """SELECT kathikon.insert_job('plain', '{"a": 1}', encrypt => false)""")


async def test_the_sql_function_takes_what_is_declared(postgres_dsn: str) -> None:
    """Where its own parameter is not given; what does not fit is refused in the same words."""

    async def insert(given: str) -> Job:
        return await client.get(await execute(postgres_dsn, f"SELECT kathikon.insert_job({given})"))

    async with Client(postgres_dsn) as client:
        before = await insert("'charge_customer'")
        assert what(before) == ("default", 3, 300.0, 0, [])
        async with open_node(app, store=postgres_dsn, name="n1"):
            pass
        args = """'{"invoice_id": "I1", "cents": 5}'"""
        assert what(await insert(f"'charge_customer', {args}")) == CHARGE
        assert what(await insert("'plain', '{\"x\": 1}'")) == OTHERS
        assert what(await insert("'Free', '{\"job\": 1}'"))[0] == "billing"
        full = f"'charge_customer', {args}, 'x', -1, 1, 2, tags => ARRAY['y']"
        assert what(await insert(full)) == ("x", 1, 2.0, -1, ["y"])
        assert what(await insert(f"'charge_customer', {args}, tags => '{{}}', priority => 0"))[3:] == (0, [])
        assert what(await insert("'deployed_later', queue => 'q'")) == ("q", 3, 300.0, 0, [])
        assert what(await insert("'light', durability => 'commit'"))[0] == "billing"
        for wrong, words in (
            (
                "'charge_customer'",
                "charge_customer(invoice_id, cents, note=...): missing a required argument: 'invoice_id'",
            ),
            ("'charge_customer', '{\"invoice_id\": null}'", "missing a required argument: 'cents'"),
            (
                "'charge_customer', '{\"invoice_id\": 1, \"cents\": 1, \"cent\": 1}', queue => 'x'",
                "charge_customer(invoice_id, cents, note=...): got an unexpected keyword argument 'cent'",
            ),
            ("'plain', '{\"job\": 1}'", "plain(**kwargs): 'job' is given by the queue, not by the caller"),
            (
                "'charge_custmer'",
                '(known: Free, charge_customer, light, plain, rebuild). Did you mean "charge_customer"?',
            ),
            ("'zzz'", "Give its queue if its code is deployed later."),
            ("'light'", 'durability of light is "memory", which needs a node to hold it'),
            ("'plain', durability => 'often'", 'durability is "often"'),
        ):
            with pytest.raises(asyncpg.PostgresError) as refused:
                await insert(wrong)
            assert words in str(refused.value)


async def test_from_inside_a_job_a_name_is_checked_by_the_node(postgres_dsn: str) -> None:
    """The same errors, and the worker's own defaults, from plain and async workers, alone, in many and in a batch."""

    @worker(max_attempts=1)
    def ask(job: Job) -> Any:
        made = job.insert("charge_customer", ARGS)
        told = [made.queue, made.max_attempts]
        for args in ({"invoice_id": "I"}, {**ARGS, "cent": 1}):
            try:
                job.insert("charge_customer", args)
            except TypeError as error:
                told.append(str(error).partition("): ")[2])
        many = job.insert_many([NewJob("charge_customer", ARGS), NewJob("charge_customer", {})])
        return [*told, many.inserted, [(place, type(error).__name__) for place, error in many.errors]]

    @worker(max_attempts=1)
    async def ask_async(job: Job) -> Any:
        made = await job.insert("charge_customer", ARGS)
        told = [made.queue, made.max_attempts]
        for args in ({"invoice_id": "I"}, {**ARGS, "cent": 1}):
            try:
                await job.insert("charge_customer", args)
            except TypeError as error:
                told.append(str(error).partition("): ")[2])
        many = await job.insert_many([NewJob("charge_customer", ARGS), NewJob("charge_customer", {})])
        return [*told, many.inserted, [(place, type(error).__name__) for place, error in many.errors]]

    inside = App([Queue("billing"), Queue("default")], [charge_customer, ask, ask_async])
    async with open_node(inside, store=postgres_dsn, name="n1") as node:
        for target in (ask, ask_async):
            done = await node.wait((await node.insert(target.new())).id, WAIT)
            assert done.result == [
                "billing",
                5,
                "missing a required argument: 'cents'",
                "got an unexpected keyword argument 'cent'",
                1,
                [[1, "TypeError"]],
            ], done.errors
        many = await node.insert_many([NewJob("charge_customer", {"cents": 1})])
        assert "missing a required argument: 'invoice_id'" in str(many.errors[0][1])
