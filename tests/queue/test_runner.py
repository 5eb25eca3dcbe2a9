"""One worker process as its queue sees it, against a process that does what the test says."""

from __future__ import annotations

from typing import Any

import pytest

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.processes.exits import ExitStatus, WorkerDied
from kathikon_actors.processes.frames import MAX_FRAME, encode_frames
from kathikon_actors.processes.messages import Progress, Report, Run
from kathikon_actors.queue.pace import AHEAD, MAX_AHEAD, Pace
from kathikon_actors.queue.patience import GRACE, LONG, SHOWN_AFTER, STALLED_AFTER
from kathikon_actors.queue.runner import Runner
from kathikon_actors.store.table import Table
from tests.jobs.make import NOW, record


class FakeProcess:
    """Takes everything, does nothing; the test sets what runs."""

    def __init__(self, kind: str, slots: int) -> None:
        self.kind = kind
        self.slots = slots
        self.pid = 42
        self.sent: list[list[Run]] = []
        self.now_running: dict[int, float] = {}
        self.lost: dict[int, bool] = {}
        self.revoked_from: int | None = None
        self.interrupted: list[tuple[int, str]] = []
        self.kills = 0
        self.full = False
        self.largest = MAX_FRAME

    def send(self, messages: list[Run]) -> None:
        if self.full:
            raise BufferError("it does not read")
        encode_frames(messages, limit=self.largest)
        self.sent.append(messages)

    def running(self) -> list[tuple[int, int]]:
        return [(seq, int(started * 1e9)) for seq, started in self.now_running.items()]

    def last_ended(self) -> dict[int, bool]:
        return self.lost

    def revoke_from(self, seq: int) -> None:
        self.revoked_from = seq

    def unrevoke(self) -> None:
        self.revoked_from = None

    def interrupt(self, seq: int, why: str) -> None:
        self.interrupted.append((seq, why))

    def kill(self) -> None:
        self.kills += 1


class Bench:
    """A runner on a fake process, its table, and a producer that notes what comes back."""

    def __init__(self, kind: str = "plain", slots: int = 1, *, alone: bool = False) -> None:
        self.process = FakeProcess(kind, slots)
        self.table = Table()
        self.pace = Pace()
        self.quarantine: set[bytes] = set()
        self.back: list[Record] = []
        self.table.attach_producer("default", self.back.extend)
        self.over: list[Record] = []
        self.runner = Runner(
            self.process,  # type: ignore[arg-type]
            self.table,
            "node-1",
            self.pace,
            self.quarantine,
            lambda: NOW,
            lambda _worker, _attempt, _error: 5.0,
            alone=alone,
            on_ended=self.over.extend,
        )

    def give(self, count: int = 1, now: float = 0.0, **fields: Any) -> list[Record]:
        jobs = [record(len(self.table.records) + n + 1, **fields) for n in range(count)]
        self.table.adopt(jobs)
        self.back.clear()
        for job in jobs:
            self.runner.give(job, NOW, now)
        self.runner.send()
        return jobs

    def written(self) -> list[Record]:
        """What waits for the journal."""
        return self.table.outcomes.pending

    def die(self) -> None:
        self.runner.bury(WorkerDied(ExitStatus(42, signal=11), self.process.running()))


def completed(seq: int, seconds: float = 0.001) -> Report:
    return Report(seq, "completed", seconds, b"1")


def returned(seq: int) -> Report:
    return Report(seq, "returned", 0.0)


# -- giving -----------------------------------------------------------------------------------------------------


def test_given_jobs_go_out_in_one_frame_with_growing_numbers() -> None:
    """Their attempt has begun; `send` sends each once."""
    bench = Bench()
    jobs = bench.give(3)
    bench.runner.send()
    assert [[run.seq for run in frame] for frame in bench.process.sent] == [[1, 2, 3]]
    assert [run.record for run in bench.process.sent[0]] == jobs
    assert {(job.state, job.attempt) for job in jobs} == {("executing", 1)}
    assert (bench.runner.busy, bench.runner.idle) == (3, False)
    assert bench.written() == [], "an executing row is not written for short jobs"


def test_an_async_process_has_room_for_its_slots() -> None:
    """Not one more: each runs at once."""
    bench = Bench("async", 3)
    for _ in range(3):
        assert bench.runner.has_room()
        bench.give()
    assert not bench.runner.has_room()
    bench.runner.hear([completed(2)])
    assert bench.runner.has_room()


