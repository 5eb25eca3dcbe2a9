"""What every store promises of jobs that hang together: unique keys, dependencies, batches."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.batch import BatchRecord, Callback
from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import AlreadyExists, BatchClosed, BatchNotFound, DependenciesNotFound, InvalidJob
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.jobs.ids import IdSource
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.jobs.unique import UNIQUE_STATES, Unique
from kathikon_actors.store.protocol import Membership, Store
from tests.store.conftest import Backend
from tests.support.records import MINUTE, completed, new_record, now_us

KEY = bytes(range(16))
ids = IdSource()


def unique(policy: Unique | None = None, key: bytes = KEY, **fields: Any) -> Record:
    """A job with a unique key."""
    policy = policy or Unique()
    due = now_us() + int(policy.debounce * 1e6) if policy.debounce else now_us()
    extra = Extra(unique_key=key, unique=policy, guarded=0 if policy.is_guarded else None)
    usual = {"state": "scheduled", "scheduled_at": due} if policy.debounce else {}
    return new_record(extra=extra, **{**usual, **fields})


def child(*parents: Record, **extra: Any) -> Record:
    """A job that waits for others."""
    return new_record(state="blocked", extra=Extra(depends_on=tuple(parent.id for parent in parents), **extra))


def member(batch: BatchRecord, **fields: Any) -> Record:
    """A child of a batch."""
    return new_record(extra=Extra(batch_id=batch.id), **fields)


def new_batch(**fields: Any) -> BatchRecord:
    now = now_us()
    return BatchRecord(id=ids.next(now), opened_at=now, **fields)


def callback(worker: str) -> bytes:
    return Callback.of(new_record(worker=worker, meta=b'{"a":1}', tags=("x",))).encode()


def ended(record: Record, state: str = "completed", result: bytes | None = b"null") -> Record:
    """The record as an attempt leaves it."""
    if state == "completed":
        return completed(record, result)
    done = copy(record)
    done.fence = record.attempt
    machine.begin(done, now_us())
    getattr(machine, {"cancelled": "cancel", "discarded": "discard"}[state])(done, now_us())
    return done


def started(record: Record) -> Record:
    """The record while an attempt runs, whose start is not written."""
    run = copy(record)
    run.fence = record.attempt
    machine.begin(run, now_us())
    return run


class Desk:
    """One member of a store, with its batches numbered."""

    def __init__(self, store: Store, membership: Membership) -> None:
        self.store = store
        self.membership = membership
        self._batch = 0

    async def insert(self, *records: Record) -> list[Answer]:
        self._batch += 1
        unowned = {record.id for record in records if record.state == "blocked"}
        answers = await self.store.commit_composed(
            self.membership, self._batch, records, may_conflict=False, unowned=unowned
        )
        return [answers.get(record.id) or Answer(record) for record in records]

    async def write(self, *records: Record) -> set[bytes]:
        self._batch += 1
        return await self.store.commit_outcomes(self.membership, self._batch, list(records))

    async def state(self, record: Record) -> str:
        found = await self.store.get(record.id)
        assert found is not None
        return found.state

    async def row(self, record: Record) -> Record:
        found = await self.store.get(record.id)
        assert found is not None
        return found

    async def all(self) -> list[Record]:
        from kathikon_actors.store.protocol import Page

        return await self.store.find(Page())


async def a_desk(store: Store, name: str = "a") -> Desk:
    return Desk(store, await store.join(name, 30))


# --- unique keys


async def test_a_second_insert_gives_the_first_job(store: Store) -> None:
    """One insert, one conflict; the conflict is the stored job."""
    desk = await a_desk(store)
    first, second, third = unique(), unique(), unique(key=bytes(16))
    (one,) = await desk.insert(first)
    assert one.record is not None and one.record.id == first.id and not one.conflict
    two, three = await desk.insert(second, third)
    assert two.conflict and two.record is not None and two.record.id == first.id
    assert not three.conflict
    assert {record.id for record in await desk.all()} == {first.id, third.id}


async def test_of_two_in_one_batch_the_first_is_stored(store: Store) -> None:
    """Insert many honours keys as single inserts do."""
    desk = await a_desk(store)
    first, second, plain = unique(), unique(), new_record()
    one, two, three = await desk.insert(first, second, plain)
    assert (one.conflict, two.conflict, three.conflict) == (False, True, False)
    assert two.record is not None and two.record.id == first.id
    assert {record.id for record in await desk.all()} == {first.id, plain.id}


async def test_the_end_of_a_job_frees_its_key(store: Store) -> None:
    """In the transaction that ends it, whichever way."""
    desk = await a_desk(store)
    for state in ("completed", "cancelled", "discarded"):
        job = unique()
        (answer,) = await desk.insert(job)
        assert not answer.conflict
        assert not await desk.write(ended(job, state))


async def test_an_operators_cancel_frees_the_key(store: Store) -> None:
    """The change of a row that nobody owns goes the same way."""
    desk = await a_desk(store)
    first, second = unique(), unique()
    await store.insert_composed([first])
    await store.change(first.id, Change("cancel", now_us()))
    (answer,) = await desk.insert(second)
    assert not answer.conflict


async def test_a_job_may_keep_its_key_after_its_end_for_a_period(store: Store) -> None:
    """With `completed` among the states a like is refused until the period is over."""
    desk = await a_desk(store)
    policy = Unique(states=("available", "executing", "completed"), period=3600)
    first = unique(policy)
    await desk.insert(first)
    await desk.write(ended(first))
    (answer,) = await desk.insert(unique(policy))
    assert answer.conflict and answer.record is not None and answer.record.state == "completed"
    over = Unique(states=("available", "completed"), period=0.000001)
    other = unique(over, key=bytes(16))
    await desk.insert(other)
    (answer,) = await desk.insert(unique(over, key=bytes(16)))
    assert not answer.conflict


async def test_a_key_whose_holder_was_purged_is_taken(store: Store) -> None:
    """No key outlives its job."""
    desk = await a_desk(store)
    policy = Unique(states=("available", "completed"))
    first = unique(policy)
    await desk.insert(first)
    await desk.write(ended(first))
    await store.purge([first.id])
    (answer,) = await desk.insert(unique(policy))
    assert not answer.conflict


async def test_replace_overwrites_a_job_that_has_not_started_wherever_it_is(backend: Backend) -> None:
    """Also one that another node owns: that node's start of what it has in memory is refused."""
    a, b = await a_desk(await backend.connect(), "a"), await a_desk(await backend.connect(), "b")
    policy = Unique(replace=("args", "priority", "tags", "meta", "max_attempts"))
    first = unique(policy, args=b'{"n":1}')
    await a.insert(first)
    late = unique(policy, args=b'{"n":2}', priority=7, tags=("x", "y"), meta=b'{"m":1}', max_attempts=9)
    (answer,) = await b.insert(late)
    assert answer.conflict and answer.record is not None
    stored = await b.row(first)
    assert (stored.args, stored.priority, stored.tags, stored.meta, stored.max_attempts) == (
        b'{"n":2}', 7, ("x", "y"), b'{"m":1}', 9,
    )  # fmt: skip
    assert Job(answer.record).args == {"n": 2}
    assert stored.node is None and stored.state == "available"
    assert [entry["event"] for entry in Job(stored).history] == ["inserted", "replaced"]
    start = copy(first)
    start.fence = 0
    start.extra = Extra(unique_key=KEY, guarded=0, begun=1)
    assert await a.write(start) == {first.id}
    (claimed,) = await a.store.claim(a.membership, ["default"], 10)
    assert await a.write(start) == {first.id}, "what it knew before the change"
    assert claimed.extra is not None and claimed.extra.guarded == 1
    claimed.extra = Extra(unique_key=KEY, guarded=1, begun=1)
    assert await a.write(claimed) == set()
    (answer,) = await b.insert(unique(policy, args=b'{"n":3}'))
    assert answer.conflict and (await b.row(first)).args == b'{"n":2}', "it has started"


