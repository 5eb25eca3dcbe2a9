"""Batches as pure counts, what users see of them, and how they travel."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs import errors
from kathikon_actors.jobs.batch import Batch, BatchRecord, Callback, at_least, callback_of
from kathikon_actors.jobs.batch_status import BatchStatus
from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.jobs.wire import (
    batch_from_wire,
    batch_to_wire,
    error_from_wire,
    error_to_wire,
    from_wire,
    to_wire,
)
from tests.jobs.make import NOW, record

states = st.lists(st.sampled_from(["completed", "cancelled", "discarded"]), max_size=8)


class NoOffset(dt.tzinfo):
    """A zone that does not say how far it is from UTC."""

    def utcoffset(self, _at: dt.datetime | None) -> None:
        return None


def batch(**fields: Any) -> BatchRecord:
    return BatchRecord(id=UUID(int=5).bytes, opened_at=NOW, **fields)


@given(endings=states, needed=st.none() | st.integers(0, 8), seal_at=st.integers(0, 8))
def test_a_batch_resolves_exactly_once_when_sealed_and_done(
    endings: list[Any], needed: int | None, seal_at: int
) -> None:
    """Whenever it is sealed, by its policy."""
    one = batch(total=len(endings), needed=needed)
    resolved = 0
    for place, state in enumerate([*endings, None]):
        if place == min(seal_at, len(endings)):
            one.sealed_at = NOW
            resolved += one.resolve(NOW)
        if state is not None:
            one.count(state)
            resolved += one.resolve(NOW)
    assert resolved == 1
    done = endings.count("completed")
    assert one.succeeded == (done == len(endings) if needed is None else done >= needed)
    assert one.state == ("succeeded" if one.succeeded else "failed")
    assert not one.resolve(NOW)


def test_what_users_see_of_a_batch() -> None:
    """Counts, state, progress; plain JSON on request."""
    status = BatchStatus.of(batch(total=8, completed=1, cancelled=1, discarded=0, name="n", sealed_at=NOW))
    assert (status.state, status.pending, status.progress, status.is_resolved) == ("running", 6, 25.0, False)
    shown = status.to_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["id"] == str(UUID(int=5)) and shown["pending"] == 6
    assert BatchStatus.of(batch()).progress == 100.0


def test_a_callback_is_the_job_that_was_declared() -> None:
    """With what the batch came to in its meta."""
    declared = record(args=b'{"n":[1.0]}', meta=b'{"a":1}', tags=("t",), priority=3, max_attempts=7, timeout=2.5)
    declared.keep_result = False
    one = batch(total=1, completed=1, sealed_at=NOW, on_complete=Callback.of(declared).encode())
    assert one.resolve(NOW)
    made = callback_of(one, UUID(int=9).bytes, NOW + 1)
    assert made is not None
    job = Job(made)
    assert (job.id, job.args, job.tags, job.priority) == (UUID(int=9), {"n": [1.0]}, ["t"], 3)
    assert (job.max_attempts, job.timeout, made.keep_result, job.state) == (7, 2.5, False, "available")
    assert job.meta["a"] == 1 and job.meta["batch"]["state"] == "succeeded"
    assert callback_of(batch(), UUID(int=9).bytes, NOW) is None


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"policy": "most"}, "at_least"),
        ({"on_success": "job"}, r"worker\.new"),
        ({"name": 7}, "give a string"),
        ({"name": "\ud800"}, "give a string"),
        ({"on_success": NewJob("w", 5)}, "on_success: .*args is 5"),  # type: ignore[arg-type]
        ({"on_failure": NewJob("", {})}, "on_failure: .*worker is none"),
    ],
)
def test_bad_batches_are_refused(options: dict[str, Any], told: str) -> None:
    """Naming the field and what is legal."""
    with pytest.raises(BadConfiguration, match=told):
        Batch(**options)
    with pytest.raises(BadConfiguration, match="whole number from 0"):
        at_least(-1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("schedule_in", 5),
        ("schedule_at", dt.datetime(2030, 1, 1)),
        ("unique", Unique()),
        ("partition_key", "k"),
        ("depends_on", [UUID(int=3)]),
        ("on_dependency_failure", "run"),
        ("batch", UUID(int=3)),
        ("durability", "snapshot"),
        ("id", UUID(int=3)),
    ],
)
def test_an_option_that_a_callback_would_lose_is_refused_by_name(option: str, value: Any) -> None:
    """When the batch is made; one that says nothing is no matter."""
    for field in ("on_complete", "on_success", "on_failure"):
        with pytest.raises(BadConfiguration, match=f"the job of {field} has the option {option},"):
            Batch(**{field: NewJob("w", {}).options(**{option: value})})  # type: ignore[arg-type]
        Batch(**{field: NewJob("w", {}).options(**{option: None})})  # type: ignore[arg-type]


def test_a_callback_without_a_timeout_has_none_afterwards() -> None:
    """JSON has no number for infinity."""
    one = batch(sealed_at=NOW, on_complete=Callback.of(record(timeout=math.inf)).encode())
    assert one.resolve(NOW)
    made = callback_of(one, UUID(int=9).bytes, NOW)
    assert made is not None and made.timeout == math.inf


def test_jobs_and_batches_travel_whole() -> None:
    """From a running job to its node."""
    new = NewJob("w", {"a": [1, {"b": None}]}).options(
        tags=("x",), meta={"m": 1}, unique=Unique(keys=("args.a",), debounce=2.0), depends_on=[UUID(int=3)],
        batch=UUID(int=4), id=UUID(int=5), priority=-1,
    )  # fmt: skip
    again = from_wire(to_wire(new))
    assert (again.worker, again.args) == ("w", new.args)
    assert again.given == {
        **new.given, "tags": ["x"], "depends_on": [str(UUID(int=3))], "batch": str(UUID(int=4)), "id": str(UUID(int=5)),
    }  # fmt: skip
    for policy in ("all", "any", at_least(3)):
        there = batch_from_wire(batch_to_wire(Batch(on_failure=NewJob("w", {}), policy=policy, name="n")))
        assert there.needed == Batch(policy=policy).needed
        assert there.on_failure is not None and there.on_success is None
    with pytest.raises(InvalidJob, match="args.a"):
        to_wire(NewJob("w", {"a": {1, 2}}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("priority", object()),
        ("priority", 10**30),
        ("partition_key", "\ud800"),
        ("tags", 5),
        ("tags", ["\ud800"]),
        ("depends_on", 5),
        ("schedule_at", dt.datetime(2030, 1, 1, tzinfo=NoOffset())),
    ],
)
def test_what_cannot_travel_is_refused_by_its_name(option: str, value: Any) -> None:
    """By the job that asks, before anything is sent."""
    with pytest.raises(InvalidJob, match=f"job for w: {option} is "):
        to_wire(NewJob("w", {}).options(**{option: value}))


def test_errors_keep_their_class_and_data_on_the_way() -> None:
    """What is unknown is at least an error of ours."""
    error = errors.DependenciesNotFound("w", ["a", "b"])
    again = error_from_wire(error_to_wire(error))
    assert type(again) is errors.DependenciesNotFound
    assert again.missing == ("a", "b") and str(again) == str(error)
    assert type(error_from_wire(error_to_wire(TypeError("no")))) is TypeError
    assert type(error_from_wire(error_to_wire(OSError("odd")))) is errors.KathikonError
