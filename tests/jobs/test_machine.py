"""The machine: what each change does to a record, and the history it writes."""

import datetime as dt
from copy import copy

import pytest

from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.record import Job, from_us
from tests.jobs.make import NOW, record

SECOND = 1_000_000


def error(attempt: int = 1, message: str = "no") -> bytes:
    return machine.quote_error(NOW, attempt, "exception", message, "trace", "node-1", 42)


def test_inserted_writes_the_first_line_of_the_history() -> None:
    """History begins with the insert, from no state."""
    job = record(state="scheduled")
    machine.inserted(job)
    assert Job(job).history == [
        {"at": from_us(NOW), "event": "inserted", "from": None, "to": "scheduled", "meta": {}},
    ]


def test_begin_counts_the_attempt() -> None:
    """A start of `perform` is an attempt, with its time."""
    job = record()
    machine.begin(job, NOW + 5)
    assert (job.state, job.attempt, job.attempted_at) == ("executing", 1, NOW + 5)


def test_complete_keeps_the_result_and_the_errors_of_before() -> None:
    """A success keeps its value, is at 100 %, has its end, and forgets no earlier error."""
    job = record(state="executing", attempt=2, errors=error())
    machine.complete(job, NOW + 7, b'{"a":1}')
    view = Job(job)
    assert (view.state, view.result, view.progress) == ("completed", {"a": 1}, 100)
    assert view.completed_at == from_us(NOW + 7)
    assert view.cancelled_at is None
    assert view.discarded_at is None
    assert len(view.errors) == 1


def test_complete_leaves_the_result_out_when_the_job_says_so() -> None:
    """`result="discard"` keeps no value."""
    job = record(state="executing", attempt=1, keep_result=False)
    machine.complete(job, NOW, b"1")
    assert job.result is None


def test_a_result_that_was_not_json_is_noted_in_the_history() -> None:
    """A success never turns into a failure: the note is meta of the transition."""
    job = record(state="executing", attempt=1)
    machine.complete(job, NOW, b"null", note="is a date")
    assert job.state == "completed"
    assert Job(job).history[-1]["meta"] == {"note": "is a date"}


def test_a_failure_waits_for_its_delay() -> None:
    """A failed attempt with attempts left is retryable and due after the delay."""
    job = record(state="executing", attempt=1)
    machine.fail(job, NOW, error(), 2.5)
    assert (job.state, job.scheduled_at, job.finished_at) == ("retryable", NOW + 2_500_000, None)
    assert Job(job).errors == [
        {
            "at": from_us(NOW),
            "attempt": 1,
            "kind": "exception",
            "message": "no",
            "traceback": "trace",
            "node": "node-1",
            "worker_pid": 42,
        }
    ]


@pytest.mark.parametrize(
    ("attempt", "expected"), [(1, "retryable"), (2, "retryable"), (3, "discarded"), (4, "discarded")]
)
def test_the_last_failure_discards(attempt: int, expected: str) -> None:
    """At `max_attempts` a failure makes a dead letter, which is due never more."""
    job = record(state="executing", attempt=attempt, scheduled_at=NOW - 9)
    machine.fail(job, NOW, error(attempt), 5.0)
    assert job.state == expected
    if expected == "discarded":
        assert (job.finished_at, job.scheduled_at) == (NOW, NOW - 9)
        assert Job(job).discarded_at == from_us(NOW)


@pytest.mark.parametrize("delay", [float("inf"), float("nan")])
def test_a_delay_that_is_no_number_changes_nothing(delay: float) -> None:
    """A change that cannot be made is not half made."""
    for change in (lambda r: machine.fail(r, NOW, error(), delay), lambda r: machine.snooze(r, NOW, delay)):
        job = record(state="executing", attempt=1)
        before = copy(job)
        with pytest.raises((OverflowError, ValueError)):
            change(job)
        assert job == before


