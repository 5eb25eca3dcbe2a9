"""What every store promises: each sentence of the protocol, for memory and for Postgres."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any, TypeVar

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.errors import AlreadyExists, LeaseLost, NodeNameTaken, StoreUnavailable
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.store.protocol import Counts, Membership, Page, Store
from kathikon_actors.telemetry import BatchChanged, Bus, Event, JobTransition, NodeChanged
from kathikon_actors.telemetry.jobs import JobWatch
from tests.store.conftest import Backend
from tests.store.test_graph import a_desk, callback, child, ended, member, new_batch, unique
from tests.support.records import MINUTE, as_stored, completed, new_record, now_us

T = TypeVar("T")

SIZES = pytest.mark.parametrize("size", [1, 7, 300])
"""One statement, one statement, COPY."""


def by_id(records: list[Record]) -> dict[bytes, Record]:
    return {record.id: record for record in records}


def rich_record(**fields: Any) -> Record:
    """Every field differs from its default."""
    return new_record(
        **{
            "queue": "größe",
            "worker": "shop.charge",
            "args": b'{"b":1,"a":[1.0,1e22,-0.0,"\xc3\xbc\\"\\\\",{"x":null}]}',
            "meta": b'{"trace":"0af7"}',
            "tags": ("vip", 'say "hi"', "back\\slash", "a,b", "{}", "NULL", " "),
            "state": "scheduled",
            "priority": -5,
            "max_attempts": 7,
            "scheduled_at": now_us() + MINUTE,
            "timeout": 0.1,
            "keep_result": False,
            "orphaned": 1,
            "rerun_of": bytes(range(16)),
            "original_id": bytes(range(1, 17)),
            "extra": Extra(
                unique_key=bytes(range(2, 18)),
                guarded=3,
                partition_key="tenant ü",
                depends_on=(bytes(range(3, 19)), bytes(range(4, 20))),
                on_dependency_failure="run",
                dependency_results=b'"03040506-0708-090a-0b0c-0d0e0f101112":[1,"\xc3\xbc"]',
                batch_id=bytes(range(5, 21)),
                parent_id=bytes(range(6, 22)),
            ),
            **fields,
        }
    )


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """Call again while the store is cut off, as its users do."""
    with trio.fail_after(10):
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await trio.sleep(0.01)


async def take_over(store: Store, node: str) -> Membership:
    """Join as soon as the lease of the present life has run out."""
    with trio.fail_after(10):
        while True:
            try:
                return await store.join(node, 30)
            except NodeNameTaken:
                await trio.sleep(0.005)


async def unowned(store: Store, records: list[Record]) -> None:
    """Store rows that nobody owns."""
    membership = await store.join("giver", 30)
    await store.commit_inserts(membership, 1, records, may_conflict=False)
    await store.release(membership, [record.id for record in records])


# --- names, leases, epochs


async def test_each_life_of_a_name_has_the_same_number_and_a_higher_epoch(store: Store) -> None:
    """`node_id` belongs to the name, `epoch` to its life."""
    first = await store.join("a", 30)
    second = await store.join("a", 30)
    other = await store.join("b", 30)
    assert first.node == second.node == "a"
    assert first.node_id == second.node_id != other.node_id
    assert second.epoch > first.epoch >= 1


async def test_the_name_of_a_live_node_is_refused_with_the_seconds_left(backend: Backend) -> None:
    """A second node cannot take the name while the first holds session and lease."""
    first, second = await backend.connect(), await backend.connect()
    membership = await first.join("a", 30)
    with pytest.raises(NodeNameTaken) as caught:
        await second.join("a", 30)
    assert caught.value.node == "a" and 20 < caught.value.seconds <= 30
    await first.renew(membership, 30)


async def test_a_name_whose_session_ended_is_taken_over_at_once(backend: Backend) -> None:
    """A restarted node need not wait for the lease of the process that was killed."""
    first, second = await backend.connect(), await backend.connect()
    old = await first.join("a", 3600)
    await first.close()
    new = await take_over(second, "a")  # at once, but for the moment that a busy server takes to end the session
    assert new.epoch > old.epoch


async def test_an_expired_lease_is_taken_over_and_the_old_life_is_fenced(backend: Backend) -> None:
    """A stopped process that comes back can do nothing more under its old epoch."""
    first, second = await backend.connect(), await backend.connect()
    old = await first.join("a", 0.02)
    mine = new_record()
    await retried(lambda: first.commit_inserts(old, 1, [mine], may_conflict=False))
    new = await take_over(second, "a")
    late = [new_record() for _ in range(100)]
    for call in (
        lambda: first.renew(old, 30),
        lambda: first.commit_inserts(old, 2, late, may_conflict=False),
        lambda: first.commit_inserts(old, 2, late[:1], may_conflict=False),
        lambda: first.commit_inserts(old, 2, late, may_conflict=True),
        lambda: first.commit_outcomes(old, 2, [completed(mine)]),
        lambda: first.last_batch(old, "inserts"),
        lambda: first.load_owned(old, None, 10),
        lambda: first.claim(old, ["default"], 10),
        lambda: first.release(old, [mine.id]),
    ):
        with pytest.raises(LeaseLost) as caught:
            await retried(call)
        assert (caught.value.node, caught.value.epoch) == ("a", old.epoch)
    assert await second.find(Page()) == [as_stored(mine, "a")]
    assert await second.load_owned(new, None, 10) == [as_stored(mine, "a")]


async def test_renewing_moves_the_end_of_the_lease(backend: Backend) -> None:
    """The lease counts from the renewal, by the store's clock."""
    first, second = await backend.connect(), await backend.connect()
    membership = await first.join("a", 5)
    await first.renew(membership, 100)
    with pytest.raises(NodeNameTaken) as caught:
        await second.join("a", 30)
    assert 90 < caught.value.seconds <= 100


