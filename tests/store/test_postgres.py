"""The Postgres store where Postgres itself comes in: cuts, cancellation, plans, rows that others wrote."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.errors import LeaseLost, NodeNameTaken, StoreUnavailable
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.history import whole_history
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.connection import Connection, open_loop
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Lane, Membership, Page, RowsRefused
from kathikon_actors.store.urls import parse_store_url
from tests.support.records import as_stored, completed, new_record, now_us
from tests.support.waiting import eventually


class Admin:
    """A connection of the test's own, beside the store's."""

    def __init__(self, dsn: str) -> None:
        self.connection = Connection(parse_store_url(dsn), 20)

    async def sql(self, text: str, *args: Any) -> list[tuple[Any, ...]]:
        """Run one statement."""

        async def fetch(raw: Any) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await raw.fetch(text, *args)]

        return await self.connection.run(fetch)

    async def cut(self) -> None:
        """End every session of the stores under test."""
        await self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'kathikon' AND datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture
async def loop() -> AsyncIterator[None]:
    async with open_loop():
        yield


@pytest.fixture
async def admin(loop: None, postgres_dsn: str) -> AsyncIterator[Admin]:
    admin = Admin(postgres_dsn)
    yield admin
    await admin.connection.close()


@pytest.fixture
async def store(admin: Admin, postgres_dsn: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(postgres_dsn, timeout=20)
    await store.open()
    yield store
    await store.close()


async def batch_in_doubt(store: PostgresStore, membership: Membership, lane: Lane) -> int:
    """The last batch that was committed, asked as often as the store is cut off."""
    with trio.fail_after(20):
        while True:
            try:
                return await store.last_batch(membership, lane)
            except StoreUnavailable:
                await trio.sleep(0.005)


# --- cuts and cancellation in the middle of a commit


@pytest.mark.parametrize("how", ["cut", "cancelled"])
@pytest.mark.parametrize("size", [3, 400])
async def test_last_batch_tells_whether_an_interrupted_commit_was_stored(
    store: PostgresStore, admin: Admin, size: int, how: str
) -> None:
    """Sessions ended, or the caller cancelled, at any moment of a commit: all of the batch is stored, or nothing."""
    chance = random.Random(size)
    membership = await store.join("a", 60)
    doubts = 0
    for number in range(1, 41):
        records = [new_record() for _ in range(size)]
        outcomes: list[Record] = []
        for lane in ("inserts", "outcomes"):
            committed = False
            delay = chance.uniform(0, 0.004 if size == 3 else 0.02)

            async def interrupt(delay: float = delay) -> None:
                await trio.sleep(delay)
                await admin.cut()

            async with trio.open_nursery() as nursery:
                if how == "cut":
                    nursery.start_soon(interrupt)
                try:
                    with trio.move_on_after(delay if how == "cancelled" else 20) as scope:
                        if lane == "inserts":
                            await store.commit_inserts(membership, number, records, may_conflict=False)
                        else:
                            await store.commit_outcomes(membership, number, outcomes)
                        committed = True
                except StoreUnavailable:
                    pass
                else:
                    assert committed or scope.cancelled_caught
            last = await batch_in_doubt(store, membership, lane)  # type: ignore[arg-type]
            assert last == number or not committed
            doubts += not committed
            stored = {row[0].bytes for row in await admin.sql("SELECT id FROM kathikon.jobs")}
            ended = {row[0].bytes for row in await admin.sql("SELECT id FROM kathikon.finished_jobs")}
            assert not stored & ended
            ids = {record.id for record in records}
            assert ids & (stored if lane == "inserts" else ended) == (ids if last == number else set())
            if lane == "inserts":
                if last != number:
                    assert await store.commit_inserts(membership, number, records, may_conflict=True) == set()
                outcomes = [completed(record) for record in records]
            elif last != number:
                assert await store.commit_outcomes(membership, number, outcomes) == set()
    assert doubts > 5
    assert (await store.counts())[0].by_state == {"completed": 40 * size}


async def test_a_commit_of_an_earlier_connection_cannot_follow_last_batch(
    store: PostgresStore, admin: Admin, postgres_dsn: str
) -> None:
    """A commit that still travels when its connection is given up is shut out by the next one's question."""
    membership = await store.join("a", 60)
    other = PostgresStore(postgres_dsn)
    await other.open()
    await other.commit_inserts(membership, 1, [new_record()], may_conflict=False)
    assert await store.last_batch(membership, "inserts") == 1
    for size in (1, 100):
        with pytest.raises(LeaseLost):
            await other.commit_inserts(membership, 2, [new_record() for _ in range(size)], may_conflict=False)
    assert await store.last_batch(membership, "inserts") == 1
    assert len(await store.find(Page())) == 1
    await other.close()


