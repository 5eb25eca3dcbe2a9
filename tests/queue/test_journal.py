"""The journal against a store that is cut, hangs, loses answers, fences rows and crashes its caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.errors import AlreadyExists, InvalidJob, LeaseLost, StoreUnavailable
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.store.journal import FLUSH_TIMEOUT, MOST, PACE, SMALL, Journal
from kathikon_actors.store.protocol import Lane, Membership, RowsRefused
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry.telling import Telling
from tests.jobs.make import NOW, record
from tests.support.waiting import eventually

MEMBER = Membership("node-1", 1, 1)
FAULTS = ("before", "after", "slow", "hang_before", "hang_after", "bug_before", "bug_after")
"""Cut before or after the commit; late answer; hung before or after it, then cut; an exception before or after it."""


class Bug(Exception):
    """What nobody expected: the journal crashes of it."""


@dataclass
class FakeStore:
    """Keeps rows; each call takes the next fault of its plan, and none when it is used up."""

    plan: list[str | None] = field(default_factory=list)
    rows: dict[bytes, Record] = field(default_factory=dict)
    stolen: set[bytes] = field(default_factory=set)
    batches: Counter[Lane] = field(default_factory=Counter)
    inserted: Counter[bytes] = field(default_factory=Counter)
    commits: list[tuple[Lane, int]] = field(default_factory=list)
    in_flight: Counter[Lane] = field(default_factory=Counter)
    lease_lost: bool = False
    bad: set[bytes] = field(default_factory=set)
    """Ids of rows that it never takes."""
    telling: Telling = field(default_factory=Telling)

    async def commit_inserts(
        self, membership: Membership, batch: int, records: Sequence[Record], *, may_conflict: bool
    ) -> set[bytes]:
        written = [copy(record) for record in records]

        def commit() -> set[bytes]:
            there = {r.id for r in written if r.id in self.rows and self.rows[r.id].inserted_at != r.inserted_at}
            again = {r.id for r in written if r.id in self.rows} - there
            if (there or again) and not may_conflict:
                raise AlreadyExists(next(iter(there | again)))
            for r in written:
                if r.id not in self.rows:
                    self.rows[r.id] = r
                    self.inserted[r.id] += 1
            self._committed("inserts", batch, len(written))
            return there

        return await self._write("inserts", records, commit)

    async def commit_outcomes(self, membership: Membership, batch: int, records: Sequence[Record]) -> set[bytes]:
        written = [copy(record) for record in records]

        def commit() -> set[bytes]:
            fenced = set()
            for r in written:
                row = self.rows.get(r.id)
                if row is None or r.id in self.stolen or row.attempt != r.fence or row.state in TERMINAL_STATES:
                    fenced.add(r.id)
                else:
                    self.rows[r.id] = r
            self._committed("outcomes", batch, len(written))
            return fenced

        return await self._write("outcomes", records, commit)

    async def last_batch(self, membership: Membership, lane: Lane) -> int:
        await self._read()
        return self.batches[lane]

    async def get(self, job_id: bytes) -> Record | None:
        await self._read()
        return self.rows.get(job_id)

    def _committed(self, lane: Lane, batch: int, rows: int) -> None:
        assert batch > self.batches[lane], "batch numbers grow"
        assert rows > 0, "nothing is committed for nothing"
        self.batches[lane] = batch
        self.commits.append((lane, rows))

    def _next(self) -> str | None:
        return self.plan.pop(0) if self.plan else None

    async def _read(self) -> None:
        await trio.lowlevel.checkpoint()
        fault = self._next()
        if fault in ("before", "after", "hang_before", "hang_after"):
            raise StoreUnavailable("cut")
        if fault in ("bug_before", "bug_after"):
            raise Bug

    async def _write(self, lane: Lane, records: Sequence[Record], commit: Any) -> set[bytes]:
        if self.lease_lost:
            raise LeaseLost(MEMBER.node, MEMBER.epoch)
        assert len({r.id for r in records}) == len(records), "each id once in a batch"
        self.in_flight[lane] += 1
        assert self.in_flight[lane] == 1, "one commit in flight a lane"
        try:
            fault = self._next()
            if fault == "before":
                raise StoreUnavailable("cut")
            if fault == "bug_before":
                raise Bug
            if not self.bad.isdisjoint([r.id for r in records]):
                raise RowsRefused("one of them is bad")
            await trio.sleep(0.3 if fault == "slow" else 0.001)
            if fault == "hang_before":
                await trio.sleep(60)
                raise StoreUnavailable("cut")
            fenced: set[bytes] = commit()
            if fault == "hang_after":
                await trio.sleep(60)
            if fault in ("after", "hang_after"):
                raise StoreUnavailable("cut")
            if fault == "bug_after":
                raise Bug
            if fault == "refused_after":
                raise RowsRefused("what it made ready cannot be read")
            return fenced
        finally:
            self.in_flight[lane] -= 1


class House:
    """A table, a store, and a journal that its supervisor starts again whenever it dies."""

    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.table = Table()
        self.restarts = 0
        self.journal: Journal | None = None
        self._life = trio.CancelScope()

    async def reopened(self) -> None:
        await trio.sleep(0.05)

    async def supervise(self) -> None:
        while True:
            self.journal = Journal(self.table, self.store, MEMBER, self.reopened)  # type: ignore[arg-type]
            self._life = trio.CancelScope()
            try:
                with self._life:
                    await self.journal.run()
            except* Bug:
                pass
            self.restarts += 1

    def kill(self) -> None:
        self._life.cancel()

    async def live(self, job: Record, *, may_conflict: bool = False, stolen: bool = False, shown: bool = False) -> str:
        """Insert one job, run it, wait for its end; give what became of it."""
        table, rows = self.table, self.store.rows
        existing = await table.committed(await table.submit([job], may_conflict=may_conflict))
        stored = rows.get(job.id)
        assert stored is not None, "acknowledged is committed"
        if existing:
            assert stored.inserted_at != job.inserted_at, "only another's row is a conflict"
            return "existed"
        assert stored.inserted_at == job.inserted_at
        if stolen:
            self.store.stolen.add(job.id)
        machine.begin(job, NOW)
        if shown:
            table.changed([job])
            await trio.sleep(0.002)
        machine.complete(job, NOW + job.id[-1], b"1")
        table.changed([job])
        if job.id not in table.records:
            return "lost"
        ended = await table.wait_ended(job.id)
        if ended is None:
            assert stolen
            return "lost"
        assert rows[job.id].state == "completed", "an end that is told is committed"
        return "completed"


def quiet(main: Any) -> None:
    """Run with virtual time."""
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


jobs_of = st.lists(
    st.tuples(
        st.sampled_from(["plain", "given id", "conflict", "stolen", "shown", "shown and stolen"]),
        st.sampled_from([0.0, 0.0, 0.001, 0.004, 0.05, 0.4]),
    ),
    min_size=1,
    max_size=12,
)
plans = st.lists(st.none() | st.sampled_from(FAULTS), max_size=14)
kills = st.lists(st.sampled_from([0.0005, 0.002, 0.02, 0.06, 0.3, 1.0, 61.0]), max_size=3)


@settings(max_examples=150)
@given(jobs=jobs_of, plan=plans, kills=kills)
def test_whatever_is_cut_every_insert_is_stored_once_and_no_outcome_is_lost(
    jobs: list[tuple[str, float]], plan: list[str | None], kills: list[float]
) -> None:
    """Cuts, lost answers, hangs, crashes and kills of the journal, in any order, at any commit.

    Each insert is acknowledged once and only when committed; each end reaches the store, and is told after it did; a
    job that another node has is never told as ended here.
    """

    async def main() -> None:
        store = FakeStore(plan)
        house = House(store)
        results: dict[int, str] = {}

        async def one(number: int, kind: str) -> None:
            job = record(number)
            if kind == "conflict":
                store.rows[job.id] = record(number, inserted_at=NOW - 1)
            result = await house.live(
                job,
                may_conflict=kind in ("given id", "conflict"),
                stolen="stolen" in kind,
                shown="shown" in kind,
            )
            assert number not in results, "told once"
            results[number] = result

        async def killer() -> None:
            for pause in kills:
                await trio.sleep(pause)
                house.kill()

        async with trio.open_nursery() as outer:
            outer.start_soon(house.supervise)
            with trio.fail_after(10_000):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(killer)
                    for number, (kind, pause) in enumerate(jobs, 1):
                        nursery.start_soon(one, number, kind)
                        await trio.sleep(pause)
                while house.table.outcomes.rows:  # what a fenced job did meanwhile is refused once more
                    await trio.sleep(0.5)
            outer.cancel_scope.cancel()

        for number, (kind, _) in enumerate(jobs, 1):
            job_id = number.to_bytes(16, "big")
            expected = "existed" if kind == "conflict" else "lost" if "stolen" in kind else "completed"
            assert results[number] == expected
            assert store.inserted[job_id] == (0 if kind == "conflict" else 1)
            if expected == "completed":
                row = store.rows[job_id]
                assert (row.state, row.attempt, row.result) == ("completed", 1, b"1")
        assert house.table.records == {}
        assert house.table.inserts.rows == house.table.outcomes.rows == 0

    quiet(main)


# -- one at a time ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_one_fault_at_one_commit(fault: str, autojump_clock: trio.testing.MockClock) -> None:
    """Each kind of fault, at the insert and at the outcome, ends with one row and its end."""
    for plan in ([fault], [None, fault], [fault, fault]):
        store = FakeStore(plan)
        house = House(store)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.supervise)
            assert await house.live(record()) == "completed"
            nursery.cancel_scope.cancel()
        assert list(store.inserted.values()) == [1]
        assert plan == [], "the fault happened"


async def test_a_batch_whose_answer_was_lost_is_not_written_again(autojump_clock: trio.testing.MockClock) -> None:
    """The lane's last number tells that it was committed."""
    store = FakeStore(["after"])
    house = House(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervise)
        await house.table.committed(await house.table.submit([record()], may_conflict=False))
        nursery.cancel_scope.cancel()
    assert store.commits == [("inserts", 1)]


