"""What transactions of a store have done is told after them, in the order of each job's life."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from typing import Any

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.journal import Journal
from kathikon_actors.store.memory import MemoryStore
from kathikon_actors.store.protocol import Membership
from kathikon_actors.store.table import Table
from kathikon_actors.telemetry import BatchChanged, Bus, Event, JobsChanged, JobTransition
from kathikon_actors.telemetry.jobs import JobWatch
from kathikon_actors.telemetry.telling import _TOLD, MOST, Telling, note_batch, note_inserted
from tests.support.records import new_record, now_us


class Ear:
    """A bus whose events are at hand at once."""

    def __init__(self, telling: Telling | None = None) -> None:
        self.bus = Bus("n1")
        self.stream = self.bus.stream()
        self.telling = Telling() if telling is None else telling
        self.watch = JobWatch(self.bus, lambda record: record.node == "n1", self.telling)
        self.telling.attach(self.bus)

    def heard(self) -> list[Event]:
        buffer = self.stream._subscription._buffer
        return [buffer.popleft() for _ in range(len(buffer))]

    def names(self) -> list[str]:
        return [event.event for event in self.heard() if isinstance(event, JobTransition)]


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.bus.close()  # the state machine is observed no more


def test_what_another_commit_does_to_a_new_job_is_told_after_its_insert(ear: Ear) -> None:
    """Though its answer comes first: the insert is committed, and its own answer is on the way."""
    job, other = new_record(state="blocked"), new_record(state="blocked")
    ear.telling.expect([job])
    with ear.telling.collect():  # the other lane: a parent has failed
        machine.cancel(job, now_us())
        machine.cancel(other, now_us())
    assert [e.job_id.bytes for e in ear.heard() if isinstance(e, JobTransition)] == [other.id]
    with ear.telling.collect(later=True):  # the lane of inserts: it was decided on there
        note_batch(bytes(16), "opened")
    ear.watch.inserted([job])
    ear.telling.flush()
    told = [e.event if isinstance(e, JobTransition) else e.name for e in ear.heard()]
    assert told == ["inserted", "BatchChanged", "cancelled"]
    with ear.telling.collect():  # from here on at once
        machine.retried(job, now_us())
    assert ear.names() == ["retried"]


def test_a_job_that_moves_before_its_insert_is_answered_is_told_as_inserted_first(ear: Ear) -> None:
    """Another connection of the node has seen the row and brought it here; its insert is told once."""
    job, other = new_record(node="n1", state="scheduled"), new_record(node="n1")
    seen = copy(job)
    ear.telling.expect([job, other])
    with ear.telling.collect():  # a transaction of another connection
        machine.promote(seen, now_us())
    assert ear.names() == []
    machine.begin(seen, now_us())
    machine.complete(seen, now_us(), None)
    assert ear.names() == ["inserted", "due", "started", "completed"]
    loaded = copy(other)
    loaded.history = b""  # as a usual row is loaded
    machine.begin(loaded, now_us())
    told = [(event.event, event.new) for event in ear.heard() if isinstance(event, JobTransition)]
    assert told == [("inserted", "available"), ("started", "executing")]
    ear.watch.inserted([job, other])
    ear.telling.flush()
    assert ear.names() == []
    ear.watch.inserted([job])  # nothing is remembered for ever
    assert ear.names() == ["inserted"]


def test_a_job_that_runs_before_the_commit_that_made_it_is_answered_was_inserted_first(ear: Ear) -> None:
    """A callback is claimed by another connection: who sees it knows that it is committed."""
    job, other = new_record(), new_record()
    with ear.telling.collect():
        note_inserted([job, other])
        note_batch(bytes(16), "succeeded")
        token = _TOLD.set(None)  # another task, whose transaction it is not
        claimed = copy(job)
        claimed.node = "n1"
        machine.begin(claimed, now_us())
        _TOLD.reset(token)
        assert [(e.event, e.job_id.bytes) for e in ear.heard() if isinstance(e, JobTransition)] == [
            ("inserted", job.id),
            ("started", job.id),
        ]
    assert [e.job_id.bytes if isinstance(e, JobTransition) else e.name for e in ear.heard()] == [
        other.id,
        "BatchChanged",
    ]


def test_what_is_rolled_back_is_not_told(ear: Ear) -> None:
    """Whatever was noted until then."""

    def fail() -> None:
        with ear.telling.collect():
            note_inserted([new_record()])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ear.heard() == []


def test_no_transaction_is_collected_without_bound(ear: Ear) -> None:
    """So many one by one, the others by kind."""
    with ear.telling.collect():
        note_inserted([new_record() for _ in range(MOST + 30)])
        note_batch(bytes(16), "opened")
    heard = ear.heard()
    assert sum(isinstance(event, JobTransition) for event in heard) == MOST
    assert [event.jobs for event in heard if isinstance(event, JobsChanged)] == [30]
    assert any(isinstance(event, BatchChanged) for event in heard)


def test_nothing_is_collected_while_nobody_listens() -> None:
    """That is why it costs nothing."""
    telling = Telling()
    assert telling.begin() is None
    telling.attach(bus := Bus("n1"))
    assert telling.begin() is None
    bus.stream(JobTransition)
    assert telling.begin() is not None


async def test_a_row_that_a_claim_brings_here_before_its_commit_is_answered_is_told_in_order() -> None:
    """The journal says which rows are on their way, in every batch."""
    table = Table()

    class Early(MemoryStore):
        async def commit_inserts(
            self, membership: Membership, number: int, records: Sequence[Record], **how: Any
        ) -> set[bytes]:
            refused = await super().commit_inserts(membership, number, records, **how)
            claimed = [copy(record) for record in records]
            table.adopt(claimed)
            for record in claimed:
                machine.begin(record, now_us())
            return refused

    store = Early()
    ear = Ear(store.telling)
    table.on_stored = ear.watch.inserted
    await store.open()
    membership = await store.join("n1", 30)
    async with trio.open_nursery() as nursery:
        await nursery.start(Journal(table, store, membership, trio.sleep_forever).run)
        for _ in range(2):
            await table.committed(await table.submit([new_record(node="n1")], may_conflict=False))
            assert ear.names() == ["inserted", "started"]
        nursery.cancel_scope.cancel()
    ear.bus.close()