def test_ten_snoozes_then_one_failure_with_three_attempts_is_not_discarded() -> None:
    """A snooze gives its attempt back and records no error, however often."""
    job = record()
    machine.inserted(job)
    now = NOW
    for _ in range(10):
        machine.begin(job, now)
        assert job.attempt == 1
        machine.snooze(job, now, 30.0)
        assert (job.state, job.attempt, job.errors) == ("scheduled", 0, b"")
        assert job.scheduled_at == now + 30 * SECOND
        now += 30 * SECOND
        machine.promote(job, now)
    machine.begin(job, now)
    machine.fail(job, now, error(), 1.0)
    assert (job.state, job.attempt, len(Job(job).errors)) == ("retryable", 1, 1)
    assert [entry["event"] for entry in Job(job).history].count("snoozed") == 10


def test_a_worker_lost_without_its_fault_gives_the_attempt_back() -> None:
    """What was taken back is available again, its attempt not counted, the reason kept."""
    job = record()
    machine.begin(job, NOW)
    machine.take_back(job, NOW + 1, "its process died")
    assert (job.state, job.attempt) == ("available", 0)
    assert Job(job).history[-1]["meta"] == {"reason": "its process died"}


def test_what_never_began_is_as_if_it_had_not_been_handed_out() -> None:
    """`never_began` undoes `begin` to the last byte, also on a second attempt."""
    job = record(state="available", attempt=1, attempted_at=NOW - 3, history=b'[1,"inserted",null,"available"]')
    untouched = copy(job)
    was = machine.before(job)
    machine.begin(job, NOW)
    assert job != untouched
    machine.never_began(job, was)
    assert job == untouched


def test_cancel_and_discard_keep_reason_and_error() -> None:
    """The reason is meta of the transition; an error given with it joins the errors."""
    for change, state in ((machine.cancel, "cancelled"), (machine.discard, "discarded")):
        job = record(state="executing", attempt=1, errors=error(1, "first"))
        change(job, NOW, "not wanted", error=error(1, "second"))
        view = Job(job)
        assert (view.state, job.finished_at) == (state, NOW)
        assert view.history[-1]["meta"] == {"reason": "not wanted"}
        assert [entry["message"] for entry in view.errors] == ["first", "second"]
        quiet = record()
        change(quiet, NOW)
        assert (quiet.errors, Job(quiet).history[-1]["meta"]) == (b"", {})


def test_history_is_in_causal_order_at_equal_times_and_when_the_clock_steps_back() -> None:
    """Entries stand in the order of the transitions, whatever their times say, and chain from state to state."""
    job = record(state="scheduled")
    machine.inserted(job)
    machine.promote(job, NOW)
    machine.begin(job, NOW)
    machine.fail(job, NOW, error(), 0.0)
    machine.promote(job, NOW - 50)
    machine.begin(job, NOW - 60)
    machine.complete(job, NOW - 60, None)
    history = Job(job).history
    assert [(entry["from"], entry["to"]) for entry in history] == [
        (None, "scheduled"),
        ("scheduled", "available"),
        ("available", "executing"),
        ("executing", "retryable"),
        ("retryable", "available"),
        ("available", "executing"),
        ("executing", "completed"),
    ]
    assert all(isinstance(entry["at"], dt.datetime) for entry in history)


def test_a_reason_with_quotes_stays_json() -> None:
    """Whatever a reason holds, history can be read back."""
    job = record()
    machine.cancel(job, NOW, 'he said "no"\n\\')
    assert Job(job).history[-1]["meta"] == {"reason": 'he said "no"\n\\'}


def test_a_long_message_keeps_its_head_and_its_tail() -> None:
    """Texts of an error are cut in the middle, and say how much is missing."""
    text = "head" + "x" * 50_000 + "tail"
    entry = json.decode(machine.quote_error(NOW, 1, "exception", text, text))
    for field, limit in (("message", 4_000), ("traceback", 16_000)):
        assert entry[field].startswith("head")
        assert entry[field].endswith("tail")
        assert len(entry[field]) < limit + 100
        assert "characters left out" in entry[field]


def test_a_message_with_undecodable_bytes_is_written() -> None:
    """Lone surrogates, as `os.fsdecode` makes them, do not make the failure itself fail."""
    assert json.decode(machine.quote_error(NOW, 1, "exception", "caf\udce9"))["message"] == "caf\\udce9"