async def test_a_debounced_insert_is_put_off_and_runs_once_more_when_wanted_while_it_ran(store: Store) -> None:
    """Each insert moves it to now + s; one during the run schedules one more run, however many there are."""
    desk = await a_desk(store)
    policy = Unique(debounce=60)
    first = unique(policy)
    await desk.insert(first)
    before = (await desk.row(first)).scheduled_at
    later = unique(policy)
    (answer,) = await desk.insert(later)
    assert answer.conflict
    moved = await desk.row(first)
    assert moved.scheduled_at == later.inserted_at + 60_000_000 > before
    assert moved.state == "scheduled" and moved.node is None
    await store.change(first.id, Change("cancel", now_us()))
    runs = unique(policy)
    await desk.insert(runs)
    running = copy(runs)
    running.fence = 0
    machine.promote(running, now_us())
    running.extra = Extra(unique_key=KEY, guarded=0, begun=3)
    assert await desk.write(running) == set()
    machine.begin(running, now_us())
    running.extra = Extra(unique_key=KEY, guarded=0, begun=2)
    assert await desk.write(running) == set()
    for _ in range(3):
        (answer,) = await desk.insert(unique(policy))
        assert answer.conflict
    running.fence = 1
    machine.complete(running, now_us(), b"null")
    assert await desk.write(running) == set()
    waiting = [record for record in await desk.all() if record.state == "scheduled"]
    assert len(waiting) == 1 and waiting[0].id != runs.id
    assert waiting[0].scheduled_at > now_us() + 50_000_000
    (answer,) = await desk.insert(unique(policy))
    assert answer.conflict and answer.record is not None and answer.record.id == waiting[0].id


DEBOUNCED = Unique(debounce=60, replace=("args", "tags", "priority"))


async def begun(desk: Desk, job: Record) -> Record:
    """A guarded job while it runs: its start is committed."""
    run = copy(job)
    run.fence, extra = job.attempt, job.extra
    assert extra is not None
    if run.state != "available":
        machine.promote(run, now_us())
    run.extra = Extra(unique_key=extra.unique_key, guarded=extra.guarded or 0, begun=3)
    assert await desk.write(run) == set()
    run.extra = Extra(unique_key=extra.unique_key, guarded=extra.guarded or 0, begun=2)
    machine.begin(run, now_us())
    return run


async def test_the_run_that_was_wanted_while_it_ran_is_as_the_newest_insert_wants_it(store: Store) -> None:
    """What the policy replaces; the rest is the job's own."""
    desk = await a_desk(store)
    store.attach_ready(["default"], lambda _ready: None)
    first = unique(DEBOUNCED, args=b'{"n":1}', tags=("a",))
    await desk.insert(first)
    run = await begun(desk, first)
    for number in (b"2", b"3"):
        (answer,) = await desk.insert(unique(DEBOUNCED, args=b'{"n":%b}' % number, tags=(), priority=4))
        assert answer.conflict
    (answer,) = await desk.insert(unique(Unique(debounce=60, replace=("meta",)), args=b'{"n":9}', meta=b'{"m":1}'))
    assert answer.conflict
    machine.complete(run, now_us(), b"null")
    assert await desk.write(run) == set()
    assert (await desk.row(first)).args == b'{"n":1}'
    (again,) = [record for record in await desk.all() if record.state == "scheduled"]
    assert (again.args, again.tags, again.priority, again.meta) == (b'{"n":3}', (), 4, b'{"m":1}')
    next_run = await begun(desk, again)
    await desk.insert(unique(Unique(debounce=60)))
    machine.complete(next_run, now_us(), b"null")
    await desk.write(next_run)
    (last,) = [record for record in await desk.all() if record.state == "scheduled"]
    assert last.args == b'{"n":3}', "nothing of what was wanted once before comes up again"


