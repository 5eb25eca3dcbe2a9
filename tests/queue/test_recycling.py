"""When a process is given nothing more, and who is blamed for the memory it holds."""

from __future__ import annotations

from collections.abc import Sequence

from kathikon_actors.jobs.record import Job, Record
from kathikon_actors.queue.recycling import Limits
from kathikon_actors.queue.runner import Runner
from tests.jobs.make import NOW
from tests.queue.test_runner import Bench, FakeProcess, completed

MB = 2**20


class WeighedProcess(FakeProcess):
    """Holds what the test says."""

    held = 10 * MB

    def resident_bytes(self) -> int:
        return self.held


class Scales(Bench):
    """A runner with limits."""

    process: WeighedProcess

    def __init__(self, kind: str = "plain", slots: int = 1, **limits: int) -> None:
        super().__init__(kind, slots)
        self.process = WeighedProcess(kind, slots)
        self.spent = 0
        self.runner = Runner(
            self.process,  # type: ignore[arg-type]
            self.table,
            "node-1",
            self.pace,
            self.quarantine,
            lambda: NOW,
            lambda _worker, _attempt, _error: 5.0,
            limits=Limits(**limits),
            on_spent=self.note_spent,
        )
        self.runner.weigh(0.0)

    def note_spent(self) -> None:
        self.spent += 1

    def look(self, held: int, running: Sequence[int], now: float = 0.001) -> None:
        self.process.held = held
        self.process.now_running = dict.fromkeys(running, 0.0)
        self.runner.watch(now)


def kinds(jobs: list[Record]) -> list[list[str]]:
    return [[error["kind"] for error in Job(job).errors] for job in jobs]


def test_a_plain_process_is_spent_when_its_last_job_runs() -> None:
    """It is given no more than its number, says once that it is spent, and is over when all have ended."""
    bench = Scales(jobs=3)
    bench.give(2)
    assert not bench.spent
    bench.runner.hear([completed(1), completed(2)])
    assert bench.runner.has_room() and not bench.spent
    bench.give(1)
    assert bench.spent == 1 and not bench.runner.has_room() and not bench.runner.over
    bench.runner.hear([completed(3)])
    assert bench.spent == 1 and bench.runner.over


def test_an_async_process_is_spent_when_it_was_given_its_number() -> None:
    """Those that run go on beside its successor."""
    bench = Scales("async", 10, jobs=3)
    for given in range(3):
        assert bench.runner.has_room() and bench.spent == 0, given
        bench.give()
    assert bench.spent == 1 and not bench.runner.has_room()
    bench.runner.hear([completed(1), completed(2)])
    assert not bench.runner.over
    bench.runner.hear([completed(3)])
    assert bench.runner.over and bench.spent == 1


def test_a_process_near_its_limit_is_spent_between_two_jobs() -> None:
    """Four fifths are near; it must have done something, else its successor would be no better."""
    bench = Scales(memory=100 * MB)
    bench.process.held = 90 * MB
    bench.runner.weigh(0.0)
    assert bench.spent == 0
    bench.give(2)
    bench.runner.hear([completed(1), completed(2)])
    bench.process.held = 70 * MB
    bench.runner.weigh(0.0)
    assert bench.spent == 0
    bench.give(2)
    bench.runner.hear([completed(3), completed(4)])
    bench.process.held = 90 * MB
    bench.runner.weigh(0.0)
    assert bench.spent == 1 and bench.runner.over and bench.process.kills == 0


def test_a_process_near_its_limit_gives_back_what_waits_and_ends_what_runs() -> None:
    """Nobody is killed as long as it is only near."""
    bench = Scales(memory=100 * MB)
    bench.give(1)
    bench.runner.hear([completed(1)])
    bench.give(2)
    bench.look(90 * MB, [2])
    assert bench.spent == 1 and bench.process.revoked_from == 3 and bench.process.kills == 0


def test_a_job_that_drives_its_process_over_the_limit_is_blamed() -> None:
    """It was seen within bounds while the job was on, so the job did it; the one behind was not yet on."""
    bench = Scales(memory=100 * MB)
    bench.give(1)
    bench.runner.hear([completed(1)])
    bad, behind = bench.give(2)
    bench.look(50 * MB, [2])
    bench.look(500 * MB, [2])
    assert bench.process.kills == 1
    bench.die()
    assert kinds([bad, behind]) == [["memory"], []]
    assert "500 MB (10 MB at first); max_memory is 100 MB" in Job(bad).errors[0]["message"]
    assert (bad.state, bad.attempt, behind.state, behind.attempt) == ("retryable", 1, "available", 0)


def test_the_first_job_of_a_process_is_blamed_however_quick_it_was() -> None:
    """Nobody else can have left the memory behind."""
    bench = Scales(memory=100 * MB)
    [bad] = bench.give(1)
    bench.look(500 * MB, [1])
    bench.die()
    assert kinds([bad]) == [["memory"]]


def test_a_job_that_may_have_come_into_the_memory_of_another_is_not_counted_yet() -> None:
    """It runs again alone, in a process where it is the first."""
    bench = Scales(memory=100 * MB)
    bench.give(1)
    bench.runner.hear([completed(1)])
    [suspect] = bench.give(1)
    bench.look(500 * MB, [2])
    bench.die()
    assert (kinds([suspect]), suspect.state, suspect.attempt) == ([[]], "available", 0)
    assert bench.quarantine == {suspect.id}


def test_of_several_async_jobs_none_is_blamed_for_the_memory() -> None:
    """Each runs alone from now on."""
    bench = Scales("async", 3, memory=100 * MB)
    jobs = bench.give(3)
    bench.look(50 * MB, [1, 2, 3])
    bench.look(500 * MB, [1, 2, 3])
    bench.die()
    assert kinds(jobs) == [[], [], []] and {job.attempt for job in jobs} == {0}
    assert bench.quarantine == {job.id for job in jobs}


def test_a_process_that_is_too_heavy_between_two_jobs_is_not_killed() -> None:
    """It is over; nobody is there to blame."""
    bench = Scales(memory=100 * MB)
    bench.give(1)
    bench.runner.hear([completed(1)])
    bench.process.held = 500 * MB
    bench.runner.weigh(0.0)
    assert bench.spent == 1 and bench.runner.over and bench.process.kills == 0


def test_a_cancelled_job_whose_process_is_too_heavy_is_cancelled() -> None:
    """What an operator wanted comes first."""
    bench = Scales(memory=100 * MB)
    [job] = bench.give(1)
    bench.look(50 * MB, [1])
    bench.runner.interrupt_job(job.id, "cancel", 0.002)
    bench.look(500 * MB, [1])
    bench.die()
    assert job.state == "cancelled"