async def test_renewing_an_epoch_that_was_replaced_is_refused(store: Store) -> None:
    """Also when the same store joined again."""
    old = await store.join("a", 30)
    await store.join("a", 30)
    with pytest.raises(LeaseLost):
        await store.renew(old, 30)


async def test_leaving_frees_the_name_and_keeps_the_rows_for_its_next_life(backend: Backend) -> None:
    """What left commits nothing more; its rows wait for the name."""
    first, second = await backend.connect(), await backend.connect()
    old = await first.join("a", 30)
    record = new_record()
    await first.commit_inserts(old, 1, [record], may_conflict=False)
    await first.leave(old)
    for call in (
        lambda: first.renew(old, 30),
        lambda: first.commit_inserts(old, 2, [new_record()], may_conflict=False),
        lambda: first.claim(old, ["default"], 1),
    ):
        with pytest.raises(LeaseLost):
            await call()
    new = await second.join("a", 30)
    assert await second.load_owned(new, None, 10) == [as_stored(record, "a")]


async def test_leaving_late_does_not_disturb_the_next_life(store: Store) -> None:
    """`leave` under a replaced epoch has no effect."""
    old = await store.join("a", 30)
    new = await store.join("a", 30)
    await store.leave(old)
    await store.renew(new, 30)
    assert await store.commit_inserts(new, 1, [new_record()], may_conflict=False) == set()


# --- inserts


@SIZES
@pytest.mark.parametrize("may_conflict", [False, True])
async def test_a_row_comes_back_exactly_as_it_was_stored(store: Store, size: int, may_conflict: bool) -> None:
    """Every field, byte for byte; the owner's name stands in `node`, the stored attempt in `fence`."""
    membership = await store.join("a", 30)
    records = [rich_record() if number % 2 else new_record() for number in range(size)] + [rich_record()]
    before = [copy(record) for record in records]
    assert await store.commit_inserts(membership, 1, records, may_conflict=may_conflict) == set()
    assert records == before
    for record in records:
        assert await store.get(record.id) == as_stored(record, "a")
    assert await store.load_owned(membership, None, 1000) == [as_stored(record, "a") for record in records]