@pytest.mark.parametrize("how", ["failed", "snoozed"])
async def test_a_job_that_is_to_run_again_is_replaced_and_put_off_like_one_that_never_ran(
    store: Store, how: str
) -> None:
    """Its run is over; a start that the node has in mind is refused, and what was wanted meanwhile is this run."""
    desk = await a_desk(store)
    first = unique(DEBOUNCED, args=b'{"n":1}')
    await desk.insert(first)
    run = await begun(desk, first)
    await desk.insert(unique(DEBOUNCED, args=b'{"n":2}'))
    if how == "failed":
        machine.fail(run, now_us(), machine.quote_error(now_us(), 1, "error", "boom"), 30.0)
    else:
        machine.snooze(run, now_us(), 30.0)
    run.fence = 0
    assert await desk.write(run) == set()
    late = unique(DEBOUNCED, args=b'{"n":3}', tags=("x",))
    (answer,) = await desk.insert(late)
    assert answer.conflict and answer.record is not None and answer.record.args == b'{"n":3}'
    stored = await desk.row(first)
    assert (stored.args, stored.tags, stored.scheduled_at) == (b'{"n":3}', ("x",), late.inserted_at + 60_000_000)
    assert (stored.state, stored.node) == ("retryable" if how == "failed" else "scheduled", None)
    start = copy(run)
    start.fence = run.attempt
    machine.promote(start, now_us())
    assert start.extra is not None and start.extra.begun == 0
    start.extra = Extra(unique_key=KEY, guarded=0, begun=1)
    assert await desk.write(start) == {first.id}
    await store.change(first.id, Change("cancel", now_us()))
    assert [record.id for record in await desk.all()] == [first.id], "no other run is wanted"


async def test_a_job_that_an_operator_retries_later_is_replaced_and_put_off(store: Store) -> None:
    """Whether it had let go of its key at its end or kept it."""
    desk = await a_desk(store)
    keeping = Unique(debounce=60, replace=("args",), states=(*UNIQUE_STATES, "discarded"))
    for policy in (DEBOUNCED, keeping):
        key = ids.next(now_us())
        first = unique(policy, key=key, args=b'{"n":1}')
        await desk.insert(first)
        run = await begun(desk, first)
        machine.discard(run, now_us())
        run.fence = 0
        assert await desk.write(run) == set()
        await store.change(first.id, Change("retry", now_us(), delay=600.0))
        late = unique(policy, key=key, args=b'{"n":2}')
        (answer,) = await desk.insert(late)
        assert answer.conflict
        stored = await desk.row(first)
        assert (stored.args, stored.state, stored.attempt) == (b'{"n":2}', "scheduled", 1)
        assert stored.scheduled_at == late.inserted_at + 60_000_000


async def test_a_key_that_is_not_held_while_executing_is_free_once_the_start_is_committed(store: Store) -> None:
    """The start of such a job is committed before it runs."""
    desk = await a_desk(store)
    policy = Unique(states=("available", "scheduled"))
    first = unique(policy)
    await desk.insert(first)
    start = copy(first)
    start.fence = 0
    start.extra = Extra(unique_key=KEY, guarded=0, begun=1)
    assert await desk.write(start) == set()
    (answer,) = await desk.insert(unique(policy))
    assert not answer.conflict
    assert await desk.write(start) == set(), "a start that is told again"


PERIOD = Unique(period=3600)
LASTING = Unique(states=(*UNIQUE_STATES, "completed"))
REPLACING = Unique(replace=("args",))


@pytest.mark.parametrize(
    "policy", [PERIOD, LASTING, REPLACING, Unique(debounce=60)], ids=["period", "lasting", "replace", "debounce"]
)
async def test_one_key_under_two_policies_is_still_one_key(store: Store, policy: Unique) -> None:
    """A job of the usual policy and one of another meet, whichever is there first, and with others in the batch."""
    desk = await a_desk(store)
    usual, other = unique(), unique(policy, key=bytes(16))
    assert not any(answer.conflict for answer in await desk.insert(usual, other))
    (meets_usual,) = await desk.insert(unique(policy))
    (meets_other,) = await desk.insert(unique(key=bytes(16)))
    assert meets_usual.record is not None and (meets_usual.conflict, meets_usual.record.id) == (True, usual.id)
    assert meets_other.record is not None and (meets_other.conflict, meets_other.record.id) == (True, other.id)
    both = await desk.insert(unique(), unique(policy, key=bytes(16)), new_record())
    assert [answer.conflict for answer in both] == [True, True, False]


async def test_a_usual_job_that_is_replaced_is_guarded_from_then_on(store: Store) -> None:
    """Its key stays its own until it ends, and then it is free."""
    desk = await a_desk(store)
    first = unique()
    await desk.insert(first)
    for number in (b"1", b"2"):
        (answer,) = await desk.insert(unique(REPLACING, args=b'{"n":%b}' % number))
        assert answer.conflict
    stored = await desk.row(first)
    assert stored.args == b'{"n":2}' and stored.node is None
    assert stored.extra is not None and stored.extra.guarded == 2
    (answer,) = await desk.insert(unique())
    assert answer.conflict and answer.record is not None and answer.record.id == first.id
    (claimed,) = await store.claim(desk.membership, ["default"], 10)
    claimed.extra = Extra(unique_key=KEY, guarded=2, begun=1)
    assert await desk.write(claimed) == set()
    (answer,) = await desk.insert(unique(REPLACING, args=b'{"n":3}'))
    assert answer.conflict and (await desk.row(first)).args == b'{"n":2}', "it has started"
    assert await desk.write(ended(claimed)) == set()
    (answer,) = await desk.insert(unique())
    assert not answer.conflict


