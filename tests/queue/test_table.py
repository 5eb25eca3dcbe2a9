"""The table: lanes, room, routing, waiting, the end."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.border import Border
from kathikon_actors.store.lane_queue import MOST_BYTES, Insert, LaneQueue, without_repeats
from kathikon_actors.store.table import MAX_PENDING_INSERTS, Table
from kathikon_actors.store.waiting import MEMORABLE
from tests.jobs.make import NOW, record

# -- lanes ------------------------------------------------------------------------------------------------------


def test_a_batch_holds_all_that_waits_and_has_the_next_number() -> None:
    """Numbers grow by one; what comes after `take` is the next batch's; rows are counted while in flight."""
    lane: LaneQueue[str] = LaneQueue()
    lane.add("a", 2)
    lane.add("b", 3)
    first = lane.take()
    lane.add("c", 1)
    assert (first.number, first.entries, first.rows, first.in_doubt) == (1, ["a", "b"], 5, False)
    assert (lane.rows, lane.pending_rows) == (6, 1)
    lane.finished()
    second = lane.take()
    assert (second.number, second.entries, lane.rows) == (2, ["c"], 1)


def test_of_inserts_that_give_one_id_each_is_of_another_batch() -> None:
    """In their order; ids that nobody gave are not looked at."""
    lane: LaneQueue[Insert] = LaneQueue(lambda insert: len(insert.records), together=without_repeats)
    one, other, made = record(), record(id=bytes(16)), record(id=bytes([1] * 16))
    inserts = [Insert([row], may_conflict=row is not made) for row in (one, made, other, one, made, one, other)]
    for insert in inserts:
        lane.add(insert, 1)
    taken = []
    while lane.pending:
        batch = lane.take()
        taken.append((batch.entries, batch.rows, lane.pending_rows))
        lane.finished()
    assert taken == [(inserts[:3], 3, 4), (inserts[3:5], 2, 2), (inserts[5:], 2, 0)]


def test_a_batch_has_no_more_rows_than_wanted_but_one_entry_at_least() -> None:
    """What is left waits for the next one, in its order."""
    lane: LaneQueue[int] = LaneQueue(rows_of=lambda rows: rows)
    for rows in (2, 3, 4, 9, 1):
        lane.add(rows, rows)
    taken = []
    while lane.pending:
        batch = lane.take(5)
        taken.append((batch.entries, batch.rows, lane.pending_rows))
        lane.finished()
    assert taken == [([2, 3], 5, 14), ([4], 4, 10), ([9], 9, 1), ([1], 1, 0)]


def test_a_batch_is_no_longer_than_the_server_takes_but_has_one_entry_at_least() -> None:
    """Bytes count beside rows."""
    lane: LaneQueue[int] = LaneQueue(bytes_of=lambda size: size)
    third = MOST_BYTES // 3
    for size in (third, third, third, 1, 2 * MOST_BYTES, third, 1):
        lane.add(size, 1)
    taken = []
    while lane.pending:
        batch = lane.take(5)
        taken.append((len(batch.entries), batch.rows, lane.pending_rows))
        lane.finished()
    assert taken == [(4, 4, 3), (1, 1, 2), (2, 2, 0)]


async def test_what_a_batch_left_is_not_waited_for() -> None:
    """The next batch is there at once."""
    lane: LaneQueue[str] = LaneQueue()
    for entry in "ab":
        lane.add(entry, 1)
    lane.take(1)
    lane.finished()
    with trio.fail_after(5):
        await lane.wait_pending()
    assert lane.take(1).entries == ["b"]


def test_what_was_not_committed_goes_before_what_waits() -> None:
    """The order of entries holds over a failed batch."""
    lane: LaneQueue[str] = LaneQueue()
    lane.add("a", 1)
    lane.add("b", 1)
    batch = lane.take()
    lane.add("c", 1)
    lane.put_back(batch.entries, batch.rows)
    lane.finished()
    assert lane.take().entries == ["a", "b", "c"]