async def test_cancelled_reads_leave_the_store_usable(store: PostgresStore) -> None:
    """Each connection that was left in the middle is replaced; none is lost from the pool."""
    membership = await store.join("a", 60)
    await store.commit_inserts(membership, 1, [new_record() for _ in range(500)], may_conflict=False)
    chance = random.Random(1)
    for _ in range(30):
        with trio.move_on_after(chance.uniform(0, 0.004)):
            await store.find(Page(limit=500))
        with trio.move_on_after(chance.uniform(0, 0.004)):
            await store.load_owned(membership, None, 500)
    with trio.fail_after(20):
        assert len(await store.find(Page(limit=1000))) == 500
        assert len(await store.load_owned(membership, None, 1000)) == 500
        await store.renew(membership, 60)


async def test_after_a_cut_the_name_is_locked_again(store: PostgresStore, admin: Admin, postgres_dsn: str) -> None:
    """The next renewal takes the session's lock back: the name does not look abandoned."""
    membership = await store.join("a", 60)
    await admin.cut()

    async def locked() -> bool:
        """Renew; a session that was cut may hold the lock for a moment longer, until it has ended."""
        try:
            await store.renew(membership, 60)
        except StoreUnavailable:
            return False
        raw = store._names.connection.raw
        assert raw is not None
        held = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid = $1"
        return bool(await admin.sql(held, raw.get_server_pid()))

    await eventually(locked, "a renewal has taken the lock")
    other = PostgresStore(postgres_dsn)
    await other.open()
    with pytest.raises(NodeNameTaken):
        await other.join("a", 60)
    await other.close()


async def test_a_process_stopped_in_the_middle_of_a_commit_does_not_hold_up_its_successor(
    store: PostgresStore, postgres_dsn: str
) -> None:
    """Its sessions are ended once its lease has run out, and what it had begun is rolled back."""
    old = await store.join("a", 0.1)
    lane = store._lanes["inserts"]
    reached = trio.Event()

    async def stall(raw: Any) -> None:
        await lane._begin(raw, old, 1)
        reached.set()
        await asyncio.sleep(3600)

    successor = PostgresStore(postgres_dsn, timeout=10)
    await successor.open()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.connection.run, stall)
        await reached.wait()
        with trio.fail_after(10):
            while True:
                try:
                    new = await successor.join("a", 60)
                    break
                except NodeNameTaken:
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert await successor.last_batch(new, "inserts") == 0
    await successor.close()


# --- a server that is not there, is something else, or does not answer


def refusal(code: str, message: str) -> bytes:
    """What Postgres sends instead of letting a client in."""
    fields = f"SFATAL\0C{code}\0M{message}\0\0".encode()
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "nobody listens there"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "127.0.0.1"),
        (b"", "127.0.0.1"),
        (refusal("28P01", 'password authentication failed for user "u"'), "check user and password"),
        (refusal("3D000", 'database "d" does not exist'), "create it with createdb"),
        (refusal("57P03", "the database system is starting up"), "starting up"),
    ],
)
async def test_an_unusable_server_is_one_clear_sentence(loop: None, answer: bytes | None, message: str) -> None:
    """It names host and database and the next step, never the password."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]

        async def serve(stream: trio.SocketStream) -> None:
            await stream.receive_some(1000)
            await stream.send_all(answer or b"")
            await stream.aclose()

        if answer is None:
            await listeners[0].aclose()
        else:
            nursery.start_soon(trio.serve_listeners, serve, listeners)
        store = PostgresStore(f"postgresql://u:s3cret@127.0.0.1:{port}/d?sslmode=disable", timeout=5)
        with trio.fail_after(10), pytest.raises(StoreUnavailable) as caught:
            await store.open()
        nursery.cancel_scope.cancel()
    assert message in str(caught.value)
    assert f'database "d" on 127.0.0.1:{port}' in str(caught.value)
    assert "s3cret" not in str(caught.value) + repr(store) + store.url


async def test_a_server_that_never_answers_is_given_up_in_time(loop: None) -> None:
    """Connecting ends after the timeout."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")

        async def serve(stream: trio.SocketStream) -> None:
            await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        port = listeners[0].socket.getsockname()[1]
        store = PostgresStore(f"postgresql://u@127.0.0.1:{port}/d", timeout=0.2)
        with trio.fail_after(5), pytest.raises(StoreUnavailable):
            await store.open()
        nursery.cancel_scope.cancel()