async def test_a_key_that_outlives_its_job_is_met_by_a_usual_job(store: Store) -> None:
    """The job that has it has ended; when its time is over, or when it is purged, the key is free."""
    desk = await a_desk(store)
    first = unique(LASTING)
    await desk.insert(first)
    await desk.write(ended(first))
    met = await desk.insert(unique(), new_record())
    assert [answer.conflict for answer in met] == [True, False]
    await store.purge([first.id])
    (answer,) = await desk.insert(unique())
    assert not answer.conflict
    short = Unique(states=(*UNIQUE_STATES, "completed"), period=0.000001)
    await desk.insert(other := unique(short, key=bytes(16)))
    (answer,) = await desk.insert(usual := unique(key=bytes(16)))
    assert not answer.conflict
    await desk.write(ended(other))
    (answer,) = await desk.insert(unique(short, key=bytes(16)))
    assert answer.conflict and answer.record is not None and answer.record.id == usual.id


async def test_a_job_that_waits_for_its_batch_holds_no_key_unless_it_says_so(store: Store) -> None:
    """`waiting` is not among the usual states."""
    desk = await a_desk(store)
    for policy, held in ((Unique(), False), (Unique(states=(*UNIQUE_STATES, "waiting")), True)):
        job = unique(policy, key=bytes([held]) * 16)
        await desk.insert(job)
        run = started(job)
        await store.batches.open(new_batch(parent_id=job.id))
        await store.batches.open(new_batch(parent_id=job.id))
        (one, _) = await store.batches.find(None, 2)
        await desk.insert(member(one))
        machine.wait(run, now_us(), b"null")
        assert await desk.write(run) == set()
        assert await desk.state(job) == "waiting"
        (answer,) = await desk.insert(unique(policy, key=bytes([held]) * 16))
        assert answer.conflict is held


async def test_what_operators_do_to_a_live_job_leaves_it_its_key(store: Store) -> None:
    """A job that is retried before its time still has it; one that had ended takes it again."""
    desk = await a_desk(store)
    live, dead = unique(), unique(key=bytes(16))
    await desk.insert(live, dead)
    failed = copy(live)
    failed.fence = 0
    machine.begin(failed, now_us())
    machine.fail(failed, now_us(), machine.quote_error(now_us(), 1, "error", "boom"), 60.0)
    assert await desk.write(failed, ended(dead, "discarded")) == set()
    await store.release(desk.membership, [live.id])
    for job in (live, dead):
        await store.change(job.id, Change("retry", now_us()))
        assert await desk.state(job) == "available"
    met = await desk.insert(unique(), unique(key=bytes(16)))
    assert [answer.conflict for answer in met] == [True, True]
    await store.change(live.id, Change("discard", now_us()))
    (answer,) = await desk.insert(unique())
    assert not answer.conflict


# --- dependencies


async def test_a_child_runs_when_its_last_parent_has_completed(store: Store) -> None:
    """It gets their results; it belongs to nobody meanwhile."""
    desk = await a_desk(store)
    one, two = new_record(), new_record()
    waits = child(one, two)
    await desk.insert(one, two, waits)
    assert (await desk.row(waits)).node is None
    await desk.write(ended(one, result=b'{"n":1}'))
    assert await desk.state(waits) == "blocked"
    await desk.write(ended(two, result=b"[2]"))
    stored = await desk.row(waits)
    assert stored.state == "available"
    assert Job(stored).dependency_results == {Job(one).id: {"n": 1}, Job(two).id: [2]}
    assert [entry["event"] for entry in Job(stored).history] == ["inserted", "unblocked"]


async def test_what_becomes_ready_goes_to_the_node_that_made_it_so(store: Store) -> None:
    """For the queues it runs; a chain needs no claim."""
    desk = await a_desk(store)
    taken: list[Record] = []
    store.attach_ready(["default"], taken.extend)
    parent, other = new_record(), new_record()
    mine, foreign = child(parent), child(other)
    foreign.queue = "elsewhere"
    await desk.insert(parent, other, mine, foreign)
    await desk.write(ended(parent), ended(other))
    assert [record.id for record in taken] == [mine.id]
    assert taken[0].node == "a" and taken[0].state == "available" and taken[0].fence == 0
    assert (await desk.row(foreign)).node is None
    assert await desk.write(ended(taken[0])) == set()


async def test_a_finished_parent_counts_as_resolved_at_insert(store: Store) -> None:
    """Also with the others still open."""
    desk = await a_desk(store)
    done, open_ = new_record(), new_record()
    await desk.insert(done, open_)
    await desk.write(ended(done, result=b"7"))
    free, waits = child(done), child(done, open_)
    one, two = await desk.insert(free, waits)
    assert one.record is not None and one.record.state == "available"
    assert two.record is not None and two.record.state == "blocked"
    assert Job(await desk.row(free)).dependency_results == {Job(done).id: 7}
    await desk.write(ended(open_))
    assert await desk.state(waits) == "available"


async def test_a_blocked_job_that_is_due_later_becomes_scheduled(store: Store) -> None:
    """Its time counts once nothing holds it."""
    desk = await a_desk(store)
    parent = new_record()
    waits = child(parent)
    waits.scheduled_at = now_us() + MINUTE
    await desk.insert(parent, waits)
    await desk.write(ended(parent))
    assert await desk.state(waits) == "scheduled"