async def test_rows_that_waited_together_share_a_commit(autojump_clock: trio.testing.MockClock) -> None:
    """What arrives during a commit is the next batch: a hundred callers, two commits."""
    store = FakeStore()
    house = House(store)

    async def insert(number: int) -> None:
        await house.table.committed(await house.table.submit([record(number)], may_conflict=False))

    async with trio.open_nursery() as outer:
        outer.start_soon(house.supervise)
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(insert, number)
                if number == 0:
                    await trio.testing.wait_all_tasks_blocked()
        outer.cancel_scope.cancel()
    assert store.commits == [("inserts", 1), ("inserts", 99)]
    assert house.journal is not None
    assert (house.journal.commits, house.journal.rows) == (2, 100)


async def test_many_rows_go_in_batches_of_bounded_size(autojump_clock: trio.testing.MockClock) -> None:
    """While the store works on one, the node makes the next; a single insert is not torn apart."""
    store = FakeStore()
    house = House(store)
    async with trio.open_nursery() as outer:
        outer.start_soon(house.supervise)
        async with trio.open_nursery() as nursery:
            for begin, rows in ((0, 1), (1, MOST - 1), (MOST, 2), (MOST + 2, MOST + 1)):
                jobs = [record(begin + number) for number in range(rows)]
                insert = await house.table.submit(jobs, may_conflict=False)
                nursery.start_soon(house.table.committed, insert)
        outer.cancel_scope.cancel()
    assert store.commits == [("inserts", rows) for rows in (MOST, 2, MOST + 1)]