UNUSUAL: dict[str, dict[str, Any]] = {
    "state": {"state": "scheduled"},
    "attempt": {"attempt": 2},
    "attempted_at": {"attempted_at": 1_700_000_000_000_000},
    "finished_at": {"finished_at": 1_700_000_000_000_000},
    "meta": {"meta": b'{"a":1}'},
    "tags": {"tags": ("a",)},
    "history": {"history": b'[1,"inserted",null,"available"]'},
    "errors": {"errors": b'{"kind":"x"}'},
    "result": {"result": b"1"},
    "keep_result": {"keep_result": False},
    "progress": {"progress": 7},
    "orphaned": {"orphaned": 1},
    "rerun_of": {"rerun_of": bytes(16), "original_id": bytes(15) + b"1"},
    "args": {"args": b' {"a" : 1}'},
    "priority": {"priority": -3, "max_attempts": 9, "timeout": 1.5, "queue": "other", "worker": "w"},
    "partition_key": {"extra": Extra(partition_key="p")},
    "parent_id": {"extra": Extra(parent_id=bytes(16))},
    "guarded": {"extra": Extra(guarded=0)},
    "dependency_results": {"extra": Extra(dependency_results=b'"x":1')},
    "on_dependency_failure": {"extra": Extra(on_dependency_failure="run")},
}


OF_RUNS = {"attempt", "finished_at", "errors", "result", "progress"}
"""What no new job has."""


async def test_a_node_loads_each_row_whatever_is_unusual_about_it(store: Store) -> None:
    """What most rows have is not sent; one field that differs is enough for all of them."""
    membership = await store.join("a", 30)
    records = []
    for fields in UNUSUAL.values():
        records += [new_record(), new_record(**fields)]
    assert await store.commit_inserts(membership, 1, records, may_conflict=False) == set()
    loaded = await store.load_owned(membership, None, 1000)
    assert loaded == [as_stored(record, "a") for record in records]


async def test_many_jobs_of_partitions_are_stored_whatever_is_unusual_about_one_of_them(store: Store) -> None:
    """Partitions and tags alone go by a narrow way; one field that differs is enough for the wide one."""
    membership = await store.join("a", 30)
    for batch, name in enumerate(UNUSUAL.keys() - OF_RUNS, 1):
        records = [
            new_record(extra=Extra(partition_key=f"t{number}") if number % 3 else None, tags=("x",) * (number % 2))
            for number in range(60)
        ]
        records.insert(7 * batch % 60, new_record(**UNUSUAL[name]))
        assert await store.commit_inserts(membership, batch, records, may_conflict=False) == set()
        loaded = {record.id: record for record in await store.load_owned(membership, None, 10_000)}
        assert [loaded[record.id] for record in records] == [as_stored(record, "a") for record in records], name


@SIZES
async def test_without_may_conflict_an_id_that_exists_is_an_error_and_nothing_is_stored(
    store: Store, size: int
) -> None:
    """The stored row stays as it is, the rest of the batch is not stored, and the store goes on."""
    membership = await store.join("a", 30)
    stored = new_record(worker="first")
    await store.commit_inserts(membership, 1, [stored], may_conflict=False)
    batch = [new_record() for _ in range(size)] + [new_record(id=stored.id, worker="second")]
    with pytest.raises(AlreadyExists) as caught:
        await store.commit_inserts(membership, 2, batch, may_conflict=False)
    assert caught.value.job_id.bytes == stored.id  # type: ignore[attr-defined]
    assert await store.find(Page()) == [as_stored(stored, "a")]
    assert await store.last_batch(membership, "inserts") == 1
    assert await store.commit_inserts(membership, 2, [new_record()], may_conflict=False) == set()


@SIZES
async def test_with_may_conflict_ids_that_exist_are_reported_and_their_rows_unchanged(store: Store, size: int) -> None:
    """Live rows, finished rows and rows of other nodes count as existing; the others are stored."""
    other = await store.join("b", 30)
    membership = await store.join("a", 30)
    live, finished, foreign = new_record(), new_record(), new_record()
    await store.commit_inserts(other, 1, [foreign], may_conflict=False)
    await store.commit_inserts(membership, 1, [live, finished], may_conflict=False)
    await store.commit_outcomes(membership, 1, [completed(finished)])
    taken = [new_record(id=record.id, inserted_at=record.inserted_at + 1) for record in (live, finished, foreign)]
    fresh = [new_record() for _ in range(size)]
    existed = await store.commit_inserts(membership, 2, [*taken, *fresh], may_conflict=True)
    assert existed == {live.id, finished.id, foreign.id}
    assert await store.get(live.id) == as_stored(live, "a")
    assert (await found(store, finished.id)).state == "completed"
    assert await store.get(foreign.id) == as_stored(foreign, "b")
    assert by_id(await store.load_owned(membership, None, 1000)).keys() == {live.id, *(r.id for r in fresh)}


