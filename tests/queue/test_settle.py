"""From a report to the state of the job."""

import pytest

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.backoff import default_backoff
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.processes.messages import Report, Verdict
from kathikon_actors.queue.settle import settle, settle_crash, settle_interrupted
from tests.jobs.make import NOW, record


def as_default(_worker: str, attempt: int, _error: BaseException) -> float:
    return default_backoff(attempt, 0.5)


def executing(**fields: object) -> Record:
    job = record(**fields)
    machine.begin(job, NOW)
    return job


def settled(report: Report, **fields: object) -> Record:
    job = executing(**fields)
    settle(job, report, NOW, "node-1", 42, as_default)
    return job


def test_completed_keeps_result_and_note() -> None:
    """The value, or why there is none."""
    assert settled(Report(1, "completed", 0.1, b"5")).result == b"5"
    noted = settled(Report(1, "completed", 0.1, b"null", note="result is of type date"))
    assert noted.state == "completed"
    assert Job(noted).history[-1]["meta"] == {"note": "result is of type date"}


def test_snoozed_gives_the_attempt_back() -> None:
    """Scheduled at now and its seconds, without an error."""
    job = settled(Report(1, "snoozed", 0.1, delay=30.0))
    assert (job.state, job.attempt, job.scheduled_at, job.errors) == ("scheduled", 0, NOW + 30_000_000, b"")


def test_failed_with_its_own_delay_waits_that_long() -> None:
    """`Retry(delay=...)` or the worker's backoff came with the report; 0 is a delay too."""
    assert settled(Report(1, "failed", 0.1, kind="retry", message="no", delay=7.0)).scheduled_at == NOW + 7_000_000
    assert settled(Report(1, "failed", 0.1, kind="retry", message="no", delay=0.0)).scheduled_at == NOW


def test_failed_without_a_delay_takes_the_default_backoff() -> None:
    """`attempt**4 + 30 * chance` seconds."""
    job = settled(Report(1, "failed", 0.1, kind="exception", message="ValueError: no", traceback="trace"))
    assert (job.state, job.scheduled_at) == ("retryable", NOW + 16_000_000)
    assert Job(job).errors[0] | {"at": None} == {
        "at": None,
        "attempt": 1,
        "kind": "exception",
        "message": "ValueError: no",
        "traceback": "trace",
        "node": "node-1",
        "worker_pid": 42,
    }


def test_the_last_failure_is_discarded_with_its_error() -> None:
    """At `max_attempts` there is no next attempt."""
    job = settled(Report(1, "failed", 0.1, kind="fail", message="no", delay=1.0), max_attempts=1)
    assert (job.state, len(Job(job).errors)) == ("discarded", 1)


@pytest.mark.parametrize("verdict", ["discarded", "cancelled"])
def test_discard_and_cancel_end_at_once_with_their_reason(verdict: Verdict) -> None:
    """Attempts that are left change nothing; the reason is in the history and among the errors."""
    job = settled(Report(1, verdict, 0.1, kind=verdict, message="not wanted"), max_attempts=9)
    assert job.state == verdict
    assert Job(job).history[-1]["meta"] == {"reason": "not wanted"}
    assert Job(job).errors[0]["message"] == "not wanted"


@pytest.mark.parametrize("verdict", ["interrupted", "returned"])
def test_what_only_the_runner_can_judge_is_not_guessed(verdict: Verdict) -> None:
    """Interrupted and returned runs are its own doing."""
    with pytest.raises(AssertionError, match="for the runner to judge"):
        settled(Report(1, verdict, 0.0))


def test_a_timeout_is_a_failed_attempt() -> None:
    """Kind `timeout`, with the seconds it had."""
    job = executing(timeout=1.5)
    settle_interrupted(job, "timeout", NOW, "node-1", 42, as_default)
    (error,) = Job(job).errors
    assert (job.state, job.scheduled_at) == ("retryable", NOW + 16_000_000)
    assert (error["kind"], error["message"]) == ("timeout", "did not end within its timeout of 1.5 s")


def test_a_cancelled_run_is_cancelled_without_an_error() -> None:
    """Somebody wanted it."""
    job = executing()
    settle_interrupted(job, "cancel", NOW, "node-1", 42, as_default)
    assert (job.state, job.errors) == ("cancelled", b"")


def test_a_crash_is_a_failed_attempt_that_names_how() -> None:
    """Kind `crash`, with the signal's or exit status' name; the last one discards."""
    job = executing(max_attempts=1)
    settle_crash(job, "killed by SIGSEGV", NOW, "node-1", 42, as_default)
    (error,) = Job(job).errors
    assert (job.state, error["kind"]) == ("discarded", "crash")
    assert error["message"] == "the worker process died: killed by SIGSEGV"


def test_a_failure_without_a_delay_a_timeout_and_a_crash_ask_the_workers_backoff() -> None:
    """With the worker's name, the attempt and an error that says what happened."""
    asked: list[tuple[str, int, str]] = []

    def backoff(worker: str, attempt: int, error: BaseException) -> float:
        asked.append((worker, attempt, str(error)))
        return 9.0

    failed, late, dead = executing(), executing(), executing()
    settle(failed, Report(1, "failed", 0.1, kind="exception", message="ValueError: no"), NOW, "node-1", 42, backoff)
    settle_interrupted(late, "timeout", NOW, "node-1", 42, backoff)
    settle_crash(dead, "exit status 3", NOW, "node-1", 42, backoff)
    assert {job.scheduled_at for job in (failed, late, dead)} == {NOW + 9_000_000}
    assert [(worker, attempt) for worker, attempt, _ in asked] == [("charge", 1)] * 3
    assert "no" in asked[0][2]
    assert "timeout" in asked[1][2]
    assert "exit status 3" in asked[2][2]
    asked.clear()
    settle(executing(), Report(1, "failed", 0.1, delay=3.0), NOW, "node-1", 42, backoff)
    assert asked == [], "a delay that came with the report is not asked for again"