@pytest.mark.parametrize("state", ["cancelled", "discarded"])
async def test_a_failed_parent_cancels_what_waits_for_it_with_a_reason(store: Store, state: str) -> None:
    """Transitively; but for those that say run."""
    desk = await a_desk(store)
    parent = new_record()
    waits, careless = child(parent), child(parent, on_dependency_failure="run")
    below = child(waits)
    last = child(below, on_dependency_failure="run")
    await desk.insert(parent, waits, careless, below, last)
    await desk.write(ended(parent, state))
    assert [await desk.state(r) for r in (waits, careless, below, last)] == [
        "cancelled", "available", "cancelled", "available",
    ]  # fmt: skip
    history = Job(await desk.row(below)).history
    assert history[-1]["meta"] == {"reason": "a job that it depends on failed"}
    late, ran = child(parent), child(parent, on_dependency_failure="run")
    one, two = await desk.insert(late, ran)
    assert one.record is not None and two.record is not None
    assert (one.record.state, two.record.state) == ("cancelled", "available")
    assert (await desk.state(late), await desk.state(ran)) == ("cancelled", "available")


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
async def test_who_waits_for_a_job_that_is_refused_is_refused_too(store: Store, order: tuple[int, ...]) -> None:
    """Wherever they stand in their batch: stored it would wait for ever. Its key is free."""
    desk = await a_desk(store)
    orphan = child(new_record())
    second = child(orphan, unique_key=KEY, unique=Unique())
    third = child(second)
    other = new_record()
    family = [orphan, second, third, other]
    answers = dict(zip(order, await desk.insert(*[family[n] for n in order]), strict=True))
    assert [isinstance(answers[n].error, DependenciesNotFound) for n in range(4)] == [True, True, True, False]
    assert [await store.get(record.id) is None for record in family] == [True, True, True, False]
    (again,) = await desk.insert(unique())
    assert again.error is None and not again.conflict


async def test_missing_parents_are_listed_and_nothing_is_stored(store: Store) -> None:
    """The others of the batch are stored."""
    desk = await a_desk(store)
    gone, there = new_record(), new_record()
    waits = child(there, gone)
    waits.extra = Extra(depends_on=(there.id, gone.id), unique_key=KEY, unique=Unique())
    one, two, three = await desk.insert(there, waits, child(waits))
    assert one.error is None
    assert isinstance(two.error, DependenciesNotFound) and two.error.missing == (str(Job(gone).id),)
    assert isinstance(three.error, DependenciesNotFound)
    assert {record.id for record in await desk.all()} == {there.id}
    (answer,) = await desk.insert(unique())
    assert not answer.conflict, "its key is free"


async def test_a_child_may_stand_before_its_parent_among_those_that_are_inserted_together(store: Store) -> None:
    """What waits for one that is refused is refused; so are those that wait for each other in a circle."""
    desk = await a_desk(store)
    parent = new_record()
    waits = child(parent)
    below = child(waits)
    lost = child(new_record())
    late = child(lost)
    one, two = new_record(), child(below)
    one.extra, one.state = Extra(depends_on=(two.id,)), "blocked"
    two.extra = Extra(depends_on=(one.id,))
    answers = await desk.insert(below, late, one, waits, parent, lost, two)
    refused = [isinstance(answer.error, DependenciesNotFound) for answer in answers]
    assert refused == [False, True, True, False, False, True, True]
    await desk.write(ended(parent))
    assert (await desk.state(waits), await desk.state(below)) == ("available", "blocked")


@pytest.mark.parametrize("bulk", [False, True])
async def test_a_dependant_that_lives_again_has_the_results_of_parents_that_completed_since(
    store: Store, bulk: bool
) -> None:
    """Beside those that it had."""
    desk = await a_desk(store)
    early, failing = new_record(), new_record()
    waits = child(early, failing)
    await desk.insert(early, failing, waits)
    nested = b'{"%b":0}' % str(Job(failing).id).encode()
    await desk.write(ended(early, result=nested))
    await desk.write(ended(failing, "discarded"))
    assert await desk.state(waits) == "cancelled"
    await store.change(failing.id, Change("retry", now_us()))
    await desk.write(ended(await claimed(desk, failing), result=b"7"))
    if bulk:
        await store.request(Filter(state="cancelled"), Change("retry", now_us()))
    else:
        changed = await store.change(waits.id, Change("retry", now_us()))
        assert Job(changed.record).dependency_results[Job(failing).id] == 7
    stored = Job(await desk.row(waits))
    assert stored.dependency_results == {Job(early).id: {str(Job(failing).id): 0}, Job(failing).id: 7}
    run = await claimed(desk, waits)
    await desk.write(ended(run, "discarded"))
    await store.change(waits.id, Change("retry", now_us()))
    assert Job(await desk.row(waits)).dependency_results == stored.dependency_results


async def test_arguments_of_another_worker_replace_nothing(store: Store) -> None:
    """They were bound for that one; the insert is refused, alone or with its like in one batch."""
    desk = await a_desk(store)
    first = unique(REPLACING, args=b'{"n":1}')
    await desk.insert(first)
    one, two, other, third = await desk.insert(
        unique(REPLACING, worker="other", args=b'{"x":1}'),
        unique(Unique(replace=("priority",)), worker="other", priority=3),
        unique(REPLACING, worker="other", key=bytes(16)),
        unique(REPLACING, args=b'{"n":2}', key=bytes(16)),
    )
    assert isinstance(one.error, InvalidJob) and 'one of worker "noop"' in str(one.error)
    assert two.conflict and other.error is None
    assert isinstance(third.error, InvalidJob) and 'one of worker "other"' in str(third.error)
    stored = await desk.row(first)
    assert (stored.args, stored.priority) == (b'{"n":1}', 3)
    whole = await store.insert_composed([new_record(), unique(REPLACING, worker="other")], whole=True)
    assert [type(answer.error) for answer in whole.values() if answer.error] == [InvalidJob]


