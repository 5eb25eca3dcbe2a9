"""Random sequences of operations against a pure model of the store: states, order, uniqueness, dependencies, batches.

The model is written from the contract, in the plainest way there is; memory and Postgres have to agree with it after
every operation. Three hundred sequences each in the gate; `-m long` runs two thousand.
"""

from __future__ import annotations

import itertools
import os
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import InvalidState, UniqueConflict
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import TERMINAL_STATES, State, actions_for
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Store
from tests.store.test_graph import Desk, callback, new_batch
from tests.support.records import new_record, now_us

Ending = Literal["completed", "cancelled", "discarded"]
ENDINGS: tuple[Ending, ...] = ("completed", "cancelled", "discarded")
_numbers = itertools.count(int.from_bytes(os.urandom(4), "big") << 16)


@dataclass
class ModelJob:
    """What the contract says of one job."""

    state: State
    priority: int
    number: int
    waits_for: set[int] = field(default_factory=set)
    careless: bool = False
    key: int | None = None
    batch: int | None = None
    owned: bool = False


@dataclass
class ModelBatch:
    """What the contract says of one batch."""

    needed: int | None
    outer: int | None = None
    sealed: bool = False
    total: int = 0
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDINGS, 0))
    result: bool | None = None


class Model:
    """Jobs and batches by number; callbacks are counted."""

    def __init__(self) -> None:
        self.jobs: dict[int, ModelJob] = {}
        self.batches: list[ModelBatch] = []
        self.callbacks = {"success": 0, "failure": 0}

    def holder(self, key: int | None) -> int | None:
        for number, job in self.jobs.items():
            if key is not None and job.key == key and job.state not in TERMINAL_STATES:
                return number
        return None

    def insert(self, job: ModelJob) -> int | None:
        """Give the number of the job that is in the way."""
        held = self.holder(job.key)
        if held is not None:
            return held
        failed = any(self.jobs[p].state in ("cancelled", "discarded") for p in job.waits_for)
        job.waits_for = {p for p in job.waits_for if self.jobs[p].state not in TERMINAL_STATES}
        self.jobs[job.number] = job
        if job.batch is not None:
            self.batches[job.batch].total += 1
        if failed and not job.careless:
            self.end(job.number, "cancelled")
        else:
            job.state = "blocked" if job.waits_for else "available"
        return None

    def end(self, number: int, state: Ending) -> None:
        job = self.jobs[number]
        job.state, job.owned = state, False
        if job.batch is not None:
            self.batches[job.batch].ended[state] += 1
            self.resolve(job.batch)
        for other, child in list(self.jobs.items()):
            if child.state != "blocked" or number not in child.waits_for:
                continue
            child.waits_for.discard(number)
            if state != "completed" and not child.careless:
                self.end(other, "cancelled")
            elif not child.waits_for:
                child.state = "available"

    def resolve(self, number: int) -> None:
        batch = self.batches[number]
        if batch.result is None and batch.sealed and sum(batch.ended.values()) >= batch.total:
            done = batch.ended["completed"]
            batch.result = done == batch.total if batch.needed is None else done >= batch.needed
            self.callbacks["success" if batch.result else "failure"] += 1
            if batch.outer is not None:
                self.batches[batch.outer].ended["completed" if batch.result else "discarded"] += 1
                self.resolve(batch.outer)

    def reopen(self, number: int, state: str) -> None:
        """A child that ended so lives again; the batch does not count as ended in the one around it."""
        batch = self.batches[number]
        batch.ended[state] -= 1
        result, batch.result = batch.result, None
        if result is not None and batch.outer is not None:
            self.reopen(batch.outer, "completed" if result else "discarded")

    def revive(self, number: int) -> int | None:
        """An ended job lives again with its key; give the number of the job that has it meanwhile."""
        job = self.jobs[number]
        if (held := self.holder(job.key)) is not None:
            return held
        if job.batch is not None:
            self.reopen(job.batch, job.state)
        job.state, job.waits_for = "available", set()
        return None

    def ready(self) -> list[int]:
        waiting = [job for job in self.jobs.values() if job.state == "available" and not job.owned]
        return [job.number for job in sorted(waiting, key=lambda job: (-job.priority, job.number))]