def test_only_an_entry_in_no_batch_can_be_taken_back() -> None:
    """What is in flight may be stored already."""
    lane: LaneQueue[str] = LaneQueue()
    lane.add("a", 1)
    lane.take()
    lane.add("b", 4)
    assert lane.remove("a", 1) is False
    assert lane.remove("b", 4) is True
    assert lane.remove("b", 4) is False
    assert lane.pending_rows == 0


async def test_waiting_for_entries_ends_with_the_first(autojump_clock: trio.testing.MockClock) -> None:
    """Nothing pending, nothing to do; at once when something is."""
    lane: LaneQueue[str] = LaneQueue()
    with trio.move_on_after(5) as scope:
        await lane.wait_pending()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.wait_pending)
        await trio.testing.wait_all_tasks_blocked()
        lane.add("a", 1)
    lane.take()
    with trio.move_on_after(5) as scope:
        await lane.wait_pending()
    assert scope.cancelled_caught


async def test_an_entry_that_was_taken_back_lets_the_lane_sleep(autojump_clock: trio.testing.MockClock) -> None:
    """Waking for nothing is once at the most: the lane does not spin on an event that stays set."""
    lane: LaneQueue[str] = LaneQueue()
    lane.add("a", 1)
    lane.remove("a", 1)
    with trio.move_on_after(5) as scope:
        await lane.wait_pending()
    assert scope.cancelled_caught, "the clock jumps only while every task sleeps"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.wait_pending)
        await trio.testing.wait_all_tasks_blocked()
        lane.add("b", 1)
        lane.remove("b", 1)
        await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        lane.add("c", 1)


async def test_room_comes_when_a_batch_ends_or_an_entry_is_taken_back() -> None:
    """A waiter goes on as soon as fewer rows wait than the limit, whatever made it so."""
    for end in ("finished", "removed", "closed"):
        lane: LaneQueue[str] = LaneQueue()
        lane.add("a", 10)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.wait_room, 10)
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1
            if end == "finished":
                lane.take()
                lane.finished()
            elif end == "removed":
                lane.remove("a", 10)
            else:
                lane.close()
        await lane.wait_room(11)


# -- inserts ----------------------------------------------------------------------------------------------------


async def test_a_committed_insert_is_acknowledged_adopted_and_routed() -> None:
    """Its rows are the node's from the commit on, and only then go to the producer."""
    table, got = Table(), []
    assert table.attach_producer("default", got.extend) == []
    job = record()
    insert = await table.submit([job], may_conflict=False)
    assert (got, table.records, table.inserts.pending_rows) == ([], {}, 1)
    table.inserts.take()
    table.stored([insert])
    assert await table.committed(insert) == set()
    assert got == [job]
    assert (table.records, job.fence) == ({job.id: job}, 0)


async def test_rows_that_existed_are_told_and_not_adopted() -> None:
    """A conflict leaves the stored row alone, and what is here as well."""
    table = Table()
    old, new = record(1), record(2)
    insert = await table.submit([old, new], may_conflict=True)
    table.inserts.take()
    insert.existing = {old.id}
    table.stored([insert])
    assert await table.committed(insert) == {old.id}
    assert set(table.records) == {new.id}


async def test_a_refused_insert_raises_its_error() -> None:
    """Who waits learns why nothing was stored."""
    table = Table()
    insert = await table.submit([record()], may_conflict=False)
    insert.finish(StoreUnavailable("cut"))
    with pytest.raises(StoreUnavailable, match="cut"):
        await table.committed(insert)


async def test_a_cancelled_insert_is_taken_back_unless_it_is_in_flight(autojump_clock: trio.testing.MockClock) -> None:
    """What is in no batch yet will not be stored; what is may be."""
    table = Table()
    for in_flight in (False, True):
        insert = await table.submit([record()], may_conflict=False)
        if in_flight:
            table.inserts.take()
        with trio.move_on_after(1):
            await table.committed(insert)
        assert table.inserts.pending_rows == 0
        assert table.inserts.rows == (1 if in_flight else 0)