async def test_a_chain_of_many_is_cancelled_at_once(store: Store) -> None:
    """A thousand levels need no stack."""
    desk = await a_desk(store)
    chain = [new_record()]
    for _ in range(1000):
        chain.append(child(chain[-1]))
    await desk.insert(*chain)
    await desk.write(ended(chain[0], "discarded"))
    assert await desk.state(chain[-1]) == "cancelled"
    counts = await store.counts()
    assert counts[0].by_state == {"discarded": 1, "cancelled": 1000}


async def test_an_operators_cancel_of_a_parent_or_a_child_resolves_it(store: Store) -> None:
    """What an operator does to unowned rows counts as any end."""
    desk = await a_desk(store)
    parent = new_record()
    waits, other = child(parent), child(parent)
    await store.insert_composed([parent, waits, other])
    await store.change(other.id, Change("cancel", now_us()))
    await store.change(parent.id, Change("discard", now_us()))
    assert await desk.state(waits) == "cancelled"
    revived = await store.change(other.id, Change("retry", now_us()))
    assert revived.record.state == "available"


# --- batches


async def a_batch(store: Store, **fields: Any) -> BatchRecord:
    batch = new_batch(
        on_complete=callback("complete"), on_success=callback("success"), on_failure=callback("failure"), **fields
    )
    await store.batches.open(batch)
    return batch


async def callbacks(desk: Desk) -> list[Record]:
    return [record for record in await desk.all() if record.worker in ("complete", "success", "failure")]


async def test_a_batch_resolves_once_sealed_and_its_last_child_has_ended(store: Store) -> None:
    """Exactly one callback job; it is told how the batch ended."""
    desk = await a_desk(store)
    batch = await a_batch(store, name="nightly")
    one, two = member(batch), member(batch)
    await desk.insert(one, two)
    await desk.write(ended(one))
    await desk.write(ended(two))
    found = await store.batches.get(batch.id)
    assert found is not None and (found.state, found.total, found.completed) == ("open", 2, 2)
    assert await callbacks(desk) == []
    sealed = await store.batches.seal(batch.id)
    assert sealed.state == "succeeded"
    assert (await store.batches.seal(batch.id)).resolved_at == sealed.resolved_at
    (job,) = [Job(record) for record in await callbacks(desk)]
    assert (job.worker, job.state, job.tags) == ("success", "available", ["x"])
    assert job.meta["a"] == 1
    assert job.meta["batch"] == {
        "id": str(Job(new_record(id=batch.id)).id), "name": "nightly", "state": "succeeded", "total": 2,
        "completed": 2, "cancelled": 0, "discarded": 0,
    }  # fmt: skip
    (answer,) = await desk.insert(member(batch))
    assert isinstance(answer.error, BatchClosed)


POLICIES: list[tuple[int | None, list[str], str]] = [
    (None, ["completed", "completed"], "success"),
    (None, ["completed", "cancelled"], "failure"),
    (None, [], "success"),
    (1, ["discarded", "completed", "cancelled"], "success"),
    (1, ["discarded", "cancelled"], "failure"),
    (2, ["completed", "completed", "discarded"], "success"),
    (3, ["completed", "completed", "discarded"], "failure"),
    (0, [], "success"),
]


async def test_the_policy_decides_which_callback_is_inserted(store: Store) -> None:
    """All, any, at least n; cancelled and discarded children count as ended."""
    desk = await a_desk(store)
    seen: set[bytes] = set()
    for needed, states, worker in POLICIES:
        batch = await a_batch(store, needed=needed)
        jobs = [member(batch) for _ in states]
        await desk.insert(*jobs)
        assert (await store.batches.seal(batch.id)).state == ("running" if states else "succeeded")
        for job, state in zip(jobs, states, strict=True):
            assert {record.id for record in await callbacks(desk)} == seen
            await desk.write(ended(job, state))
        new = [record for record in await callbacks(desk) if record.id not in seen]
        assert [record.worker for record in new] == [worker]
        seen.add(new[0].id)


async def test_on_complete_stands_in_for_the_callback_that_is_not_given(store: Store) -> None:
    """Never two callbacks."""
    desk = await a_desk(store)
    batch = new_batch(on_complete=callback("complete"), on_failure=callback("failure"))
    await store.batches.open(batch)
    await store.batches.seal(batch.id)
    assert [record.worker for record in await callbacks(desk)] == ["complete"]


async def test_failed_children_are_put_back_and_counted_anew(store: Store) -> None:
    """Only the failed ones; the batch resolves again."""
    desk = await a_desk(store)
    batch = await a_batch(store)
    good, bad, gone = member(batch), member(batch), member(batch)
    await desk.insert(good, bad, gone)
    await store.batches.seal(batch.id)
    await desk.write(ended(good), ended(bad, "discarded"), ended(gone, "cancelled"))
    assert [record.worker for record in await callbacks(desk)] == ["failure"]
    assert len((await store.batches.retry_failed(batch.id, now_us())).done) == 2
    found = await store.batches.get(batch.id)
    assert found is not None and (found.state, found.completed, found.cancelled, found.discarded) == (
        "running",
        1,
        0,
        0,
    )
    assert (await desk.state(bad), await desk.state(gone), await desk.state(good)) == (
        "available", "available", "completed",
    )  # fmt: skip
    await store.change(gone.id, Change("discard", now_us()))
    again = await store.change(gone.id, Change("retry", now_us()))
    assert again.record.state == "available"
    for record in await store.claim(desk.membership, ["default"], 10):
        if record.worker == "noop":
            await desk.write(ended(record))
    assert sorted(record.worker for record in await callbacks(desk)) == ["failure", "success"]
    with pytest.raises(BatchNotFound):
        await store.batches.retry_failed(bytes(16), now_us())


