"""Programs that run jobs themselves: claims, leases, ends; and inserts from any language and in any transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import trio

from kathikon_actors import (
    AlreadyExists,
    ClaimLost,
    Client,
    InvalidJob,
    InvalidState,
    Job,
    SyncClient,
    open_node,
)
from kathikon_actors.node import pruner
from tests.node import workers
from tests.node.test_client import Awaitably
from tests.node.workers import app
from tests.support.rounds import rounds
from tests.support.waiting import eventually

WAIT = 20.0
NO_DELAYS: list[Any] = [None, -1, True, "x", float("nan"), float("inf"), 1e300, 10**400, 3.2e9]
Program = Callable[[Any], Awaitable[None]]


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


def test_claimed_jobs_end_as_their_runner_says(run: Callable[[Program], None]) -> None:
    """Best priority first; completed, failed, snoozed, discarded, each with its history and its errors."""

    async def program(client: Any) -> None:
        ids = [(await client.insert("work", {"n": n}, queue="q", priority=n, max_attempts=2)).id for n in range(4)]
        assert await client.claim("other") == []
        jobs = await client.claim("q", limit=10, lease=60)
        assert [job.args["n"] for job in jobs] == [3, 2, 1, 0]
        assert {(job.state, job.attempt) for job in jobs} == {("executing", 1)}
        assert (await client.get(ids[0])).state == "executing"
        assert await client.claim("q", limit=10) == []
        done = await client.complete(jobs[0], {"ok": True})
        assert (done.state, done.result, (await client.get(done.id)).result) == (
            "completed",
            {"ok": True},
            {"ok": True},
        )
        failed = await client.fail(jobs[1], "no licence", delay=600)
        assert (failed.state, failed.errors[0]["message"]) == ("retryable", "no licence")
        snoozed = await client.snooze(jobs[2], 60)
        assert (snoozed.state, snoozed.attempt) == ("scheduled", 0)
        gone = await client.discard(jobs[3], "hopeless")
        assert (gone.state, gone.errors[0]["message"]) == ("discarded", "hopeless")
        events = [entry["event"] for entry in (await client.get(done.id)).history]
        assert events == ["inserted", "started", "completed"]
        for job in jobs:
            for end in (client.complete, client.extend):
                with pytest.raises(ClaimLost, match="is not claimed here"):
                    await end(job)

    run(program)


def test_what_does_not_fit_is_refused(run: Callable[[Program], None]) -> None:
    """And the claim stays."""

    async def program(client: Any) -> None:
        await client.insert("work", {}, queue="q")
        for limit, lease in ((0, 30), (1001, 30), (True, 30), (1, 0), (1, -1), (1, 1e9)):
            with pytest.raises(ValueError, match="limit|lease"):
                await client.claim("q", limit, lease)
        (job,) = await client.claim("q")
        with pytest.raises(InvalidJob, match="result is of type set"):
            await client.complete(job, {1, 2})
        for seconds in (0, *NO_DELAYS):
            with pytest.raises(ValueError, match="seconds is .*at most 100 years"):
                await client.snooze(job, seconds)
        for delay in NO_DELAYS[1:]:
            with pytest.raises(ValueError, match="delay is .*at most 100 years"):
                await client.fail(job, "x", delay=delay)
        for queue in ("a\0", "\ud800", 5, None):
            with pytest.raises(ValueError, match="^queue "):
                await client.claim(queue)
        await client.extend(job, 60)
        assert (await client.complete(job)).state == "completed"
        for give_up in (client.discard, client.fail):
            await client.insert("work", {}, queue="q")
            (job,) = await client.claim("q")
            ended = await give_up(job, "\ud800 and \0")
            assert ended.errors[0]["message"] == "\\ud800 and \\x00"
        await client.insert("work", {}, queue="q")
        await client.pause("q")
        assert await client.claim("q") == []

    run(program)


async def test_a_lease_that_ran_out_gives_the_job_back(postgres_dsn: str) -> None:
    """Uncounted, to whoever claims next; the first runner can do nothing more to it. At the third time it is poison."""
    async with Client(postgres_dsn) as one, Client(postgres_dsn) as two:
        made = await one.insert("work", {}, queue="q")
        lost: list[Job] = []
        for number in range(3):
            (job,) = await one.claim("q", lease=0.05)
            lost.append(job)
            assert job.attempt == 1 and job.orphaned == number
            await trio.sleep(0.06)
            if number < 2:
                (mine,) = await eventually_claimed(two)
                await two.snooze(mine, 0.001)
                await trio.sleep(0.01)
        for job in lost:
            with pytest.raises(ClaimLost):
                await one.complete(job)
        assert await two.claim("q") == []
        dead = await two.get(made.id)
        assert (dead.state, dead.orphaned, dead.errors[-1]["kind"]) == ("discarded", 3, "orphaned")


async def eventually_claimed(client: Client) -> list[Job]:
    found: list[Job] = []

    async def claim() -> bool:
        found.extend(await client.claim("q", lease=60))
        return bool(found)

    await eventually(claim, "it is given back")
    return found


async def test_an_operator_takes_a_claimed_job_away(postgres_dsn: str) -> None:
    """Cancelled by id or by filter: its runner finds out when it comes back; retried, it is another claim."""
    async with Client(postgres_dsn) as runner, Client(postgres_dsn) as operator:
        for cancel in (
            lambda job: operator.cancel(job.id),
            lambda job: operator.cancel_by(queue="q", state="executing"),
        ):
            made = await operator.insert("work", {}, queue="q")
            (job,) = await runner.claim("q")
            await cancel(job)
            assert (await operator.get(made.id)).state == "cancelled"
            with pytest.raises(ClaimLost):
                await runner.complete(job, 1)
            with pytest.raises(InvalidState):
                await operator.cancel(made.id)
            await operator.retry(made.id)
            (again,) = await runner.claim("q")
            assert (again.id, again.attempt) == (made.id, 2)
            assert (await runner.complete(again, 2)).result == 2


async def test_concurrent_claims_of_one_job_have_one_winner(postgres_dsn: str) -> None:
    """200 rounds of two connections, and a third that cancels: one wins, the others are told."""
    async with Client(postgres_dsn) as one, Client(postgres_dsn) as two, Client(postgres_dsn) as three:
        ends = {"completed": 0, "cancelled": 0}
        for number in range(rounds(200)):
            made = await one.insert("work", {}, queue="q")
            got: list[str] = []

            async def take(client: Client, got: list[str] = got) -> None:
                for job in await client.claim("q"):
                    try:
                        got.append((await client.complete(job)).state)
                    except ClaimLost:
                        got.append("lost")

            async def cancel(job_id: UUID, got: list[str] = got) -> None:
                try:
                    got.append((await three.cancel(job_id)).state)
                except InvalidState:
                    got.append("late")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(take, one)
                nursery.start_soon(take, two)
                if number % 2:
                    nursery.start_soon(cancel, made.id)
            state = (await one.get(made.id)).state
            assert got.count("completed") + got.count("cancelled") == 1 and state in got
            ends[state] += 1
        assert sum(ends.values()) == rounds(200)


async def test_complete_against_the_end_of_the_lease_has_one_winner(postgres_dsn: str) -> None:
    """100 rounds: it is completed and stays so, or it is given back and the runner is told."""
    async with Client(postgres_dsn) as one, Client(postgres_dsn) as two:
        for _ in range(rounds(100)):
            made = await one.insert("work", {}, queue="q")
            (job,) = await one.claim("q", lease=0.004)
            told: list[str] = []

            async def complete(job: Job = job, told: list[str] = told) -> None:
                await trio.sleep(0.003)
                try:
                    told.append((await one.complete(job)).state)
                except ClaimLost:
                    told.append("lost")

            taken: list[Job] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(complete)
                await trio.sleep(0.003)
                taken += await two.claim("q")
            if told == ["completed"]:
                assert taken == [] and (await two.get(made.id)).state == "completed"
            else:
                mine = taken or await eventually_claimed(two)
                assert (await two.complete(mine[0])).state == "completed"


async def test_a_node_and_an_external_runner_share_no_job(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what a lost runner had runs on the node: its leader gives it back."""
    monkeypatch.setattr(pruner, "TIDY_EVERY", 0.1)
    async with Client(postgres_dsn) as client:
        for number in range(20):
            await client.insert(workers.add.new(number))
        mine = await client.claim("default", limit=3, lease=60)
        assert len(await client.claim("default", limit=2, lease=0.5)) == 2
        async with open_node(app, store=postgres_dsn, name="n1"):
            done = [await client.complete(job, "mine") for job in mine]
            assert {job.result for job in done} == {"mine"}

            async def all_done() -> bool:
                return await client.count_by(state="completed") == 20

            await eventually(all_done, "the node takes what was given back", 30)