def test_a_plain_process_has_room_for_a_few_milliseconds_of_work() -> None:
    """Unknown workers two ahead, short ones many, long ones one."""
    unknown = Bench()
    unknown.give(1)
    assert unknown.runner.has_room()
    unknown.give(1)
    assert not unknown.runner.has_room()
    for seconds, expected in ((1e-9, MAX_AHEAD), (AHEAD / 10, 10), (AHEAD, 1), (5.0, 1)):
        bench = Bench()
        bench.pace.observe("charge", seconds)
        given = 0
        while bench.runner.has_room():
            bench.give()
            given += 1
        assert given in (expected, expected + 1), "rounding may add one"
        assert given <= MAX_AHEAD


def test_one_run_at_a_time_in_quarantine() -> None:
    """Nothing ahead and nothing beside, whatever the slots."""
    bench = Bench("async", 10, alone=True)
    assert bench.runner.has_room()
    bench.give()
    assert not bench.runner.has_room()


def test_a_retired_process_is_given_nothing() -> None:
    """Also when it is empty."""
    bench = Bench()
    bench.runner.retire()
    assert not bench.runner.has_room()


# -- hearing ----------------------------------------------------------------------------------------------------


def test_reports_are_settled_written_and_told() -> None:
    """Each ended record goes to the journal, and the pace learns from it."""
    bench = Bench("async", 5)
    first, second, third = bench.give(3)
    failed = Report(2, "failed", 0.5, kind="exception", message="no", delay=1.0)
    assert bench.runner.hear([completed(1), failed]) == [first, second]
    assert (first.state, second.state, third.state) == ("completed", "retryable", "executing")
    assert bench.written() == [first, second]
    assert (bench.runner.busy, bench.runner.jobs) == (1, 2)
    assert bench.pace.expected("charge") == 0.5


def test_progress_is_kept_and_a_report_of_an_unknown_run_is_ignored() -> None:
    """A run that was taken back or never was may still be talked about."""
    bench = Bench()
    (job,) = bench.give()
    assert bench.runner.hear([Progress(1, 30), Progress(9, 50), completed(9)]) == []
    assert (job.progress, job.state, bench.runner.busy) == (30, "executing", 1)


def test_a_returned_run_is_as_if_never_given() -> None:
    """Its attempt is not counted, its history not touched, nothing is written, and it is dispatched again."""
    bench = Bench()
    jobs = bench.give(2)
    before = [record(1), record(2)]
    assert bench.runner.hear([returned(1), returned(2)]) == []
    assert jobs == before
    assert bench.back == jobs
    assert bench.written() == []
    assert bench.runner.idle


def test_credit_comes_back_with_each_run() -> None:
    """A thousand runs later there is as much room as at first."""
    bench = Bench()
    bench.pace.observe("charge", 0.001)
    for seq in range(1, 1001):
        bench.give()
        bench.runner.hear([completed(seq)])
    given = 0
    while bench.runner.has_room():
        bench.give()
        given += 1
    assert given in (4, 5)


# -- timeouts and interrupts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_run_over_its_timeout_is_interrupted_once_and_fails(kind: str) -> None:
    """Asked once; when it gives way the attempt fails with kind `timeout`, and nothing is killed."""
    bench = Bench(kind, 1)
    (job,) = bench.give(timeout=2.0)
    bench.process.now_running = {1: 0.0}
    bench.runner.watch(2.0)
    assert bench.process.interrupted == []
    bench.runner.watch(2.1)
    bench.runner.watch(2.2)
    assert bench.process.interrupted == [(1, "timeout")]
    bench.runner.hear([Report(1, "interrupted", 2.2, kind="timeout")])
    assert (job.state, Job(job).errors[0]["kind"]) == ("retryable", "timeout")
    assert bench.process.kills == 0


def test_the_timeout_counts_from_the_start_of_the_run_not_from_its_giving() -> None:
    """A run that waited behind another has its whole time."""
    bench = Bench("async", 1)
    bench.give(timeout=2.0, now=0.0)
    bench.process.now_running = {1: 100.0}
    bench.runner.watch(101.9)
    assert bench.process.interrupted == []