async def test_a_statement_that_hangs_is_given_up_and_the_next_one_works(
    store: PostgresStore, admin: Admin, postgres_dsn: str
) -> None:
    """A lock held by somebody else: `StoreUnavailable` after the timeout, and nothing of the batch is stored."""
    hurried = PostgresStore(postgres_dsn, timeout=20)
    await hurried.open()
    membership = await hurried.join("a", 60)
    await hurried.commit_inserts(membership, 1, [new_record()], may_conflict=False)
    lane = hurried._lanes["inserts"].connection
    lane._timeout = 0.5  # not before: a busy machine may take longer for what is to succeed

    async def lock(raw: Any) -> None:
        await raw.execute("BEGIN; LOCK TABLE kathikon.jobs")

    await admin.connection.run(lock)
    for size in (1, 100):
        with trio.fail_after(20), pytest.raises(StoreUnavailable):
            await hurried.commit_inserts(membership, 2, [new_record() for _ in range(size)], may_conflict=False)
    lane._timeout = 20
    # Asked while the table is locked: what was given up may still wait for it, and is shut out by the question.
    assert await batch_in_doubt(hurried, membership, "inserts") == 1
    await admin.sql("ROLLBACK")
    with trio.fail_after(20):
        await hurried.commit_inserts(membership, 2, [new_record()], may_conflict=False)
    assert len(await store.find(Page())) == 2
    await hurried.close()


async def test_without_a_loop_the_error_says_what_is_missing(postgres_dsn: str) -> None:
    """A programming error, told as one."""
    with pytest.raises(RuntimeError, match="open_loop"):
        await PostgresStore(postgres_dsn).open()


async def test_an_error_that_nobody_awaits_does_not_end_the_loop(store: PostgresStore) -> None:
    """asyncpg leaves one behind when a connection is cut while it writes; once that ended the whole node."""

    async def leave_one(raw: Any) -> None:
        asyncio.get_running_loop().create_future().set_exception(ConnectionError("cut"))
        gc.collect()

    await store._claims.run(leave_one)
    await trio.testing.wait_all_tasks_blocked()
    assert await store.counts() == []


# --- what the database holds