async def test_plain_jobs_of_many_kinds_and_sizes_are_stored_as_they_are(store: Store) -> None:
    """Workers, options and arguments differ from row to row, together they are megabytes; some rows nobody owns."""
    membership = await store.join("a", 30)
    plain = [
        new_record(
            queue=("default", "größe")[number % 2],
            worker=("noop", "größer", "w" * 300)[number % 3],
            timeout=(300.0, 0.1, 1e9)[number % 3],
            priority=(0, -(2**31), 2**31 - 1)[number % 3],
            max_attempts=1 + number % 2,
            args=(b"{}", b'{"text":"%b"}' % (b"\xc3\xbc" * 6_000), b'{ "a" : 1.0 }')[number % 3],
            scheduled_at=(now_us(), now_us() - MINUTE, 1)[number % 3],
        )
        for number in range(400)
    ]
    left = {record.id for record in plain[::5]}
    for record in plain[::5]:
        record.node = None
    assert await store.commit_inserts(membership, 1, plain, may_conflict=False, unowned=left) == set()
    stored = by_id(await store.find(Page(newest_first=False, limit=1000)))
    assert stored == by_id([as_stored(record, None if record.id in left else "a") for record in plain])
    owned = await store.load_owned(membership, None, 1000)
    assert {record.id for record in owned} == stored.keys() - left


@SIZES
async def test_a_batch_that_is_tried_again_does_not_conflict_with_itself(store: Store, size: int) -> None:
    """The node's own rows of the same id and time of insert are these very rows, also when one has finished."""
    membership = await store.join("a", 30)
    batch = [new_record() for _ in range(size)]
    await store.commit_inserts(membership, 1, batch, may_conflict=False)
    await store.commit_outcomes(membership, 1, [completed(batch[0])])
    assert await store.commit_inserts(membership, 2, [*batch, new_record()], may_conflict=True) == set()
    assert len(await store.find(Page(limit=1000))) == size + 1


async def test_another_nodes_row_of_the_same_id_and_time_conflicts(store: Store) -> None:
    """Two nodes that are given one id at the same moment: one wins."""
    one, two = await store.join("a", 30), await store.join("b", 30)
    record = new_record()
    assert await store.commit_inserts(one, 1, [record], may_conflict=True) == set()
    assert await store.commit_inserts(two, 1, [record], may_conflict=True) == {record.id}


# --- batches


async def test_the_last_batch_of_each_lane_is_told(store: Store) -> None:
    """0 before the first; an empty batch and one whose fences failed count; another life starts at 0."""
    membership = await store.join("a", 30)
    assert await store.last_batch(membership, "inserts") == await store.last_batch(membership, "outcomes") == 0
    records = [new_record() for _ in range(100)]
    await store.commit_inserts(membership, 3, records, may_conflict=False)
    assert await store.last_batch(membership, "inserts") == 3
    await store.commit_inserts(membership, 4, [new_record()], may_conflict=False)
    assert await store.last_batch(membership, "inserts") == 4
    await store.commit_inserts(membership, 5, [new_record()], may_conflict=True)
    await store.commit_inserts(membership, 6, [], may_conflict=False)
    assert await store.last_batch(membership, "inserts") == 6
    assert await store.last_batch(membership, "outcomes") == 0
    await store.commit_outcomes(membership, 8, [completed(new_record())])
    assert await store.last_batch(membership, "outcomes") == 8
    await store.commit_outcomes(membership, 9, [])
    assert await store.last_batch(membership, "outcomes") == 9
    assert await store.last_batch(await store.join("a", 30), "outcomes") == 0


# --- outcomes


async def found(store: Store, job_id: bytes) -> Record:
    record = await store.get(job_id)
    assert record is not None
    return record