async def execute(dsn: str, query: str, *args: Any) -> Any:
    import trio_asyncio

    connection = await trio_asyncio.aio_as_trio(asyncpg.connect)(dsn)
    try:
        return await trio_asyncio.aio_as_trio(connection.fetchval)(query, *args)
    finally:
        await trio_asyncio.aio_as_trio(connection.close)()


async def test_the_sql_function_inserts_what_a_node_runs(postgres_dsn: str) -> None:
    """With defaults, with every option, scheduled; what does not fit is refused with a sentence."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        job_id = await execute(postgres_dsn, """SELECT kathikon.insert_job('add', '{"a": 2, "b": 3}')""")
        assert (await node.wait(job_id, WAIT)).result == 5
        given = uuid4()
        await execute(
            postgres_dsn,
            "SELECT kathikon.insert_job('add', args => '{\"a\": 1}', queue => 'wide', priority => 7, "
            "max_attempts => 9, timeout => 5.5, schedule_in => 3600, tags => ARRAY['x', 'y'], "
            "meta => '{\"m\": 1}', id => $1)",
            given,
        )
        job = await node.get(given)
        assert (job.state, job.queue, job.priority, job.max_attempts, job.timeout) == ("scheduled", "wide", 7, 9, 5.5)
        assert (job.tags, job.meta, job.history[0]["to"]) == (["x", "y"], {"m": 1}, "scheduled")
        for wrong, words in (
            ("''", "worker is empty"),
            ("'add', args => '[1]'", "no JSON object"),
            ("'add', queue => 'a b'", "no name of a queue"),
            ("'add', max_attempts => 0", "max_attempts"),
            ("'add', timeout => 0", "timeout"),
            ("'add', schedule_in => 1, schedule_at => now()", "given together"),
            ("'add', tags => ARRAY['']", "a tag is empty"),
            ("'add', tags => '{{a,b},{c,d}}'", "tags is an array of 2 dimensions"),
            ("'add', timeout => 'NaN'", "timeout is NaN"),
            ("'add', schedule_at => 'infinity'", "schedule_at is infinity"),
            ("'add', schedule_at => '20000-01-01'", "schedule_at is 20000-01-01"),
            ("'add', schedule_in => 'Infinity'", "schedule_in is Infinity"),
            ("'add', schedule_in => 'NaN'", "schedule_in is NaN"),
            ("'add', schedule_in => -1e15", r"schedule_in is -1e\+15"),
            ("'add', schedule_in => 1e12", "schedule_in is 1000000000000"),
            (f"'add', '{{\"a\": 1}}', id => '{given}'", "duplicate key|already"),
            (f"'add', '{{\"a\": 1}}', id => '{job_id}'", "already"),
        ):
            with pytest.raises(asyncpg.PostgresError, match=words):
                await execute(postgres_dsn, f"SELECT kathikon.insert_job({wrong})")


async def test_a_node_lives_on_when_ids_are_given_again_while_their_jobs_end(postgres_dsn: str) -> None:
    """None is stored twice; and of one that was, by whatever way, the second job goes and the first stays."""
    import trio_asyncio

    async with open_node(app, store=postgres_dsn, name="n1") as node:
        connection = await trio_asyncio.aio_as_trio(asyncpg.connect)(postgres_dsn)
        fetchval = trio_asyncio.aio_as_trio(connection.fetchval)
        for number in range(rounds(100)):
            given = uuid4()
            await node.insert(workers.add.new(number), id=given)
            insert = "SELECT kathikon.insert_job('add', '{\"a\": 1}', id => $1)"
            while True:  # until it has ended, and once more
                ended = await fetchval("SELECT EXISTS (SELECT FROM kathikon.finished_jobs WHERE id = $1)", given)
                with pytest.raises(asyncpg.UniqueViolationError):
                    await fetchval(insert, given)
                if ended:
                    break
        first = await node.wait(given, WAIT)
        await fetchval(
            "INSERT INTO kathikon.jobs (inserted_at, scheduled_at, id, queue, worker, args) "
            "VALUES (now(), now(), $1, $2, 'add', '{\"a\": 1000}')",
            given,
            first.queue,
        )
        await fetchval("SELECT pg_notify('kathikon_unowned', $1)", first.queue)

        async def is_gone() -> bool:
            return not await fetchval("SELECT EXISTS (SELECT FROM kathikon.jobs WHERE id = $1)", given)

        await eventually(is_gone, "the second job is gone")
        assert (await node.get(given)).result == first.result
        job = await node.insert(workers.add.new(1))
        assert (await node.wait(job.id, WAIT)).state == "completed"
        assert (await node.health()).status == "ok"
        await trio_asyncio.aio_as_trio(connection.close)()


def test_a_psycopg_transaction_takes_an_insert_with_it(postgres_dsn: str) -> None:
    """Visible after its commit, gone on rollback; plain and async connections, autocommit or not."""
    psycopg = pytest.importorskip("psycopg")
    with SyncClient(postgres_dsn) as client:
        client.insert("other", {}, queue="q")
        with psycopg.connect(postgres_dsn) as connection:
            kept = client.insert("work", {"n": 1}, queue="q", tags=["a b", 'c"d'], connection=connection)
            assert client.count_by(worker="work") == 0
            connection.commit()
            assert client.get(kept.id).tags == ["a b", 'c"d']
            gone = client.insert("work", {"n": 2}, queue="q", connection=connection)
            connection.rollback()
            assert client.count_by(worker="work") == 1
            with pytest.raises(AlreadyExists):
                client.insert("work", {}, queue="q", id=kept.id, connection=connection)
            connection.rollback()
        with psycopg.connect(postgres_dsn, autocommit=True) as connection:
            client.insert("work", {"n": 3}, queue="q", connection=connection)
            with suppress(ZeroDivisionError), connection.transaction():
                client.insert("work", {"n": 4}, queue="q", connection=connection)
                raise ZeroDivisionError
        assert client.count_by(worker="work") == 2 and client.count_by(args={"n": 2}) == 0
        assert gone.id != kept.id
        with pytest.raises(TypeError, match="psycopg 3"):
            client.insert("work", {}, queue="q", connection=object())

    async def program() -> None:
        async with Client(postgres_dsn) as client, await psycopg.AsyncConnection.connect(postgres_dsn) as connection:
            async with connection.transaction():
                job = await client.insert("later", {}, queue="q", connection=connection)
                assert await client.count_by(worker="later") == 0
            assert (await client.get(job.id)).worker == "later"

    asyncio.run(program())