async def test_small_batches_are_paced_and_large_or_single_ones_are_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A batch of one goes at once; a few wait a little for more; many wait for nothing."""
    for rows, paced in ((1, False), (5, True), (SMALL, False)):
        house = House(FakeStore())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.supervise)
            await house.table.committed(await house.table.submit([record(1)], may_conflict=False))
            start = trio.current_time()
            jobs = [record(2 + n) for n in range(rows)]
            await house.table.committed(await house.table.submit(jobs, may_conflict=False))
            took = trio.current_time() - start
            nursery.cancel_scope.cancel()
        assert (took > PACE / 2) is paced


async def test_an_insert_that_was_taken_back_while_the_lane_paced_is_not_committed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its caller gave up before it was in a batch: nothing is stored, and no empty commit is made."""
    store = FakeStore()
    house = House(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervise)
        await house.table.committed(await house.table.submit([record(1)], may_conflict=False))
        with trio.move_on_after(PACE / 10) as scope:
            await house.table.committed(await house.table.submit([record(2), record(3)], may_conflict=False))
        assert scope.cancelled_caught
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert list(store.inserted) == [record(1).id]


async def test_a_stopping_journal_commits_what_waits_in_both_lanes(autojump_clock: trio.testing.MockClock) -> None:
    """Graceful stop: what was changed before it is stored after it."""
    store = FakeStore()
    table = Table()
    job = record(1)
    journal = Journal(table, store, MEMBER, trio.lowlevel.checkpoint)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        await table.committed(await table.submit([job], may_conflict=False))
        machine.begin(job, NOW)
        machine.complete(job, NOW, b"1")
        table.changed([job])
        insert = await table.submit([record(2)], may_conflict=False)
        nursery.cancel_scope.cancel()
    assert store.rows[job.id].state == "completed"
    assert insert.finished
    assert set(store.rows) == {job.id, record(2).id}