async def test_rows_that_cannot_be_read_are_left_out_with_a_warning(
    store: PostgresStore, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    """One bad row never stops the others: in loading, claiming, finding and getting."""
    membership = await store.join("a", 60)
    good, *bad = (new_record() for _ in range(6))
    await store.commit_inserts(membership, 1, [*bad, good], may_conflict=False)
    for record, change in zip(
        bad,
        (
            "state = 'canceled'",
            "args = '[1]'",
            "meta = '3'",
            "scheduled_at = 'infinity'",
            "tags = '{a,NULL}'",
        ),
        strict=True,
    ):
        await admin.sql(f"UPDATE kathikon.jobs SET {change} WHERE id = $1", as_uuid(record.id))
    assert await store.load_owned(membership, None, 2) == [as_stored(good, "a")]
    assert await store.find(Page()) == [as_stored(good, "a")]
    assert await store.get(bad[0].id) is None
    assert all(record.id.hex() in caplog.text.replace("-", "") for record in bad)
    await store.release(membership, [record.id for record in (good, *bad)])
    assert await store.claim(membership, ["default"], 10) == [as_stored(good, "a")]


async def test_args_with_odd_whitespace_are_read(store: PostgresStore, admin: Admin) -> None:
    """Rows that other programs wrote keep their spelling."""
    membership = await store.join("a", 60)
    record = new_record()
    await store.commit_inserts(membership, 1, [record], may_conflict=False)
    await admin.sql("UPDATE kathikon.jobs SET args = E' \\n{ \"a\" : 1 }'")
    assert json.decode((await store.load_owned(membership, None, 1))[0].args) == {"a": 1}


async def test_the_view_shows_every_job_with_history_and_errors_as_json(store: PostgresStore, admin: Admin) -> None:
    """`kathikon.all_jobs` is what an operator reads with psql."""
    membership = await store.join("a", 60)
    live, done = new_record(tags=("x",)), new_record()
    await store.commit_inserts(membership, 1, [live, done], may_conflict=False)
    ended = completed(done)
    await store.commit_outcomes(membership, 1, [ended])
    [(history,)] = await admin.sql("SELECT history::text FROM kathikon.all_jobs WHERE state = 'completed'")
    assert json.decode(history) == json.decode(b"[" + whole_history(ended) + b"]")
    assert await admin.sql(
        "SELECT id, state, node, tags, json_array_length(history), json_array_length(errors) "
        "FROM kathikon.all_jobs ORDER BY id"
    ) == [(as_uuid(live.id), "available", "a", ["x"], 1, 0), (as_uuid(done.id), "completed", "a", [], 3, 0)]


async def test_statements_prepared_on_empty_tables_use_the_index_when_they_have_grown(
    store: PostgresStore, admin: Admin
) -> None:
    """A plan kept from a node's start once read the whole table for each batch; now each row is looked up.

    Inserts with and without conflict, claims and their return, the shortest outcomes, longer ones, changes.
    """
    membership = await store.join("a", 60)

    async def work(first_batch: int) -> None:
        for batch in range(first_batch, first_batch + 7):
            for size in (1, 200):
                records = [new_record() for _ in range(size)]
                await store.commit_inserts(membership, batch, records, may_conflict=size == 1)
                await store.release(membership, [record.id for record in records])
                claimed = await store.claim(membership, ["default"], size)
                assert len(claimed) == size
                usual, shown = claimed[: size // 2], claimed[size // 2 :]
                for record in shown:
                    machine.begin(record, now_us())
                assert await store.commit_outcomes(membership, 3 * batch, shown) == set()
                for record in shown:
                    record.fence = 1
                    machine.complete(record, now_us(), b"1")
                ended = [*map(completed, usual), *shown]
                assert await store.commit_outcomes(membership, 3 * batch + 1, ended) == set()

    await work(1)
    await admin.sql("ANALYZE kathikon.jobs")
    await admin.sql(
        "INSERT INTO kathikon.jobs (id, owner, queue, worker, inserted_at, scheduled_at) "
        "SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN $1::integer END, 'big', 'w', now(), now() "
        "FROM generate_series(1, 60000) AS n",
        membership.node_id,
    )
    before = await scanned(admin, 0)
    await work(10)
    await store.load_owned(membership, None, 10)
    await store.close()
    after = await scanned(admin, before[1] + 1407)
    # Each row is looked up a few times; reading the table or an index from end to end even once adds 60,000.
    assert after[0] - before[0] < 45_000


async def scanned(admin: Admin, deleted: int) -> tuple[int, int]:
    """How many rows and index entries of `jobs` were read, and rows deleted, once the sessions told of the latter."""
    with trio.fail_after(20):
        while True:
            [(read, gone)] = await admin.sql(
                "SELECT t.seq_tup_read + sum(i.idx_tup_read)::bigint, t.n_tup_del "
                "FROM pg_stat_user_tables t JOIN pg_stat_user_indexes i USING (relid) "
                "WHERE t.relname = 'jobs' GROUP BY t.seq_tup_read, t.n_tup_del"
            )
            if gone >= deleted:
                return read, gone
            await trio.sleep(0.02)


# -- rows that no server takes


@pytest.mark.parametrize("composed", [False, True])
async def test_a_row_that_postgres_does_not_take_is_refused_and_nothing_of_its_batch_is_stored(
    store: PostgresStore, composed: bool
) -> None:
    """It is told apart from a server that is away: to try again would not help. The lane goes on with other rows."""
    membership = await store.join("n1", 30)
    bad = new_record(extra=Extra(partition_key="\ud800", unique_key=bytes(16) if composed else None))
    commit = store.commit_composed if composed else store.commit_inserts
    for number, records in enumerate(([new_record(), bad], [bad]), 1):
        with pytest.raises(RowsRefused, match="UTF-8|utf-8"):
            await commit(membership, number, records, may_conflict=False)
        assert await store.last_batch(membership, "inserts") == 0
    good = new_record()
    await store.commit_inserts(membership, 3, [good], may_conflict=False)
    assert [record.id for record in await store.find(Page())] == [good.id]


async def test_an_outcome_that_postgres_does_not_take_is_refused(store: PostgresStore) -> None:
    """The row stays as it was."""
    membership = await store.join("n1", 30)
    record = new_record()
    await store.commit_inserts(membership, 1, [record], may_conflict=False)
    done = completed(record)
    done.result = b"{"
    with pytest.raises(RowsRefused):
        await store.commit_outcomes(membership, 1, [done])
    assert await store.last_batch(membership, "outcomes") == 0
    stored = await store.get(record.id)
    assert stored is not None and stored.state == "available"
