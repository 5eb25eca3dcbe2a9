"""`Job`, the frozen view of a record."""

import copy
import datetime as dt
import json as stdlib
import pickle
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.record import Job, from_us, to_us
from kathikon_actors.jobs.runtime import CURRENT
from tests.jobs.make import NOW, record


def full() -> Job:
    """A job with something in every field."""
    made = record(
        args=b'{"invoice_id":"INV-7","cents":[5]}', meta=b'{"who":"me"}', tags=("vip", "eu"), priority=2, node="node-1"
    )
    machine.inserted(made)
    machine.begin(made, NOW + 1)
    machine.fail(made, NOW + 2, machine.quote_error(NOW + 2, 1, "exception", "no", None, "node-1", 9), 1.0)
    machine.promote(made, NOW + 3)
    machine.begin(made, NOW + 4)
    machine.complete(made, NOW + 5, b'{"ok":true}')
    made.orphaned = 1
    made.extra = Extra(
        unique_key=bytes(range(16)),
        partition_key="eu",
        depends_on=(UUID(int=7).bytes, UUID(int=8).bytes),
        on_dependency_failure="run",
        dependency_results=b'"%s":[1]' % str(UUID(int=7)).encode(),
        batch_id=UUID(int=9).bytes,
        parent_id=UUID(int=10).bytes,
    )
    return Job(made)


def test_every_property_has_its_type_and_value() -> None:
    """Fields are decoded as Python values, times as aware UTC datetimes."""
    job = full()
    assert job.id == UUID(int=1)
    assert (job.queue, job.worker, job.state, job.is_terminal) == ("default", "charge", "completed", True)
    assert job.args == {"invoice_id": "INV-7", "cents": [5]}
    assert job.meta == {"who": "me"}
    assert job.tags == ["vip", "eu"]
    assert (job.priority, job.attempt, job.max_attempts, job.timeout) == (2, 2, 3, 300.0)
    assert job.inserted_at == dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    assert job.scheduled_at == from_us(NOW + 1_000_002)
    assert job.attempted_at == from_us(NOW + 4)
    assert (job.completed_at, job.cancelled_at, job.discarded_at) == (from_us(NOW + 5), None, None)
    assert job.result == {"ok": True}
    assert (job.progress, job.node, job.orphaned, job.conflict) == (100, "node-1", 1, False)
    assert [entry["message"] for entry in job.errors] == ["no"]
    assert job.errors[0]["at"] == from_us(NOW + 2)
    assert len(job.history) == 6
    assert (job.unique_key, job.partition_key) == ("000102030405060708090a0b0c0d0e0f", "eu")
    assert (job.depends_on, job.on_dependency_failure) == ([UUID(int=7), UUID(int=8)], "run")
    assert (job.dependency_results, job.batch_id, job.parent_id) == ({UUID(int=7): [1]}, UUID(int=9), UUID(int=10))
    fresh = Job(record())
    assert (fresh.attempted_at, fresh.completed_at, fresh.result, fresh.errors) == (None, None, None, [])


def test_a_plain_job_has_neither_key_nor_parents_nor_batch() -> None:
    """What only some jobs have reads as nothing."""
    job = Job(record())
    assert (job.unique_key, job.partition_key, job.batch_id, job.parent_id) == (None, None, None, None)
    assert (job.depends_on, job.on_dependency_failure, job.dependency_results) == ([], "discard", {})


@pytest.mark.parametrize("state", ["cancelled", "discarded"])
def test_the_end_is_told_under_the_name_of_its_state(state: str) -> None:
    """Only the time of the state it is in is set."""
    job = Job(record(state=state, finished_at=NOW))
    times = {"completed": job.completed_at, "cancelled": job.cancelled_at, "discarded": job.discarded_at}
    assert {name for name, at in times.items() if at is not None} == {state}


def test_a_job_cannot_be_changed() -> None:
    """Setting and deleting are refused, and what was decoded is the caller's own copy."""
    job = full()
    with pytest.raises(AttributeError, match="frozen record; it has no state to set"):
        job.state = "available"  # type: ignore[misc]
    with pytest.raises(AttributeError, match="frozen record; it has no new to set"):
        job.new = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="no conflict to delete"):
        del job.conflict
    job.args["cents"].append(6)
    job.tags.append("more")
    assert job.args["cents"] == [5]
    assert job.tags == ["vip", "eu"]


def test_a_picture_does_not_change_with_its_record() -> None:
    """`Job.of` shows the moment it was taken."""
    live = record()
    picture = Job.of(live)
    machine.begin(live, NOW)
    assert (picture.state, picture.attempt) == ("available", 0)


def test_equal_jobs_are_equal_and_hash_alike() -> None:
    """Equality is by content, hash by id; another moment of the same job is not equal."""
    assert full() == full()
    assert hash(full()) == hash(full())
    assert full() != Job(record())
    assert full() != "job"
    assert len({full(), full(), Job(record(2))}) == 2


def test_a_job_survives_pickle_and_copy() -> None:
    """Pickled and copied jobs are equal, the mark of a conflict included."""
    job = Job(full()._record, conflict=True)
    for again in (pickle.loads(pickle.dumps(job)), copy.deepcopy(job), copy.copy(job)):
        assert again == job
        assert again.conflict is True


def test_to_dict_is_plain_json_with_every_field() -> None:
    """What `--json` prints: every field by name, times as ISO 8601."""
    shown = full().to_dict()
    assert stdlib.loads(stdlib.dumps(shown)) == shown
    assert shown["id"] == str(UUID(int=1))
    assert shown["inserted_at"] == "2023-11-14T22:13:20+00:00"
    assert shown["errors"][0]["at"] == "2023-11-14T22:13:20.000002+00:00"
    assert [entry["to"] for entry in shown["history"]][-1] == "completed"
    fields = {name for name, value in vars(Job).items() if isinstance(value, property)}
    assert set(shown) == fields - {"is_cancelled", "is_terminal", "log"}


def test_repr_names_the_job_and_where_it_is() -> None:
    """One look tells id, worker, queue, state and attempt."""
    assert repr(full()) == f"<Job {UUID(int=1)} charge on default: completed, attempt 2>"


@given(us=st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_microseconds_and_datetimes_convert_exactly(us: int) -> None:
    """No microsecond is lost from year 1 to year 9999."""
    assert to_us(from_us(us)) == us


def test_progress_and_cancellation_speak_with_the_worker_that_runs_the_job() -> None:
    """Inside the worker they reach the node; elsewhere, or for another job, they say that they cannot."""
    told: list[int] = []

    class Here:
        job_id = record().id

        def report_progress(self, percent: int) -> None:
            told.append(percent)

        def is_cancelled(self) -> bool:
            return True

    job = Job(record())
    with pytest.raises(RuntimeError, match="only inside the worker"):
        job.report_progress(1)
    token = CURRENT.set(Here())
    try:
        job.report_progress(0)
        job.report_progress(100)
        assert told == [0, 100]
        assert job.is_cancelled
        for wrong in (-1, 101):
            with pytest.raises(ValueError, match="from 0 to 100"):
                job.report_progress(wrong)
        with pytest.raises(RuntimeError, match="only inside the worker"):
            _ = Job(record(2)).is_cancelled
    finally:
        CURRENT.reset(token)