async def test_purged_children_stay_counted_and_reruns_do_not_count(store: Store) -> None:
    """A batch whose children are swept away still ends."""
    desk = await a_desk(store)
    batch = await a_batch(store)
    one, two = member(batch), member(batch)
    await desk.insert(one, two)
    await store.batches.seal(batch.id)
    await desk.write(ended(one))
    await store.change(one.id, Change("rerun", now_us(), new_id=ids.next(now_us())))
    await store.purge([one.id])
    found = await store.batches.get(batch.id)
    assert found is not None and (found.completed, found.total) == (1, 2)
    await desk.write(ended(two))
    assert [record.worker for record in await callbacks(desk)] == ["success"]


async def test_a_batch_within_another_counts_as_one_child(store: Store) -> None:
    """It counts by how it ended."""
    desk = await a_desk(store)
    outer = await a_batch(store)
    inner = new_batch(outer_id=outer.id)
    await store.batches.open(inner)
    await store.batches.seal(outer.id)
    job = member(inner)
    await desk.insert(job)
    await store.batches.seal(inner.id)
    await desk.write(ended(job, "discarded"))
    found = await store.batches.get(outer.id)
    assert found is not None and (found.state, found.total, found.discarded) == ("failed", 1, 1)
    with pytest.raises(BatchClosed):
        await store.batches.open(new_batch(outer_id=outer.id))
    with pytest.raises(BatchNotFound):
        await store.batches.open(new_batch(outer_id=bytes(16)))
    assert len(await store.batches.find(None, 10)) == 2


async def test_a_batch_that_goes_on_does_not_count_as_ended_in_those_around_it(store: Store) -> None:
    """Its failed child is retried, by itself or with the others: no batch around it resolves before its time."""
    desk = await a_desk(store)
    outer = await a_batch(store)
    middle = new_batch(outer_id=outer.id)
    await store.batches.open(middle)
    inner = new_batch(outer_id=middle.id)
    await store.batches.open(inner)
    slow, failing = member(outer), member(inner)
    await desk.insert(slow, failing)
    for batch in (inner, middle, outer):
        await store.batches.seal(batch.id)
    await desk.write(ended(failing, "discarded"))
    assert await counted(store, outer, middle, inner) == [(0, 1, "running"), (0, 1, "failed"), (0, 1, "failed")]
    await store.change(failing.id, Change("retry", now_us()))
    assert await counted(store, outer, middle, inner) == [(0, 0, "running")] * 3
    again = await claimed(desk, failing)
    await desk.write(ended(again, "discarded"))
    await store.batches.retry_failed(inner.id, now_us())
    assert await counted(store, outer, middle, inner) == [(0, 0, "running")] * 3
    await desk.write(ended(await claimed(desk, failing)))
    assert await counted(store, outer, middle, inner) == [(1, 0, "running"), (1, 0, "succeeded"), (1, 0, "succeeded")]
    assert await callbacks(desk) == []
    await desk.write(ended(slow))
    assert await counted(store, outer) == [(2, 0, "succeeded")]
    assert [record.worker for record in await callbacks(desk)] == ["success"]


async def test_a_resolved_batch_goes_on_with_one_that_is_within_it(store: Store) -> None:
    """As with a child that is retried: it resolves again, with a callback of its own."""
    desk = await a_desk(store)
    outer = await a_batch(store)
    inner = new_batch(outer_id=outer.id)
    await store.batches.open(inner)
    failing = member(inner)
    await desk.insert(failing)
    await store.batches.seal(inner.id)
    await store.batches.seal(outer.id)
    await desk.write(ended(failing, "cancelled"))
    assert await counted(store, outer) == [(0, 1, "failed")]
    await store.change(failing.id, Change("retry", now_us()))
    assert await counted(store, outer, inner) == [(0, 0, "running")] * 2
    await desk.write(ended(await claimed(desk, failing)))
    assert await counted(store, outer, inner) == [(1, 0, "succeeded")] * 2
    assert sorted(record.worker for record in await callbacks(desk)) == ["failure", "success"]


async def counted(store: Store, *batches: BatchRecord) -> list[tuple[int, int, str]]:
    """How many children completed, how many failed, and the state."""
    found = [await store.batches.get(batch.id) for batch in batches]
    return [(one.completed, one.cancelled + one.discarded, one.state) for one in found if one is not None]


async def claimed(desk: Desk, job: Record) -> Record:
    """The one that is there to be taken, callbacks aside."""
    found = await desk.store.claim(desk.membership, ["default"], 10)
    (mine,) = [record for record in found if record.id == job.id]
    return mine


async def test_a_job_that_runs_again_is_judged_by_the_batches_of_that_run(store: Store) -> None:
    """What an earlier run has opened neither fails it nor keeps it waiting."""
    desk = await a_desk(store)
    parent = new_record(max_attempts=1)
    await desk.insert(parent)
    first = await run_of(desk, parent, "discarded")
    assert await desk.state(parent) == "discarded"
    left = new_batch(parent_id=parent.id, run_at=first.attempted_at)
    await store.batches.open(left)
    open_ = member(left)
    await desk.insert(open_)
    await store.change(parent.id, Change("retry", now_us()))
    await run_of(desk, await claimed(desk, parent), "completed")
    assert await desk.state(parent) == "completed"
    found = await store.batches.get(left.id)
    assert found is not None and found.state == "running", "it takes no more children"
    await desk.write(ended(open_, "discarded"))
    assert await desk.state(parent) == "completed"


async def test_a_run_that_opened_no_batch_ends_at_once(store: Store) -> None:
    """Though an earlier one has; and where an older version opened that one, its time says so."""
    desk = await a_desk(store)
    parent = new_record()
    await desk.insert(parent)
    early = new_batch(parent_id=parent.id)
    await store.batches.open(early)
    await desk.insert(member(early))
    run = started(parent)
    assert run.attempted_at is not None
    run.attempted_at = max(run.attempted_at, early.opened_at + 1)
    machine.wait(run, now_us(), b"null")
    await desk.write(run)
    assert await desk.state(parent) == "completed"