def test_a_run_that_does_not_give_way_loses_its_process_and_the_others_are_innocent() -> None:
    """Killed after the grace: the one fails with `timeout`, what ran beside it goes back uncounted, unquarantined."""
    bench = Bench("async", 3)
    (stuck,) = bench.give(timeout=1.0)
    beside, waiting = bench.give(2)
    bench.process.now_running = {1: 0.0, 2: 0.0}
    bench.runner.watch(1.1)
    bench.runner.watch(1.1 + GRACE - 0.1)
    assert bench.process.kills == 0
    bench.runner.watch(1.1 + GRACE + 0.1)
    assert bench.process.kills == 1
    bench.die()
    assert (stuck.state, stuck.attempt, Job(stuck).errors[0]["kind"]) == ("retryable", 1, "timeout")
    assert (beside.state, beside.attempt, beside.errors) == ("available", 0, b"")
    assert waiting == record(3)
    assert bench.quarantine == set()
    assert set(map(id, bench.back)) == {id(beside), id(waiting)}
    assert bench.written() == [stuck, beside]


def test_a_cancelled_run_ends_cancelled_whether_it_gives_way_or_not() -> None:
    """Given way, killed, or dead at the same moment: it is cancelled."""
    for dies in (False, True):
        bench = Bench()
        (job,) = bench.give()
        bench.process.now_running = {1: 0.0}
        assert bench.runner.interrupt_job(job.id, "cancel", 1.0)
        assert bench.process.interrupted == [(1, "cancel")]
        if dies:
            bench.die()
        else:
            bench.runner.hear([Report(1, "interrupted", 1.0, kind="cancel")])
        assert (job.state, job.errors) == ("cancelled", b"")
        assert bench.quarantine == set()


def test_only_the_process_that_has_a_job_can_stop_it() -> None:
    """The others say so."""
    bench = Bench()
    bench.give()
    assert not bench.runner.interrupt_job(record(99).id, "cancel", 0.0)
    assert bench.process.interrupted == []


@pytest.mark.parametrize("end", ["returned", "taken back", "died", "stopped"])
def test_a_run_that_was_cancelled_before_it_began_never_runs(end: str) -> None:
    """However it comes back, it is cancelled and not dispatched again; its attempt is not counted."""
    bench = Bench()
    _, second = bench.give(2)
    bench.process.now_running = {1: 0.0}
    bench.runner.interrupt_job(second.id, "cancel", 0.0)
    if end == "returned":
        bench.runner.hear([returned(2)])
    elif end == "taken back":
        bench.runner.watch(LONG + 0.01)
        bench.runner.watch(LONG + 0.03)
    elif end == "died":
        bench.die()
    else:
        bench.runner.abandon()
    assert (second.state, second.attempt) == ("cancelled", 0)
    assert second in bench.written()
    assert not any(job is second for job in bench.back)


def test_a_cancel_of_a_waiting_run_does_not_kill_what_runs_before_it() -> None:
    """The grace of a run begins when it runs."""
    bench = Bench("async", 1)
    _, second = bench.give(2)
    bench.process.now_running = {1: 0.0}
    bench.runner.interrupt_job(second.id, "cancel", 0.0)
    bench.runner.watch(GRACE * 3)
    assert bench.process.kills == 0
    bench.process.now_running = {2: GRACE * 3}
    bench.runner.watch(GRACE * 3 + 0.1)
    bench.runner.watch(GRACE * 4)
    assert bench.process.kills == 0
    bench.runner.watch(GRACE * 4 + 0.2)
    assert bench.process.kills == 1


# -- long jobs --------------------------------------------------------------------------------------------------


def test_what_waits_behind_a_long_job_is_taken_back_and_given_to_others() -> None:
    """First revoked, at the next look taken back; room again only when the process has answered for each."""
    bench = Bench()
    long, second, third = bench.give(3)
    bench.process.now_running = {1: 0.0}
    bench.runner.watch(LONG / 2)
    assert bench.process.revoked_from is None
    bench.runner.watch(LONG * 1.5)
    assert (bench.process.revoked_from, bench.back) == (2, [])
    bench.runner.watch(LONG * 3)
    assert bench.back == [second, third] == [record(2), record(3)]
    assert (long.state, bench.runner.busy, bench.runner.idle) == ("executing", 1, False)
    bench.runner.hear([completed(1), returned(2)])
    assert bench.runner.busy == 0
    assert not bench.runner.has_room(), "run 3 would start if it were allowed again now"
    assert bench.process.revoked_from == 2
    bench.runner.hear([returned(3)])
    assert bench.process.revoked_from is None
    assert bench.runner.has_room()
    assert bench.back == [second, third], "each came back once"