@SIZES
async def test_a_completed_job_leaves_the_live_rows_and_joins_the_finished(store: Store, size: int) -> None:
    """It is found as finished, is loaded and claimed no more, and everything of it is kept."""
    membership = await store.join("a", 30)
    records = [rich_record(state="available") if number % 3 else new_record() for number in range(size)]
    await store.commit_inserts(membership, 1, records, may_conflict=False)
    done = [completed(record, b'{"text":"\\u0000\\u00fc","n":[1.0]}') for record in records]
    before = [copy(record) for record in done]
    assert await store.commit_outcomes(membership, 1, done) == set()
    assert done == before
    assert await store.load_owned(membership, None, 1000) == []
    assert await store.find(Page(newest_first=False, limit=1000)) == [as_stored(record, "a") for record in done]


@SIZES
async def test_outcomes_of_jobs_that_have_no_row_are_stored_as_they_are(store: Store, size: int) -> None:
    """Snapshots: live ones are the node's own and go on from there, those that have ended are finished ones."""
    membership = await store.join("a", 30)
    with_row = [new_record() for _ in range(size)]
    await store.commit_inserts(membership, 1, with_row, may_conflict=False)
    live = [rich_record(durability="snapshot") for _ in range(size)]
    ended = [completed(new_record(durability="snapshot"), b"[1]") for _ in range(size)]
    for record in ended:
        record.fence = -1
    usual = [completed(record) for record in with_row]
    assert await store.commit_outcomes(membership, 1, [*live, *usual, *ended]) == set()
    stored = await store.find(Page(newest_first=False, limit=1000))
    assert by_id(stored) == by_id([as_stored(record, "a") for record in (*live, *usual, *ended)])
    assert {record.id for record in await store.load_owned(membership, None, 1000)} == {record.id for record in live}
    for record in live:
        record.fence = 0
        machine.cancel(record, now_us())
    assert await store.commit_outcomes(membership, 2, live) == set()
    assert await store.load_owned(membership, None, 1000) == []


async def test_outcomes_of_jobs_without_a_row_are_fenced_by_the_epoch(backend: Backend) -> None:
    """A life that was replaced stores nothing new."""
    store = await backend.connect()
    old = await store.join("a", 30)
    await store.leave(old)
    await store.join("a", 30)
    with pytest.raises(LeaseLost):
        await store.commit_outcomes(old, 1, [new_record(durability="snapshot")])
    assert await store.find(Page()) == []


@pytest.mark.parametrize("rest", [0, 100])
async def test_every_kind_of_outcome_is_kept_in_one_batch(store: Store, rest: int) -> None:
    """Terminal and other states mixed: each row has its record's state, times, errors, history and counters."""
    membership = await store.join("a", 30)
    names = ("complete", "fail", "last", "snooze", "back", "cancel", "discard", "executing", "progress")
    jobs = {name: rich_record(state="available") for name in names}
    jobs["last"].max_attempts = 1
    others = [new_record() for _ in range(rest)]
    await store.commit_inserts(membership, 1, [*jobs.values(), *others], may_conflict=False)
    now = now_us()
    for record in jobs.values():
        record.fence = 0
        machine.begin(record, now)
    error = machine.quote_error(now, 1, "error", "bad \x00 byte", "trace", "a", 7)
    machine.complete(jobs["complete"], now, b"1")
    machine.fail(jobs["fail"], now, error, 30)
    machine.fail(jobs["last"], now, error, 30)
    machine.snooze(jobs["snooze"], now, 60)
    machine.take_back(jobs["back"], now, "stopped")
    machine.cancel(jobs["cancel"], now, "no more", error=error)
    machine.discard(jobs["discard"], now)
    jobs["progress"].progress = 40
    jobs["progress"].orphaned = 2
    batch = [*jobs.values(), *map(completed, others)]
    assert await store.commit_outcomes(membership, 1, batch) == set()
    for record in batch:
        assert await store.get(record.id) == as_stored(record, "a")
    live = {"fail", "snooze", "back", "executing", "progress"}
    assert by_id(await store.load_owned(membership, None, 100)).keys() == {jobs[name].id for name in live}
    # The next outcome of a job that goes on is fenced by the attempt that is stored now.
    again = jobs["executing"]
    again.fence = again.attempt
    machine.complete(again, now, None)
    assert await store.commit_outcomes(membership, 2, [again]) == set()
    assert (await found(store, again.id)).state == "completed"