async def test_an_insert_waits_while_too_many_rows_wait() -> None:
    """The lane is bounded: an insert beyond it is not queued until a batch has ended."""
    table = Table()
    table.inserts.add(Insert([]), MAX_PENDING_INSERTS)
    done = []

    async def insert() -> None:
        done.append(await table.submit([record()], may_conflict=False))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(insert)
        await trio.testing.wait_all_tasks_blocked()
        assert not done
        table.inserts.take()
        table.inserts.finished()
    assert len(done) == 1
    assert table.inserts.pending_rows == 1


# -- routing ----------------------------------------------------------------------------------------------------


def test_a_record_goes_to_who_acts_on_its_state() -> None:
    """Available to its queue's producer, due later to the scheduler, everything else to nobody."""
    table = Table()
    mail: list[Record] = []
    later: list[Record] = []
    table.attach_producer("mail", mail.extend)
    table.attach_scheduler(later.append)
    jobs = [
        record(1, queue="mail"),
        record(2, queue="mail", state="scheduled"),
        record(3, queue="mail", state="retryable"),
        record(4, queue="mail", state="executing"),
        record(5, queue="pdf"),
        record(6, queue="mail"),
    ]
    table.adopt(jobs)
    assert [job.id[-1] for job in mail] == [1, 6]
    assert [job.id[-1] for job in later] == [2, 3]
    assert len(table.records) == 6


def test_who_comes_back_finds_what_it_missed() -> None:
    """A producer or scheduler that attaches is given what is here; its predecessor can not detach it."""
    table = Table()
    table.adopt([record(1), record(2, state="retryable"), record(3, queue="mail"), record(4, state="executing")])
    old: list[Record] = []
    new: list[Record] = []
    push_old, push_new = old.extend, new.extend
    schedule_old, schedule_new = old.append, new.append
    table.attach_producer("default", push_old)
    assert [job.id[-1] for job in table.attach_producer("default", push_new)] == [1]
    table.attach_scheduler(schedule_old)
    assert [job.id[-1] for job in table.attach_scheduler(schedule_new)] == [2]
    table.detach_producer("default", push_old)
    table.detach_scheduler(schedule_old)
    table.adopt([record(5), record(6, state="scheduled")])
    assert (old, [job.id[-1] for job in new]) == ([], [6, 5])
    table.detach_producer("default", push_new)
    table.detach_scheduler(schedule_new)
    table.adopt([record(7), record(8, state="scheduled")])
    assert len(new) == 2


def test_a_record_that_is_here_is_not_adopted_again() -> None:
    """Claimed or loaded twice, it is handed out once."""
    table, got = Table(), []
    table.attach_producer("default", got.extend)
    job = record()
    table.adopt([job])
    table.adopt([record()])
    assert len(got) == 1
    assert table.records[job.id] is job


# -- outcomes ---------------------------------------------------------------------------------------------------


def finish(table: Table, job: Record) -> None:
    machine.begin(job, NOW)
    machine.complete(job, NOW, b"1")
    table.changed([job])


def test_a_changed_record_waits_once_for_the_journal() -> None:
    """However often it changes before the commit, it is one row of the batch."""
    table = Table()
    job = record()
    table.adopt([job])
    machine.begin(job, NOW)
    table.changed([job])
    machine.complete(job, NOW, b"1")
    table.changed([job])
    assert table.outcomes.pending == [job]
    assert (table.outcomes.rows, job.dirty) == (1, True)