async def test_a_lane_that_hangs_holds_neither_the_stop_nor_the_other_lane(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A flush ends after its timeout, and what the other lane had is stored."""

    class HalfStuck(FakeStore):
        async def commit_inserts(self, *args: Any, **kwargs: Any) -> set[bytes]:
            await trio.sleep_forever()
            raise AssertionError

        async def last_batch(self, membership: Membership, lane: Lane) -> int:
            if lane == "inserts":
                await trio.sleep_forever()
            return await super().last_batch(membership, lane)

    job = record(1)
    store = HalfStuck(rows={job.id: copy(job)})
    table = Table()
    job.fence = 0
    table.adopt([job])
    async with trio.open_nursery() as nursery:
        await nursery.start(Journal(table, store, MEMBER, trio.lowlevel.checkpoint).run)  # type: ignore[arg-type]
        insert = await table.submit([record(2)], may_conflict=False)
        await trio.testing.wait_all_tasks_blocked()
        machine.begin(job, NOW)
        machine.complete(job, NOW, b"1")
        table.changed([job])
        start = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - start == pytest.approx(FLUSH_TIMEOUT)
    assert store.rows[job.id].state == "completed"
    assert not insert.finished


async def test_a_lost_lease_ends_the_journal_and_nothing_is_written(autojump_clock: trio.testing.MockClock) -> None:
    """It is for its supervisor to join again; the batch stays in the table, in doubt."""
    store = FakeStore(lease_lost=True)
    table = Table()
    journal = Journal(table, store, MEMBER, trio.lowlevel.checkpoint)  # type: ignore[arg-type]
    insert = await table.submit([record()], may_conflict=False)
    with pytest.raises(ExceptionGroup) as raised:
        await journal.run()
    assert raised.group_contains(LeaseLost)
    assert store.rows == {}
    assert not insert.finished
    assert table.inserts.batch is not None
    assert table.inserts.batch.in_doubt


async def test_a_conflict_of_an_insert_that_was_not_expected_to_conflict_is_found(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The fast path refuses the whole batch; tried again carefully, only the one that exists is told so."""
    store = FakeStore(rows={record(1).id: record(1, inserted_at=NOW - 1)})
    house = House(store)
    results: dict[int, set[bytes]] = {}

    async def insert(number: int) -> None:
        submitted = await house.table.submit([record(number)], may_conflict=False)
        results[number] = await house.table.committed(submitted)

    async def supervise() -> None:
        while True:
            try:
                await house.supervise()
            except* AlreadyExists:
                pass

    async with trio.open_nursery() as outer:
        outer.start_soon(supervise)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(insert, 1)
            nursery.start_soon(insert, 2)
        outer.cancel_scope.cancel()
    assert results == {1: {record(1).id}, 2: set()}
    assert store.rows[record(1).id].inserted_at == NOW - 1


async def test_a_row_that_the_store_never_takes_fails_alone(autojump_clock: trio.testing.MockClock) -> None:
    """Those of its batch are stored, each by itself; the journal lives, and its next batches are as large as ever."""
    bad = record(3)
    store = FakeStore(bad={bad.id})
    house = House(store)
    ends: dict[int, str] = {}

    async def insert(number: int) -> None:
        try:
            await house.table.committed(await house.table.submit([record(number)], may_conflict=False))
        except InvalidJob as error:
            ends[number] = str(error)
        else:
            ends[number] = "stored"

    async with trio.open_nursery() as outer:
        outer.start_soon(house.supervise)
        for numbers in (range(1, 6), range(6, 26)):
            async with trio.open_nursery() as nursery:
                for number in numbers:
                    nursery.start_soon(insert, number)
        outer.cancel_scope.cancel()
    assert house.restarts == 0
    assert "cannot be stored: one of them is bad" in ends.pop(3)
    assert ends == {number: "stored" for number in range(1, 26) if number != 3}
    assert ("inserts", 20) in store.commits
    assert house.table.inserts.rows == 0 and bad.id not in house.table.records


async def test_an_outcome_that_the_store_never_takes_is_given_up_alone(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever waits for the job asks the store; the others of its batch are stored."""
    store = FakeStore()
    house = House(store)
    jobs = [record(number) for number in range(1, 5)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervise)
        await house.table.committed(await house.table.submit(jobs, may_conflict=False))
        store.bad = {jobs[1].id}
        for job in jobs:
            machine.begin(job, NOW)
            machine.complete(job, NOW, b"1")
        house.table.changed(jobs)
        ended = [await house.table.wait_ended(job.id) for job in jobs]
        nursery.cancel_scope.cancel()
    assert [job is not None for job in ended] == [True, False, True, True]
    assert [store.rows[job.id].state for job in jobs] == ["completed", "available", "completed", "completed"]
    assert house.restarts == 0 and not house.table.records


async def test_a_batch_that_was_committed_before_the_store_complained_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The lane's last number decides, not the error."""
    store = FakeStore(["refused_after"])
    house = House(store)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervise)
        await house.table.committed(await house.table.submit([record(1), record(2)], may_conflict=False))
        nursery.cancel_scope.cancel()
    assert store.commits == [("inserts", 2)]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_guarded_start_whose_answer_was_lost_counts_only_if_the_store_took_it(
    autojump_clock: trio.testing.MockClock, taken: bool
) -> None:
    """Others may have replaced the job before: then the old version does not run."""
    store = FakeStore()
    house = House(store)
    job = record(1, node=MEMBER.node, extra=Extra(guarded=0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervise)
        await house.table.committed(await house.table.submit([job], may_conflict=False))
        stored = store.rows[job.id]
        if not taken:
            store.stolen.add(job.id)
            stored.extra = Extra(guarded=1)
        store.plan[:] = ["after"]
        assert not house.table.may_start(job)
        await eventually(lambda: not house.table.outcomes.rows, "the fate of the start is known")
        nursery.cancel_scope.cancel()
    assert (job.id in house.table.records) == taken
    assert house.table.may_start(job) == taken


async def test_an_outcome_that_changes_while_its_commit_is_cut_is_one_row_of_the_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The record waits in the lane already: put back as well it would be twice in one batch."""
    store = FakeStore()
    house = House(store)
    job, other = record(1), record(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.supervise)
        for inserted in (job, other):
            await house.table.committed(await house.table.submit([inserted], may_conflict=False))
        store.plan[:] = ["hang_before", None, "before"]
        for started in (job, other):
            machine.begin(started, NOW)
        house.table.changed([job, other])
        await trio.sleep(30)
        machine.complete(job, NOW, b"1")
        house.table.changed([job])
        await trio.sleep(30.1)
        machine.complete(other, NOW, b"1")
        house.table.changed([other])
        await house.table.wait_ended(job.id)
        await house.table.wait_ended(other.id)
        nursery.cancel_scope.cancel()
    assert {row.state for row in store.rows.values()} == {"completed"}
    assert house.table.outcomes.rows == 0