def test_a_run_that_began_while_it_was_being_revoked_is_not_taken_back() -> None:
    """It runs: taken back it would run twice."""
    bench = Bench()
    _, second, third = bench.give(3)
    bench.process.now_running = {1: 0.0}
    bench.runner.watch(LONG * 1.5)
    bench.process.now_running = {2: LONG * 1.5}
    bench.runner.hear([completed(1)])
    bench.runner.watch(LONG * 3)
    assert second.state == "executing"
    assert bench.back == [third]
    bench.runner.hear([completed(2), returned(3)])
    assert second.state == "completed"
    assert bench.runner.has_room()


def test_an_async_process_keeps_what_runs_beside_a_long_job() -> None:
    """Nothing waits behind anything there."""
    bench = Bench("async", 5)
    bench.give(3)
    bench.process.now_running = {1: 0.0, 2: 0.0}
    bench.runner.watch(0.5)
    assert bench.process.revoked_from is None


def test_a_job_that_runs_for_a_second_is_shown_as_executing_once() -> None:
    """One row for those who look from outside, not one each look."""
    bench = Bench("async", 1)
    (job,) = bench.give()
    bench.process.now_running = {1: 0.0}
    bench.runner.watch(SHOWN_AFTER - 0.1)
    assert bench.written() == []
    bench.runner.watch(SHOWN_AFTER + 0.1)
    assert (bench.written(), job.state) == ([job], "executing")
    bench.table.outcomes.take()
    job.dirty = False
    bench.runner.watch(SHOWN_AFTER + 1)
    assert bench.written() == []


def test_a_drain_takes_back_what_has_not_started() -> None:
    """What runs goes on; the process returns the rest by itself."""
    bench = Bench()
    bench.give(3)
    bench.process.now_running = {1: 0.0}
    bench.runner.revoke_waiting(0.0)
    assert bench.process.revoked_from == 2
    bench.runner.hear([completed(1), returned(2), returned(3)])
    assert bench.runner.idle
    assert len(bench.back) == 2


# -- stalls -----------------------------------------------------------------------------------------------------


def test_a_process_that_starts_nothing_is_killed_and_its_jobs_go_back() -> None:
    """Stopped or stuck: after ten seconds it is gone, and nobody's attempt was counted."""
    bench = Bench()
    jobs = bench.give(2, now=100.0)
    bench.runner.watch(100.0 + STALLED_AFTER - 0.1)
    assert bench.process.kills == 0
    bench.runner.watch(100.0 + STALLED_AFTER + 0.1)
    assert bench.process.kills == 1
    bench.die()
    assert jobs == [record(1), record(2)]
    assert bench.back == jobs


def test_a_process_whose_long_job_just_ended_is_not_stalled() -> None:
    """Between the end of a long run and its report nothing runs, though it was given long ago."""
    bench = Bench()
    (job,) = bench.give(now=0.0)
    bench.process.now_running = {1: 0.1}
    bench.runner.watch(STALLED_AFTER * 3)
    bench.process.now_running = {}
    bench.runner.watch(STALLED_AFTER * 3 + 0.02)
    assert bench.process.kills == 0
    bench.runner.hear([completed(1, 30.0)])
    assert job.state == "completed"


def test_a_process_that_was_idle_for_long_has_its_time_with_the_next_job() -> None:
    """The time counts from when it was given something to start."""
    bench = Bench()
    bench.give(now=0.0)
    bench.runner.watch(0.1)
    bench.runner.hear([completed(1)])
    bench.give(now=1000.0)
    bench.runner.watch(1000.0 + STALLED_AFTER - 0.1)
    assert bench.process.kills == 0


class Mourning:
    """Notes whose `on_discard` is to be called."""

    def __init__(self) -> None:
        self.taken: list[Record] = []

    def mourns(self, worker: str) -> bool:
        return True

    def take(self, record: Record, after: Record) -> None:
        self.taken.append(record)


@pytest.mark.parametrize("how", ["failed", "crashed"])
def test_a_run_whose_on_discard_is_to_be_called_is_over_as_it_will_end(how: str) -> None:
    """The job stays executing until then; its limits are told at once, and that it was discarded."""
    bench = Bench()
    bench.table.mourners = mourning = Mourning()
    (job,) = bench.give(max_attempts=1)
    bench.process.now_running = {1: 0.0}
    if how == "failed":
        assert bench.runner.hear([Report(1, "failed", 0.1, kind="exception", message="no")]) == []
    else:
        bench.die()
    assert mourning.taken == [job]
    assert (job.state, bench.written()) == ("executing", [])
    assert [(over.id, over.state) for over in bench.over] == [(job.id, "discarded")]