async def test_an_end_is_told_when_it_is_committed_and_not_before() -> None:
    """A result nobody committed is told to nobody."""
    table = Table()
    job = record()
    table.adopt([job])
    ended: list[Record | None] = []

    async def wait() -> None:
        ended.append(await table.wait_ended(job.id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        finish(table, job)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
        job.dirty = False
        table.written([(job, 1)], set())
    assert ended == [job, job]
    assert (table.records, job.fence) == ({}, 1)
    assert await table.wait_ended(job.id) is job, "completed is final, so it is remembered"


@pytest.mark.parametrize(
    "long",
    [
        {"args": b'{"a":"%b"}' % (b"x" * MEMORABLE)},
        {"meta": b'{"a":"%b"}' % (b"x" * MEMORABLE)},
        {"extra": Extra(dependency_results=b"x" * MEMORABLE)},
    ],
)
async def test_a_long_job_is_not_kept_in_memory_when_it_has_ended(long: dict[str, Any]) -> None:
    """Thousands of those would fill it: the store knows."""
    table = Table()
    job = record(**long)
    table.adopt([job])
    finish(table, job)
    job.dirty = False
    table.written([(job, 1)], set())
    assert await table.wait_ended(job.id) is None


def test_late_inserts_are_taken_back_and_the_others_stay() -> None:
    """Each is told, and their places are free."""
    table = Table({"default": Border(100)})
    inserts = [Insert([record(number)], deadline=number % 3) for number in range(9)]
    for insert in inserts:
        table.borders["default"].held += 1
        table.inserts.add(insert, 1)
    table.expire(1)
    assert table.inserts.pending == [inserts[2], inserts[5], inserts[8]]
    assert (table.inserts.pending_rows, table.borders["default"].held) == (3, 3)
    assert [isinstance(insert.error, StoreUnavailable) for insert in inserts] == [True, True, False] * 3


async def test_a_record_that_changed_during_its_commit_stays() -> None:
    """What is committed is the fence of the next write; the end that came meanwhile is not told yet."""
    table = Table()
    job = record()
    table.adopt([job])
    machine.begin(job, NOW)
    job.dirty = False
    finishing = job.attempt
    machine.complete(job, NOW, b"1")
    table.changed([job])
    table.written([(job, finishing)], set())
    assert table.records == {job.id: job}
    assert (job.fence, job.dirty) == (1, True)


async def test_a_fenced_record_is_let_go_and_its_waiters_ask_the_store() -> None:
    """Another owner has it: its end here is worth nothing."""
    table = Table()
    job = record()
    table.adopt([job])
    async with trio.open_nursery() as nursery:
        result: list[Record | None] = []

        async def wait() -> None:
            result.append(await table.wait_ended(job.id))

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        finish(table, job)
        job.dirty = False
        table.written([(job, 1)], {job.id})
    assert result == [None]
    assert table.records == {}
    assert job.fence == -1


async def test_a_waiter_that_gives_up_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    """Thousands of waits with a timeout leave no trace."""
    table = Table()
    table.adopt([record()])
    with trio.move_on_after(1):
        await table.wait_ended(record().id)
    assert table._waiters == {}


# -- the end ----------------------------------------------------------------------------------------------------


async def test_a_closed_table_lets_everybody_go() -> None:
    """Inserts in flight and waiting, those without room, waiters of ends: each is told, none hangs."""
    table = Table()
    job = record(9)
    table.adopt([job])
    told: list[object] = []

    async def insert(number: int) -> None:
        try:
            await table.committed(await table.submit([record(number)], may_conflict=False))
        except StoreUnavailable as error:
            told.append(str(error))

    async def wait() -> None:
        told.append(await table.wait_ended(job.id))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(insert, 1)
        await trio.testing.wait_all_tasks_blocked()
        table.inserts.take()
        nursery.start_soon(insert, 2)
        await trio.testing.wait_all_tasks_blocked()
        table.inserts.pending_rows += MAX_PENDING_INSERTS
        nursery.start_soon(insert, 3)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        table.close()
    assert len(told) == 4
    assert told.count(None) == 1
    assert sum("may or may not be stored" in str(what) for what in told) == 2
    assert sum("starting again" in str(what) for what in told) == 1
    with pytest.raises(StoreUnavailable, match="insert again in a moment"):
        await table.submit([record()], may_conflict=False)