@pytest.mark.parametrize("rest", [0, 1, 100])
async def test_a_write_whose_fence_does_not_hold_is_reported_and_changes_nothing(store: Store, rest: int) -> None:
    """Another attempt, another owner, nobody's, finished, unknown: each id comes back, the rest is written."""
    other = await store.join("b", 30)
    membership = await store.join("a", 30)
    attempt, finished, nobodys, foreign = (new_record() for _ in range(4))
    others = [new_record() for _ in range(rest)]
    await store.commit_inserts(other, 1, [foreign], may_conflict=False)
    await store.commit_inserts(membership, 1, [attempt, finished, nobodys, *others], may_conflict=False)
    await store.release(membership, [nobodys.id])
    await store.commit_outcomes(membership, 1, [completed(finished)])
    late = completed(attempt)
    late.fence = 1
    retry = copy(finished)
    retry.fence = 1
    untouched = {record.id: await store.get(record.id) for record in (attempt, finished, nobodys, foreign)}
    bad = [late, retry, completed(nobodys), completed(foreign), completed(new_record())]
    assert await store.commit_outcomes(membership, 2, [*bad, *map(completed, others)]) == {r.id for r in bad}
    for job_id, record in untouched.items():
        assert await store.get(job_id) == record
    for record in others:
        assert (await found(store, record.id)).state == "completed"


# --- reading a node's own rows, claiming, releasing


async def test_a_node_loads_its_own_live_rows_page_by_page(store: Store) -> None:
    """By id, none twice, none of another node; an executing row comes back as it is, with its fence."""
    other = await store.join("b", 30)
    membership = await store.join("a", 30)
    records = [new_record() for _ in range(25)]
    await store.commit_inserts(membership, 1, records, may_conflict=False)
    await store.commit_inserts(other, 1, [new_record() for _ in range(5)], may_conflict=False)
    running = records[3]
    running.fence = 0
    machine.begin(running, now_us())
    await store.commit_outcomes(membership, 1, [running])
    pages: list[list[Record]] = [await store.load_owned(membership, None, 10)]
    while pages[-1]:
        pages.append(await store.load_owned(membership, pages[-1][-1].id, 10))
    assert [len(page) for page in pages] == [10, 10, 5, 0]
    assert [record for page in pages for record in page] == [as_stored(record, "a") for record in records]
    assert pages[0][3].state == "executing" and pages[0][3].fence == 1


async def test_claims_take_the_best_due_rows_first(store: Store) -> None:
    """Priority descending, then the time it was due, then id; across the queues that were asked for."""
    now = now_us()
    first = new_record(priority=5, scheduled_at=now - 10)
    second = new_record(priority=5, scheduled_at=now - 5, queue="mail")
    third = new_record(priority=0, scheduled_at=now - 30, state="scheduled")
    fourth, fifth = (new_record(priority=0, scheduled_at=now - 20) for _ in range(2))
    await unowned(store, [fifth, new_record(queue="other"), second, fourth, third, first])
    membership = await store.join("a", 30)
    claimed = await store.claim(membership, ["default", "mail"], 4)
    assert claimed == [as_stored(record, "a") for record in (first, second, third, fourth)]
    assert await store.claim(membership, ["default", "mail"], 4) == [as_stored(fifth, "a")]
    assert await store.claim(membership, ["default", "mail"], 4) == []
    assert len(await store.load_owned(membership, None, 10)) == 5


async def test_claims_leave_what_is_owned_not_due_or_not_waiting(store: Store) -> None:
    """Only available, scheduled and retryable rows whose time has come, and that nobody owns."""
    owner = await store.join("b", 30)
    await store.commit_inserts(owner, 1, [new_record()], may_conflict=False)
    later = now_us() + MINUTE
    states = ("available", "scheduled", "retryable", "blocked", "executing", "waiting")
    await unowned(store, [new_record(state=state) for state in states])
    await unowned(store, [new_record(state="scheduled", scheduled_at=later), new_record(scheduled_at=later)])
    membership = await store.join("a", 30)
    claimed = await store.claim(membership, ["default"], 100)
    assert {record.state for record in claimed} == {"available", "scheduled", "retryable"}
    assert await store.claim(membership, ["default"], 100) == []
    assert await store.claim(membership, [], 100) == []