# -- deaths -----------------------------------------------------------------------------------------------------


def test_one_that_ran_alone_is_the_culprit() -> None:
    """Its attempt fails with kind `crash`; what had not started goes back uncounted."""
    bench = Bench()
    culprit, waiting = bench.give(2)
    bench.process.now_running = {1: 0.0}
    bench.die()
    (error,) = Job(culprit).errors
    assert (culprit.state, culprit.attempt, error["kind"]) == ("retryable", 1, "crash")
    assert "SIGSEGV" in error["message"]
    assert (bench.back, bench.written()) == ([waiting], [culprit])
    assert waiting == record(2)
    assert not bench.runner.has_room()
    assert bench.runner.busy == 0


def test_of_several_none_is_guilty_and_each_runs_alone_from_now_on() -> None:
    """Uncounted, without an error, in quarantine."""
    bench = Bench("async", 5)
    first, second, third = bench.give(3)
    bench.process.now_running = {1: 0.0, 2: 0.0}
    bench.die()
    for job in (first, second):
        assert (job.state, job.attempt, job.errors) == ("available", 0, b"")
        assert Job(job).history[-1]["event"] == "taken back"
    assert bench.quarantine == {first.id, second.id}
    assert third == record(3)
    assert {job.id for job in bench.back} == {first.id, second.id, third.id}


def test_quarantine_ends_with_a_run_that_came_back() -> None:
    """Innocent: next time it runs among the others again."""
    bench = Bench("async", 1, alone=True)
    (job,) = bench.give()
    bench.quarantine.add(job.id)
    bench.runner.hear([Report(1, "failed", 0.1, kind="exception", message="no")])
    assert bench.quarantine == set()


def test_a_job_that_crashes_in_quarantine_stays_there_until_it_is_discarded() -> None:
    """Counted each time; the dead letter leaves nothing behind."""
    quarantine: set[bytes] = set()
    job = record(max_attempts=2)
    for expected in ("retryable", "discarded"):
        bench = Bench("async", 1, alone=True)
        bench.runner._quarantine = quarantine
        bench.table.adopt([job])
        bench.runner.give(job, NOW, 0.0)
        bench.process.now_running = {1: 0.0}
        bench.die()
        assert job.state == expected
        assert quarantine == ({job.id} if expected == "retryable" else set())
        if expected == "retryable":
            machine.promote(job, NOW)
    assert [error["attempt"] for error in Job(job).errors] == [1, 2]


def test_quarantine_forgets_at_the_next_death_those_that_never_came_to_their_turn() -> None:
    """Cancelled, or another node's by now: the table does not know them any more."""
    bench = Bench("async", 5)
    first, second = bench.give(2)
    bench.quarantine.add(record(99).id)
    bench.process.now_running = {1: 0.0, 2: 0.0}
    bench.die()
    assert bench.quarantine == {first.id, second.id}


def test_a_run_that_was_reported_before_the_death_keeps_its_result() -> None:
    """What was heard is settled; the death concerns the rest."""
    bench = Bench("async", 2)
    done, dead = bench.give(2)
    bench.runner.hear([completed(1)])
    bench.process.now_running = {2: 0.0}
    bench.die()
    assert (done.state, dead.state) == ("completed", "retryable")
    assert Job(dead).errors[0]["kind"] == "crash"


def test_a_run_whose_report_is_lost_is_completed_when_the_report_said_nothing_else() -> None:
    """It is not run a second time; the one that killed the process is blamed, the one behind is as if never given."""
    bench = Bench()
    done, culprit, behind = bench.give(3)
    bench.process.now_running = {2: 0.0}
    bench.process.lost = {1: True}
    bench.die()
    assert (done.state, done.attempt, done.result) == ("completed", 1, b"null")
    assert (culprit.state, culprit.attempt) == ("retryable", 1)
    assert (behind.state, behind.attempt) == ("available", 0)


def test_a_run_whose_result_is_lost_runs_again_uncounted_and_its_history_says_so() -> None:
    """Another one was on when the process died."""
    bench = Bench()
    lost, culprit = bench.give(2)
    bench.process.now_running = {2: 0.0}
    bench.process.lost = {1: False}
    bench.die()
    assert (lost.state, lost.attempt, lost.errors) == ("available", 0, b"")
    assert b"its report was lost with its process" in lost.history
    assert culprit.state == "retryable" and bench.quarantine == set()


