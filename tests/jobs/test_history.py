"""The history of the usual way is not written: it is what the job's times say, and the same lines all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.history import whole_history
from kathikon_actors.jobs.record import Job, Record
from tests.jobs.make import NOW, record


def written(job: Record) -> Record:
    """A record whose history was written out from the start."""
    job.history = whole_history(job)
    return job


def test_the_usual_way_writes_nothing_and_says_everything() -> None:
    """Inserted, started, completed: three lines, each with its time."""
    job = record()
    machine.inserted(job)
    machine.begin(job, NOW + 1)
    machine.complete(job, NOW + 2, b"1")
    assert job.history == b""
    assert json.decode(b"[" + whole_history(job) + b"]") == [
        [NOW, "inserted", None, "available"],
        [NOW + 1, "started", "available", "executing"],
        [NOW + 2, "completed", "executing", "completed"],
    ]


STEPS: dict[str, tuple[Callable[[Record], object], ...]] = {
    "available": (),
    "running": (lambda j: machine.begin(j, NOW + 1),),
    "completed": (lambda j: machine.begin(j, NOW + 1), lambda j: machine.complete(j, NOW + 2, None)),
    "with a note": (lambda j: machine.begin(j, NOW + 1), lambda j: machine.complete(j, NOW + 2, None, note="no")),
    "failed": (lambda j: machine.begin(j, NOW + 1), lambda j: machine.fail(j, NOW + 2, b"{}", 3.0)),
    "second attempt": (
        lambda j: machine.begin(j, NOW + 1),
        lambda j: machine.fail(j, NOW + 2, b"{}", 0.0),
        lambda j: machine.promote(j, NOW + 3),
        lambda j: machine.begin(j, NOW + 4),
        lambda j: machine.complete(j, NOW + 5, None),
    ),
    "taken back": (lambda j: machine.begin(j, NOW + 1), lambda j: machine.take_back(j, NOW + 2, "lost")),
    "cancelled": (lambda j: machine.cancel(j, NOW + 1),),
    "rerun": (
        lambda j: machine.begin(j, NOW + 1),
        lambda j: machine.complete(j, NOW + 2, None),
        lambda j: machine.rerun(j, NOW + 3, b"\1" * 16),
    ),
}


@pytest.mark.parametrize("steps", STEPS)
def test_written_or_not_the_history_is_the_same(steps: str) -> None:
    """Whatever happens on the way or beside it."""
    short, long = record(), written(record())
    for step in STEPS[steps]:
        step(short)
        step(long)
    assert Job(short).history == Job(long).history
    assert (short.state, short.attempt) == (long.state, long.attempt)


@pytest.mark.parametrize("state", ["scheduled", "blocked"])
def test_a_job_that_is_not_ready_at_its_insert_has_its_line_written(state: str) -> None:
    """Its state at the insert cannot be told later."""
    job = record(state=state)
    machine.inserted(job)
    assert json.decode(b"[" + job.history + b"]") == [[NOW, "inserted", None, state]]


def test_a_row_that_other_programs_inserted_has_a_first_line() -> None:
    """SQL may leave the history empty in any state."""
    assert [entry["to"] for entry in Job(record(state="scheduled")).history] == ["scheduled"]


def test_a_start_that_never_was_leaves_no_trace() -> None:
    """A run that was handed out and taken back unstarted."""
    job = record()
    was = machine.before(job)
    machine.begin(job, NOW + 1)
    machine.never_began(job, was)
    assert [entry["event"] for entry in Job(job).history] == ["inserted"]