async def test_released_rows_are_claimed_by_another_node_which_then_owns_them(store: Store) -> None:
    """The giver's writes are fenced, the taker's count; an id that is not the giver's is left alone."""
    giver, taker = await store.join("a", 30), await store.join("b", 30)
    record, own = new_record(), new_record()
    await store.commit_inserts(giver, 1, [record], may_conflict=False)
    await store.commit_inserts(taker, 1, [own], may_conflict=False)
    await store.release(giver, [record.id, own.id, new_record().id])
    assert (await found(store, record.id)).node is None
    assert await store.claim(taker, ["default"], 10) == [as_stored(record, "b")]
    assert await store.commit_outcomes(giver, 1, [completed(record)]) == {record.id}
    assert await store.commit_outcomes(taker, 1, [completed(record), completed(own)]) == set()


# --- looking


async def test_get_gives_nothing_for_an_unknown_id(store: Store) -> None:
    """No error: the caller knows what it asked."""
    assert await store.get(new_record().id) is None


async def test_find_filters_and_pages_over_live_and_finished_jobs(store: Store) -> None:
    """Conditions are AND-ed; pages follow the id in either direction, without gap or repeat."""
    membership = await store.join("a", 30)
    records = [
        new_record(
            queue="mail" if number % 2 else "pdf",
            worker="send" if number % 3 else "draw",
            tags=("vip", "x")[: number % 3],
        )
        for number in range(30)
    ]
    await store.commit_inserts(membership, 1, records, may_conflict=False)
    done = [completed(record) for record in records[::4]]
    await store.commit_outcomes(membership, 1, done)
    expected = by_id([as_stored(record, "a") for record in records])
    expected.update(by_id([as_stored(record, "a") for record in done]))

    async def check(wanted: Page, keep: Callable[[Record], bool]) -> None:
        want = sorted((r for r in expected.values() if keep(r)), key=lambda r: r.id, reverse=wanted.newest_first)
        assert await store.find(wanted) == want[: wanted.limit]

    for newest in (True, False):
        await check(Page(newest_first=newest), lambda r: True)
        await check(Page(newest_first=newest, limit=7), lambda r: True)
        await check(Page(Filter(queue="mail"), newest_first=newest), lambda r: r.queue == "mail")
        await check(Page(Filter(worker="draw"), newest_first=newest), lambda r: r.worker == "draw")
        await check(Page(Filter(state=("completed",)), newest_first=newest), lambda r: r.state == "completed")
        await check(Page(Filter(state=("completed", "available")), newest_first=newest), lambda r: True)
        await check(Page(Filter(state=("discarded",)), newest_first=newest), lambda r: False)
        await check(Page(Filter(tags=("vip",)), newest_first=newest), lambda r: "vip" in r.tags)
        await check(Page(Filter(tags=("x", "vip")), newest_first=newest), lambda r: {"x", "vip"} <= set(r.tags))
        await check(
            Page(Filter(queue="pdf", worker="send", state=("available",)), newest_first=newest),
            lambda r: r.queue == "pdf" and r.worker == "send" and r.state == "available",
        )
        seen: list[Record] = []
        while page := await store.find(Page(after=seen[-1].id if seen else None, newest_first=newest, limit=7)):
            seen += page
        assert [r.id for r in seen] == sorted(expected, reverse=newest)


async def test_counts_tell_each_queue_and_state(store: Store) -> None:
    """Live and finished together, queues in order, states with no job left out."""
    assert await store.counts() == []
    membership = await store.join("a", 30)
    mails = [new_record(queue="mail") for _ in range(3)]
    await store.commit_inserts(membership, 1, [new_record(queue="pdf"), *mails], may_conflict=False)
    await store.commit_outcomes(membership, 1, [completed(mails[0])])
    assert await store.counts() == [
        Counts("mail", {"available": 2, "completed": 1}),
        Counts("pdf", {"available": 1}),
    ]


# --- open and closed


async def test_a_closed_store_refuses_and_opens_again(store: Store) -> None:
    """Closing twice is fine; what was stored is there after opening."""
    membership = await store.join("a", 30)
    record = new_record()
    await store.commit_inserts(membership, 1, [record], may_conflict=False)
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.get(record.id)
    with pytest.raises(StoreUnavailable):
        await store.join("a", 30)
    await store.open()
    assert await store.get(record.id) == as_stored(record, "a")
    assert await store.last_batch(membership, "inserts") == 1