def test_a_run_that_ends_its_process_after_itself_is_counted_when_it_does_so_alone() -> None:
    """Such as one that closes all descriptors and returns: else it would run for ever."""
    bench = Bench()
    [job] = bench.give(1)
    bench.process.lost = {1: False}
    bench.die()
    assert (job.state, job.attempt) == ("available", 0) and bench.quarantine == {job.id}
    again = Bench(alone=True)
    again.quarantine.add(job.id)
    again.table.adopt([job])
    again.runner.give(job, NOW, 0.0)
    again.process.lost = {1: False}
    again.die()
    assert (job.state, job.attempt, Job(job).errors[0]["kind"]) == ("retryable", 1, "crash")


def test_a_run_that_was_seen_running_and_had_just_ended_is_not_blamed() -> None:
    """The worker notes the end before it lets go of the slot."""
    bench = Bench()
    [job] = bench.give(1)
    bench.process.now_running = {1: 0.0}
    bench.process.lost = {1: True}
    bench.die()
    assert job.state == "completed"


def test_a_cancelled_run_whose_result_is_lost_is_cancelled() -> None:
    """What an operator wanted holds."""
    bench = Bench("async", 1)
    [job] = bench.give(1)
    bench.process.now_running = {1: 0.0}
    bench.runner.interrupt_job(job.id, "cancel", 0.0)
    bench.process.lost = {1: False}
    bench.die()
    assert job.state == "cancelled"


def test_a_process_that_is_stopped_gives_everything_back_uncounted() -> None:
    """What ran is written as taken back, what waited is as it was."""
    bench = Bench()
    running, waiting = bench.give(2)
    bench.process.now_running = {1: 0.0}
    bench.runner.abandon()
    assert (running.state, running.attempt, running.errors) == ("available", 0, b"")
    assert Job(running).history[-1]["meta"] == {"reason": "its worker process was stopped"}
    assert waiting == record(2)
    assert bench.written() == [running]
    assert {job.id for job in bench.back} == {running.id, waiting.id}
    assert bench.runner.busy == 0


def test_a_cancel_of_plain_runs_that_wait_revokes_them_and_asks_nothing_of_what_runs() -> None:
    """A plain process has room for one request to stop; each waiting run is cancelled, those between come back."""
    bench = Bench()
    jobs = bench.give(5)
    bench.process.now_running = {1: 0.0}
    bench.runner.interrupt_job(jobs[4].id, "cancel", 0.0)
    bench.runner.interrupt_job(jobs[2].id, "discard", 0.0)
    assert (bench.process.interrupted, bench.process.revoked_from) == ([], 3)
    bench.process.now_running = {2: 0.005}
    bench.runner.hear([completed(1)])
    bench.runner.watch(0.01)
    assert [job.state for job in jobs] == ["completed", "executing", "discarded", "available", "cancelled"]
    assert [job.attempt for job in jobs[2:]] == [0, 0, 0]
    assert bench.process.interrupted == []


def test_a_job_that_fits_into_no_frame_ends_and_its_neighbours_are_sent() -> None:
    """It can never run, so it is discarded with the reason; nothing stays behind as executing."""
    bench = Bench("async", 10)
    bench.process.largest = 2_000
    big = record(2, args=b'{"text":"' + b"x" * 3_000 + b'"}')
    small = [record(1), record(3)]
    bench.table.adopt([*small, big])
    for job in (small[0], big, small[1]):
        bench.runner.give(job, NOW, 0.0)
    bench.runner.send()
    assert [run.record for frame in bench.process.sent for run in frame] == small
    assert (big.state, bench.runner.busy) == ("discarded", 2)
    error = Job.of(big).errors[0]
    assert error["kind"] == "too_large" and "3" in error["message"] and "2000 fit" in error["message"]


def test_what_a_process_that_does_not_read_cannot_take_goes_back() -> None:
    """It is given no more until somebody has looked again."""
    bench = Bench("async", 10)
    bench.process.full = True
    jobs = bench.give(3)
    bench.runner.send()
    assert bench.back == jobs and [(job.state, job.attempt) for job in jobs] == [("available", 0)] * 3
    assert bench.runner.idle and not bench.runner.has_room()
    bench.runner.clogged = False
    assert bench.runner.has_room()
