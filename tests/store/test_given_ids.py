"""An id is one job's for ever: whoever gives it again is refused, also while that job ends and once it is archived."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from copy import copy
from typing import Any

import asyncpg
import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import AlreadyExists, JobNotFound, KathikonError
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.jobs.states import Action
from kathikon_actors.store.connection import Connection, open_loop
from kathikon_actors.store.outside import insert_composed_rows, insert_rows
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Membership, Store
from kathikon_actors.store.urls import parse_store_url
from tests.support.records import completed, new_record, now_us
from tests.support.rounds import rounds
from tests.support.waiting import eventually

Insert = Callable[[Any, Record], Awaitable[None]]

PLACES = """
    SELECT 'jobs' FROM kathikon.jobs WHERE id = $1 UNION ALL SELECT 'finished' FROM kathikon.finished_jobs WHERE id = $1
"""


class Session:
    """A connection of the test's own, beside the store's; a transaction may be open on it."""

    def __init__(self, dsn: str) -> None:
        self.connection = Connection(parse_store_url(dsn), 20)

    async def sql(self, text: str, *args: Any) -> list[Any]:
        """Run one statement; give the first column."""

        async def fetch(raw: Any) -> list[Any]:
            return [row[0] for row in await raw.fetch(text, *args)]

        return await self.connection.run(fetch)


class Place:
    """A database, with a store on it and sessions beside that."""

    def __init__(self, dsn: str, stack: AsyncExitStack) -> None:
        self.store = PostgresStore(dsn, timeout=20)
        self._dsn = dsn
        self._stack = stack

    def session(self) -> Session:
        """Give one more session; it is closed when the test ends."""
        session = Session(self._dsn)
        self._stack.push_async_callback(session.connection.close)
        return session


@pytest.fixture
async def database(postgres_dsn: str) -> AsyncIterator[Place]:
    async with open_loop(), AsyncExitStack() as stack:
        place = Place(postgres_dsn, stack)
        await place.store.open()
        stack.push_async_callback(place.store.close)
        yield place


async def waits(session: Session) -> bool:
    """Whether somebody waits for a lock."""
    return bool(await session.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' LIMIT 1"))


async def refusal(raw: Any, insert: Insert, record: Record) -> Exception | None:
    """Try an insert within the open transaction, which goes on."""
    await raw.execute("SAVEPOINT before")
    try:
        await insert(raw, record)
    except (AlreadyExists, asyncpg.PostgresError) as error:
        await raw.execute("ROLLBACK TO SAVEPOINT before")
        return error
    return None


async def with_sql(raw: Any, record: Record) -> None:
    await raw.fetchval("SELECT kathikon.insert_job('noop', id => $1)", as_uuid(record.id))


async def plain(raw: Any, record: Record) -> None:
    for refusal in (await insert_rows(raw, [record])).values():
        raise refusal


async def composed(raw: Any, record: Record) -> None:
    answer = (await insert_composed_rows(raw, [record]))[record.id]
    if answer.error is not None:
        raise answer.error


async def planted_twice(store: PostgresStore, session: Session, member: Membership, batch: int) -> list[Record]:
    """Two jobs that have ended, and whose ids live again beside them, owned by the member."""
    records = [new_record(), new_record()]
    await store.commit_inserts(member, batch, records, may_conflict=False)
    await store.commit_outcomes(member, batch, [completed(record, b'"first"') for record in records])
    again = [new_record(id=record.id) for record in records]
    for record in again:
        await session.sql(
            "INSERT INTO kathikon.jobs (owner, inserted_at, scheduled_at, id, queue, worker) "
            "VALUES ($1, now(), now(), $2, 'default', 'noop')",
            member.node_id,
            as_uuid(record.id),
        )
    return again


async def test_an_id_given_in_sql_while_its_job_ends_is_refused(database: Place) -> None:
    """The insert waits for the end, which it has not seen, and looks again."""
    store, ender, inserter = database.store, database.session(), database.session()
    member = await store.join("a", 60)
    record = new_record()
    await store.commit_inserts(member, 1, [record], may_conflict=False)
    await ender.sql("BEGIN")
    await ender.sql(
        "WITH gone AS (DELETE FROM kathikon.jobs WHERE id = $1 RETURNING *) "
        "INSERT INTO kathikon.finished_jobs SELECT * FROM gone RETURNING id",
        as_uuid(record.id),
    )
    refused: list[asyncpg.UniqueViolationError] = []

    async def insert() -> None:
        try:
            await inserter.connection.run(with_sql, record)
        except asyncpg.UniqueViolationError as error:
            refused.append(error)

    looker = database.session()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(insert)
        await eventually(lambda: waits(looker), "the insert waits for the end")
        await ender.sql("COMMIT")
    assert [str(error) for error in refused] == [f"there is a job with id {as_uuid(record.id)} already"]
    assert await ender.sql(PLACES, as_uuid(record.id)) == ["finished"]


async def test_an_id_given_in_sql_again_and_again_while_its_job_ends_is_stored_once(database: Place) -> None:
    """400 rounds of an end and an insert at once."""
    store, session = database.store, database.session()
    member = await store.join("a", 60)
    for number in range(1, rounds(400) + 1):
        record = new_record()
        await store.commit_inserts(member, number, [record], may_conflict=False)

        async def insert(record: Record = record) -> None:
            with pytest.raises(asyncpg.UniqueViolationError):
                await session.connection.run(with_sql, record)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert)
            nursery.start_soon(store.commit_outcomes, member, number, [completed(record)])
        assert await session.sql(PLACES, as_uuid(record.id)) == ["finished"]


@pytest.mark.parametrize("lies", ["finished", "archived"])
@pytest.mark.parametrize("insert", [with_sql, plain, composed])
@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
async def test_a_transaction_whose_snapshot_is_older_than_the_end_is_refused_the_id(
    database: Place, isolation: str, insert: Insert, lies: str
) -> None:
    """It still sees the job live; the other rows of the transaction are stored."""
    store, session = database.store, database.session()
    member = await store.join("a", 60)
    record = new_record()
    await store.commit_inserts(member, 1, [record], may_conflict=False)
    await session.sql(f"BEGIN ISOLATION LEVEL {isolation}")
    assert await session.sql("SELECT count(*) FROM kathikon.jobs") == [1]
    await store.commit_outcomes(member, 1, [completed(record, b"7")])
    if lies == "archived":
        assert (await store.prune(Retention(archive_after=1e-6))).archived == 1
    others = [new_record(), new_record()]
    await session.connection.run(insert, others[0])
    again = new_record(id=record.id, inserted_at=record.inserted_at + 1)
    error = await session.connection.run(refusal, insert, again)
    assert isinstance(error, asyncpg.UniqueViolationError if insert is with_sql else AlreadyExists)
    await session.connection.run(insert, others[1])
    await session.sql("COMMIT")
    found = await store.get(record.id)
    assert found is not None and (found.state, found.result) == ("completed", b"7")
    assert await session.sql(PLACES, as_uuid(record.id)) == (["finished"] if lies == "finished" else [])
    claimed = await store.claim(member, ["default"], 10)
    assert {row.id for row in claimed} == {other.id for other in others}


async def test_a_node_that_decides_on_an_id_sees_a_job_that_came_and_ended_meanwhile(database: Place) -> None:
    """The insert had looked before, and waits for a job that it depends on; then it decides anew."""
    store, session, ender = database.store, database.session(), database.session()
    member, other = await store.join("a", 60), await store.join("b", 60)
    parent = new_record()
    await store.commit_inserts(member, 1, [parent], may_conflict=False)
    await session.sql("BEGIN")
    await session.sql("SELECT id FROM kathikon.jobs WHERE id = $1 FOR UPDATE", as_uuid(parent.id))
    record = new_record(state="blocked", extra=Extra(depends_on=(parent.id,)))
    errors: list[KathikonError | None] = []

    async def insert() -> None:
        answers = await store.commit_composed(member, 2, [record], may_conflict=True, unowned={record.id})
        errors.append(answers[record.id].error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(insert)
        await eventually(lambda: waits(ender), "the insert waits for its parent")
        await ender.sql(
            "INSERT INTO kathikon.finished_jobs (owner, inserted_at, scheduled_at, id, state, queue, worker) "
            "VALUES ($1, now(), now(), $2, 'completed', 'default', 'noop')",
            other.node_id,
            as_uuid(record.id),
        )
        await session.sql("COMMIT")
    assert [type(error) for error in errors] == [AlreadyExists]
    assert await session.sql(PLACES, as_uuid(record.id)) == ["finished"]


async def test_of_an_id_that_was_stored_twice_the_first_job_stays_and_the_second_goes(database: Place) -> None:
    """However the second one ends: by its node, at the first attempt or later, by an operator, by a filter."""
    store, session = database.store, database.session()
    member = await store.join("a", 60)

    async def left(records: list[Record]) -> None:
        for record in records:
            assert await session.sql(PLACES, as_uuid(record.id)) == ["finished"]
            found = await store.get(record.id)
            assert found is not None and found.result == b'"first"'

    usual, other = await planted_twice(store, session, member, 1), new_record()
    await store.commit_inserts(member, 2, [other], may_conflict=False)
    ended = [completed(usual[0]), completed(usual[1], b'"second"'), completed(other, b"7")]
    ended[1].tags = ("so that it travels with every column",)
    assert await store.commit_outcomes(member, 2, ended) == {record.id for record in usual}
    await left(usual)
    found = await store.get(other.id)
    assert found is not None and found.result == b"7"

    longer = await planted_twice(store, session, member, 3)
    for record in longer:
        record.progress = 7
    ended = [completed(record, b'"second"') for record in longer]
    for record in ended:
        record.errors = b'{"kind":"x"}'
    assert await store.commit_outcomes(member, 4, ended) == {record.id for record in longer}
    await left(longer)

    free = await planted_twice(store, session, member, 5)
    await store.release(member, [record.id for record in free])
    await store.change(free[0].id, Change("cancel", now_us()))
    asked = await store.request(Filter(), Change("retry", now_us()))
    assert free[1].id not in asked.done
    asked = await store.request(Filter(), Change("cancel", now_us()))
    assert asked.done == [free[1].id] and not asked.errors
    await left(free)


async def test_an_archived_id_is_not_given_again(store: Store) -> None:
    """By a node and from outside, plain or composed; the stored row is unchanged."""
    member = await store.join("a", 60)
    record = new_record()
    await store.commit_inserts(member, 1, [record], may_conflict=False)
    await store.commit_outcomes(member, 1, [completed(record, b"7")])
    assert (await store.prune(Retention(archive_after=1e-6))).archived == 1
    again = new_record(id=record.id, inserted_at=record.inserted_at + 1)
    linked = new_record(id=record.id, inserted_at=record.inserted_at + 1, extra=Extra(unique_key=bytes(16)))

    assert await store.commit_inserts(member, 2, [again, new_record()], may_conflict=True) == {record.id}
    assert await store.insert_unowned([again, new_record()]) == {record.id}
    answers = await store.commit_composed(member, 3, [linked], may_conflict=True)
    assert isinstance(answers[record.id].error, AlreadyExists)
    for whole in (False, True):
        answers = await store.insert_composed([linked], whole=whole)
        assert isinstance(answers[record.id].error, AlreadyExists)
    found = await store.get(record.id)
    assert found is not None and (found.result, found.state) == (b"7", "completed")

    # One that is tried again is this very row, as before.
    assert await store.commit_inserts(member, 4, [record], may_conflict=True) == set()
    assert len(await store.claim(member, ["default"], 10)) == 1


async def test_an_archived_job_is_a_parent_like_any_other_that_has_ended(store: Store) -> None:
    """It does not wait, and has the result; of one that failed it is cancelled."""
    member = await store.join("a", 60)
    done, failed = new_record(), new_record()
    await store.commit_inserts(member, 1, [done, failed], may_conflict=False)
    discarded = copy(failed)
    discarded.fence = 0
    machine.discard(discarded, now_us())
    await store.commit_outcomes(member, 1, [completed(done, b"7"), discarded])
    assert (await store.prune(Retention(archive_after=1e-6))).archived == 2
    children = [new_record(state="blocked", extra=Extra(depends_on=(parent.id,))) for parent in (done, failed)]
    answers = await store.commit_composed(
        member, 2, children, may_conflict=False, unowned={child.id for child in children}
    )
    assert not any(answer.error for answer in answers.values())
    ready, doomed = [await store.get(child.id) for child in children]
    assert ready is not None and (ready.state, Job(ready).dependency_results) == ("available", {as_uuid(done.id): 7})
    assert doomed is not None and doomed.state == "cancelled"
    late = new_record(state="blocked", extra=Extra(depends_on=(done.id,)))
    answers = await store.insert_composed([late], whole=True)
    assert answers.get(late.id) is None or answers[late.id].error is None


@pytest.mark.parametrize("action", ["cancel", "discard", "retry", "rerun"])
async def test_what_cannot_be_done_with_an_archived_job_says_so(store: Store, action: Action) -> None:
    """It is there to be read, so it is not said that it is not; one that is nowhere is not found."""
    member = await store.join("a", 60)
    record = new_record()
    await store.commit_inserts(member, 1, [record], may_conflict=False)
    await store.commit_outcomes(member, 1, [completed(record)])
    assert (await store.prune(Retention(archive_after=1e-6))).archived == 1
    with pytest.raises(JobNotFound, match="is archived and can only be read") as refused:
        await store.change(record.id, Change(action, now_us(), new_id=new_record().id))
    assert refused.value.archived
    with pytest.raises(JobNotFound, match="no job with id"):
        await store.change(new_record().id, Change(action, now_us(), new_id=new_record().id))


async def test_archiving_takes_away_nothing_that_it_does_not_keep(database: Place) -> None:
    """A job whose id is in the archive already stays among those that have ended; the others move."""
    store, session = database.store, database.session()
    member = await store.join("a", 60)
    first, other = new_record(), new_record()
    await store.commit_inserts(member, 1, [first, other], may_conflict=False)
    await store.commit_outcomes(member, 1, [completed(first, b"1"), completed(other)])
    await session.sql(
        "INSERT INTO kathikon.archived_jobs SELECT * FROM kathikon.finished_jobs WHERE id = $1", as_uuid(first.id)
    )
    assert (await store.prune(Retention(archive_after=1e-6))).archived == 1
    assert await session.sql("SELECT id FROM kathikon.finished_jobs") == [as_uuid(first.id)]
    assert len(await session.sql("SELECT id FROM kathikon.archived_jobs")) == 2