async def test_calls_from_many_tasks_do_not_disturb_each_other(store: Store) -> None:
    """Every method may be called from several tasks at once."""
    membership = await store.join("a", 30)
    records = [new_record() for _ in range(40)]
    seen = []

    async def one(number: int) -> None:
        await store.commit_inserts(membership, number, [records[number]], may_conflict=bool(number % 2))
        seen.append(await store.get(records[number].id))
        await store.commit_outcomes(membership, number, [completed(records[number])])
        await store.renew(membership, 30)

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(one, number)
    assert len(seen) == 40 and None not in seen
    assert await store.counts() == [Counts("default", {"completed": 40})]


async def test_what_a_commit_means_for_other_jobs_is_told_after_it(store: Store) -> None:
    """Each once: freed, cancelled with its parent, wanted again, replaced, ended with its batch, and the callback."""
    bus = Bus("a")
    heard: list[Event] = []
    stream = bus.stream(JobTransition, BatchChanged)
    watch = JobWatch(bus, lambda _record: False)
    store.telling.attach(bus)
    desk = await a_desk(store)
    good, bad = new_record(), new_record()
    free, gone, below = child(good), child(bad), child()
    below.extra = Extra(depends_on=(gone.id,))
    put_off, runs = unique(Unique(debounce=3600)), unique(Unique(debounce=3600), key=bytes(16))
    parent = new_record()
    batch = new_batch(parent_id=parent.id, on_complete=callback("callback"))
    await store.batches.open(batch)
    last = member(batch)
    await desk.insert(good, bad, free, gone, below, put_off, runs, parent, last)
    store.telling.flush()
    await desk.insert(unique(Unique(debounce=7200)))
    waits, started = copy(parent), copy(runs)
    waits.fence = started.fence = 0
    machine.begin(waits, now_us())
    machine.wait(waits, now_us(), None)
    started.extra = Extra(unique_key=bytes(16), guarded=0, begun=1)
    started.state = "available"
    assert not await desk.write(waits, started)
    await desk.insert(unique(Unique(debounce=3600), key=bytes(16)))
    store.telling.flush()
    started.extra = Extra(unique_key=bytes(16), guarded=0)
    await desk.write(ended(good), ended(bad, "discarded"), ended(last), ended(started))
    watch.close()
    stream._subscription.put(end := NodeChanged(action="stopped"))
    async for event in stream:
        if event is end:
            break
        heard.append(event)

    moves = [(e.job_id.bytes, e.event, e.old, e.new) for e in heard if isinstance(e, JobTransition)]
    named = {free.id, gone.id, below.id, put_off.id, parent.id}
    assert sorted(move for move in moves if move[0] in named) == sorted(
        [
            (free.id, "unblocked", "blocked", "available"),
            (gone.id, "cancelled", "blocked", "cancelled"),
            (below.id, "cancelled", "blocked", "cancelled"),
            (put_off.id, "put off", "scheduled", "scheduled"),
            (parent.id, "completed", "waiting", "completed"),
        ]
    )
    new = [(e.worker, e.event, e.old, e.new) for e in heard if isinstance(e, JobTransition) and e.old is None]
    assert sorted(new) == [
        ("callback", "inserted", None, "available"),
        ("noop", "inserted", None, "scheduled"),
    ]
    assert len(moves) == 7
    assert [(e.action, e.total, e.done, e.failed) for e in heard if isinstance(e, BatchChanged)] == [
        ("opened", None, None, None),
        ("sealed", 1, None, None),
        ("succeeded", 1, 1, 0),
    ]


async def test_what_a_refused_insert_would_have_meant_is_told_by_nobody(store: Store) -> None:
    """It was rolled back."""
    bus = Bus("a")
    stream = bus.stream()
    watch = JobWatch(bus, lambda _record: False)
    store.telling.attach(bus)
    missing = child(new_record())
    answers = await store.insert_composed([new_record(), child(), missing], whole=True)
    assert answers[missing.id].error is not None
    watch.close()
    assert not stream._subscription._buffer