async def run_of(desk: Desk, parent: Record, state: str) -> Record:
    """One run that opens a batch, whose only child ends so."""
    run = started(parent)
    batch = new_batch(parent_id=parent.id, run_at=run.attempted_at)
    await desk.store.batches.open(batch)
    job = member(batch)
    await desk.insert(job)
    machine.wait(run, now_us(), b"null")
    await desk.write(run)
    assert await desk.state(parent) == "waiting"
    await desk.write(ended(job, state))
    return run


async def test_a_job_that_waits_ends_with_its_children(store: Store) -> None:
    """Whichever is first: the end of `perform`, or of the last child."""
    desk = await a_desk(store)
    for early in (False, True):
        for state in ("completed", "discarded"):
            await wait_and_end(desk, early, state)


async def wait_and_end(desk: Desk, early: bool, state: str) -> None:
    """One job that waits for one child."""
    store = desk.store
    parent = new_record(worker="parent")
    await desk.insert(parent)
    run = started(parent)
    batch = new_batch(parent_id=parent.id, run_at=run.attempted_at)
    await store.batches.open(batch)
    job = member(batch)
    after = child(parent, on_dependency_failure="run")
    await desk.insert(job, after)
    machine.wait(run, now_us(), b'"mine"')
    last = ended(job, state)
    for written in (last, run) if early else (run, last):
        assert await desk.write(written) == set()
        if written is run and not early:
            stored = await desk.row(parent)
            assert (stored.state, stored.node) == ("waiting", None)
            assert await desk.state(after) == "blocked"
    stored = await desk.row(parent)
    assert stored.state == state
    assert stored.result == b'"mine"'
    assert [entry["to"] for entry in Job(stored).history] == ["available", "executing", "waiting", state]
    assert await desk.state(after) == "available"


async def test_a_parent_that_ends_otherwise_leaves_a_sealed_batch(store: Store) -> None:
    """Its children go on; their batch resolves without it."""
    desk = await a_desk(store)
    parent = new_record()
    await desk.insert(parent)
    batch = new_batch(parent_id=parent.id, on_complete=callback("complete"))
    await store.batches.open(batch)
    job = member(batch)
    await desk.insert(job)
    await desk.write(ended(parent, "discarded"))
    await desk.write(ended(job))
    assert [record.worker for record in await callbacks(desk)] == ["complete"]
    assert await desk.state(parent) == "discarded"


async def test_old_resolved_batches_are_pruned(store: Store) -> None:
    """Those that are open or running stay."""
    desk = await a_desk(store)
    old, open_ = await a_batch(store), await a_batch(store)
    await store.batches.seal(old.id)
    assert await store.batches.prune(now_us() - MINUTE, 10) == 0
    assert await store.batches.prune(now_us() + MINUTE, 10) == 1
    assert await store.batches.get(old.id) is None
    assert await store.batches.get(open_.id) is not None
    assert [record.worker for record in await callbacks(desk)] == ["success"]


async def test_children_are_listed_by_pages(store: Store) -> None:
    """Live and finished ones alike, by id."""
    desk = await a_desk(store)
    batch = await a_batch(store)
    jobs = [member(batch) for _ in range(5)]
    await desk.insert(*jobs)
    await desk.write(ended(jobs[1]), ended(jobs[4]))
    first = await store.batches.children(batch.id, None, 3)
    rest = await store.batches.children(batch.id, first[-1].id, 3)
    assert [record.id for record in (*first, *rest)] == [job.id for job in jobs]


async def test_what_a_job_has_inserted_is_listed_by_pages(store: Store) -> None:
    """Within a batch or not, live or finished; what was removed takes no place on a page."""
    desk = await a_desk(store)
    batch, parent = await a_batch(store), new_record()
    jobs = [new_record(extra=Extra(parent_id=parent.id, batch_id=batch.id if n % 2 else None)) for n in range(6)]
    await desk.insert(parent, new_record(), new_record(extra=Extra(parent_id=new_record().id)), *jobs)
    await desk.write(ended(jobs[0]), ended(jobs[3]))
    await store.purge([jobs[0].id])
    first = await store.batches.children(parent.id, None, 3)
    rest = await store.batches.children(parent.id, first[-1].id, 3)
    assert [record.id for record in first] == [job.id for job in jobs[1:4]]
    assert [record.id for record in rest] == [job.id for job in jobs[4:]]
    assert first[0].extra is not None and first[0].extra.parent_id == parent.id
    await store.purge([jobs[3].id])
    assert [record.id for record in await store.batches.children(batch.id, None, 2)] == [jobs[1].id, jobs[5].id]
    assert await store.batches.children(jobs[0].id, None, 3) == []


# --- inserts


async def test_a_taken_id_is_refused_and_an_insert_that_is_told_again_is_the_same(store: Store) -> None:
    """Trying a batch again after a cut stores nothing twice."""
    desk = await a_desk(store)
    first = unique()
    await desk.insert(first)
    again = await store.commit_composed(desk.membership, 50, [first], may_conflict=True)
    assert not again[first.id].conflict and again[first.id].error is None
    taken = new_record(id=first.id, inserted_at=first.inserted_at + 1)
    answer = (await store.commit_composed(desk.membership, 51, [taken], may_conflict=True))[first.id]
    assert isinstance(answer.error, AlreadyExists)
    assert await store.last_batch(desk.membership, "inserts") == 51


async def test_a_whole_insert_stores_all_or_nothing(store: Store) -> None:
    """One bad step, and nothing of a workflow is there."""
    good = new_record()
    bad = child(new_record())
    refused = await store.insert_composed([good, bad], whole=True)
    assert isinstance(refused[bad.id].error, DependenciesNotFound)
    assert await store.get(good.id) is None
    answers = await store.insert_composed([good, child(good)], whole=True)
    assert len(answers) == 2