pick = st.integers(0, 30)
operation = st.one_of(
    st.tuples(
        st.just("insert"), st.integers(-1, 1), st.sampled_from([None, None, 0, 1]), st.lists(pick, max_size=3),
        st.booleans(), st.one_of(st.none(), pick),
    ),
    st.tuples(st.just("claim"), st.integers(1, 4)),
    st.tuples(st.just("finish"), pick, st.sampled_from(ENDINGS)),
    st.tuples(st.just("finish"), pick, st.just("completed")),
    st.tuples(st.just("operate"), pick, st.sampled_from(["cancel", "discard", "retry"])),
    st.tuples(st.just("open"), st.sampled_from([None, 1, 2]), st.one_of(st.none(), pick)),
    st.tuples(st.just("seal"), pick),
    st.tuples(st.just("retry_failed"), pick),
)  # fmt: skip
sequences = st.lists(operation, min_size=5, max_size=30)


class Run:
    """One sequence on one store, beside the model."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.store: Store = desk.store
        self.model = Model()
        self.salt = next(_numbers)
        self.queue = f"q{self.salt}"
        self.records: dict[int, Record] = {}
        self.batches: list[Any] = []
        self.claimed: dict[int, Record] = {}

    async def step(self, operation: tuple[Any, ...]) -> None:
        await getattr(self, f"do_{operation[0]}")(*operation[1:])

    def choose(self, number: int, among: list[Any]) -> Any:
        return among[number % len(among)] if among else None

    async def do_insert(
        self, priority: int, key: int | None, parents: list[int], careless: bool, batch: int | None
    ) -> None:
        chosen = {self.choose(parent, list(self.records)) for parent in parents} - {None}
        open_ = [number for number, found in enumerate(self.model.batches) if not found.sealed]
        into = None if batch is None else self.choose(batch, open_)
        extra = Extra(
            unique_key=None if key is None else (self.salt * 2 + key).to_bytes(16, "big"),
            unique=None if key is None else Unique(),
            depends_on=tuple(self.records[parent].id for parent in sorted(chosen)),
            on_dependency_failure="run" if careless else "discard",
            batch_id=None if into is None else self.batches[into].id,
        )
        state: State = "blocked" if chosen else "available"
        record = new_record(queue=self.queue, priority=priority, state=state, scheduled_at=0, extra=extra)
        number = len(self.records)
        answer = (await self.store.insert_composed([record]))[record.id]
        held = self.model.insert(ModelJob(state, priority, number, chosen, careless, key, into))
        assert answer.error is None
        assert answer.conflict == (held is not None)
        if held is None:
            self.records[number] = record
        else:
            assert answer.record is not None and answer.record.id == self.records[held].id

    async def do_claim(self, limit: int) -> None:
        claimed = await self.store.claim(self.desk.membership, [self.queue], limit)
        expected = self.model.ready()[:limit]
        assert [record.id for record in claimed] == [self.records[number].id for number in expected]
        for number, record in zip(expected, claimed, strict=True):
            self.model.jobs[number].owned = True
            self.claimed[number] = record

    async def do_finish(self, which: int, state: Ending) -> None:
        number = self.choose(which, list(self.claimed))
        if number is None:
            return
        record = self.claimed.pop(number)
        done = ended_from(record, state)
        assert await self.desk.write(done) == set()
        self.model.end(number, state)

    async def do_operate(self, which: int, action: Literal["cancel", "discard", "retry"]) -> None:
        free = [number for number, job in self.model.jobs.items() if not job.owned]
        number = self.choose(which, free)
        if number is None:
            return
        job = self.model.jobs[number]
        change = Change(action, now_us())
        if action not in actions_for(job.state):
            if not change.is_done(await self.desk.row(self.records[number])):
                with pytest.raises(InvalidState):
                    await self.store.change(self.records[number].id, change)
            return
        if action != "retry":
            await self.store.change(self.records[number].id, change)
            self.model.end(number, "cancelled" if action == "cancel" else "discarded")
        elif (held := self.model.revive(number)) is None:
            await self.store.change(self.records[number].id, change)
            # It is due from now on, behind what was due from the beginning.
            await self.leave_out(number)
        else:
            with pytest.raises(UniqueConflict) as refused:
                await self.store.change(self.records[number].id, change)
            assert refused.value.holder == as_uuid(self.records[held].id)

    async def leave_out(self, number: int) -> None:
        """A revived job has another due time; it is cancelled again, to keep the order simple."""
        await self.store.change(self.records[number].id, Change("cancel", now_us()))
        self.model.end(number, "cancelled")

    async def do_open(self, needed: int | None, within: int | None) -> None:
        open_ = [number for number, found in enumerate(self.model.batches) if not found.sealed]
        outer = None if within is None else self.choose(within, open_)
        batch = new_batch(
            needed=needed,
            outer_id=None if outer is None else self.batches[outer].id,
            on_success=self.callback("success"),
            on_failure=self.callback("failure"),
        )
        await self.store.batches.open(batch)
        self.batches.append(batch)
        self.model.batches.append(ModelBatch(needed, outer))
        if outer is not None:
            self.model.batches[outer].total += 1

    def callback(self, worker: str) -> bytes:
        return callback(worker).replace(b'"queue":"default"', b'"queue":"%b-callbacks"' % self.queue.encode())

    async def do_seal(self, which: int) -> None:
        number = self.choose(which, list(range(len(self.batches))))
        if number is not None:
            await self.store.batches.seal(self.batches[number].id)
            self.model.batches[number].sealed = True
            self.model.resolve(number)

    async def do_retry_failed(self, which: int) -> None:
        number = self.choose(which, list(range(len(self.batches))))
        if number is None:
            return
        failed = [n for n, j in self.model.jobs.items() if j.batch == number and j.state in ("cancelled", "discarded")]
        found = await self.store.batches.retry_failed(self.batches[number].id, now_us())
        held = {job: self.model.revive(job) for job in failed}
        revived = [job for job in failed if held[job] is None]
        assert set(found.done) == {self.records[job].id for job in revived}
        holders = {self.records[job].id: self.records[other].id for job, other in held.items() if other is not None}
        assert found.errors.keys() == holders.keys()
        for job_id, error in found.errors.items():
            assert isinstance(error, UniqueConflict)
            assert error.holder == as_uuid(holders[job_id])
        for job in revived:
            await self.leave_out(job)

    async def compare(self) -> None:
        """The store is where the model is."""
        counts = {found.queue: found.by_state for found in await self.store.counts()}
        expected: dict[str, int] = {}
        for number, job in self.model.jobs.items():
            expected[job.state] = expected.get(job.state, 0) + 1
            stored = await self.desk.row(self.records[number])
            assert stored.state == job.state, f"job {number}"
        assert counts.get(self.queue, {}) == expected
        for batch, model in zip(self.batches, self.model.batches, strict=True):
            found = await self.store.batches.get(batch.id)
            assert found is not None
            assert (found.total, found.completed, found.cancelled, found.discarded) == (
                model.total, *(model.ended[state] for state in ENDINGS),
            )  # fmt: skip
            assert found.succeeded == model.result
        made = counts.get(f"{self.queue}-callbacks", {}).get("available", 0)
        assert made == sum(self.model.callbacks.values())


def ended_from(record: Record, state: Ending) -> Record:
    done = copy(record)
    machine.begin(done, now_us())
    if state == "completed":
        machine.complete(done, now_us(), b"1")
    elif state == "cancelled":
        machine.cancel(done, now_us())
    else:
        machine.discard(done, now_us())
    return done


def check(dsn: str | None, examples: int) -> None:
    async def all_sequences() -> None:
        store: Store = MemoryStore() if dsn is None else PostgresStore(dsn)
        await store.open()
        desk = Desk(store, await store.join("model", 3600))

        @settings(
            max_examples=examples, deadline=None, database=None, print_blob=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(operations=sequences)
        def one(operations: list[tuple[Any, ...]]) -> None:
            async def steps() -> None:
                run = Run(desk)
                for operation in operations:
                    await run.step(operation)
                    if dsn is None:
                        await run.compare()
                await run.compare()

            trio.from_thread.run(steps)

        try:
            await trio.to_thread.run_sync(one)
        finally:
            await store.close()

    async def with_loop() -> None:
        async with open_loop():
            await all_sequences()

    trio.run(with_loop)


def test_the_memory_store_agrees_with_the_model() -> None:
    """After every operation."""
    check(None, 300)


def test_postgres_agrees_with_the_model(postgres_dsn: str) -> None:
    """After every sequence."""
    check(postgres_dsn, 300)


@pytest.mark.long
def test_two_thousand_sequences_agree_with_the_model(postgres_dsn: str) -> None:
    """On memory and on Postgres."""
    check(None, 2000)
    check(postgres_dsn, 2000)
