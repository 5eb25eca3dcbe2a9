"""A queue's pool and producer with a worker process that says what the test tells it to say."""

from __future__ import annotations

import time

import trio

from kathikon_actors.jobs.queue import Queue
from kathikon_actors.processes.exits import ExitStatus, WorkerDied
from kathikon_actors.processes.messages import FromWorker, Report, Run
from kathikon_actors.queue.crew import Crew
from kathikon_actors.queue.tree import queue_spec
from kathikon_actors.store.table import Table
from supervisors import Event, RestartLimitExceeded, open_supervisor
from tests.jobs.make import record
from tests.queue.test_runner import FakeProcess
from tests.support.waiting import eventually


class TalkingProcess(FakeProcess):
    """Reports what the test puts into its mouth, one list a call of `receive`."""

    def __init__(self) -> None:
        super().__init__("plain", 1)
        self.say, self._said = trio.open_memory_channel[list[FromWorker]](100)

    async def receive(self) -> list[FromWorker]:
        try:
            return await self._said.receive()
        except trio.EndOfChannel:
            raise WorkerDied(ExitStatus(42, code=0), []) from None

    async def stop(self, grace: float) -> None:
        await trio.lowlevel.checkpoint()
        self.say.close()

    def close(self) -> None:
        self.say.close()

    def given(self) -> list[Run]:
        return [run for frame in self.sent for run in frame]


class FakeZygote:
    """Gives out one process."""

    def __init__(self, process: TalkingProcess) -> None:
        self.process = process

    async def fork(self, kind: str, slots: int, title: str) -> TalkingProcess:
        await trio.lowlevel.checkpoint()
        return self.process


async def test_jobs_go_on_when_what_was_taken_back_is_returned_after_the_long_jobs_report() -> None:
    """The process has room only when its last revoked run is reported, and that report ends no job: it wakes too."""
    process, table = TalkingProcess(), Table()
    crew = Crew(Queue("default"), table, "n1", time.time_ns, lambda _: "plain", lambda _w, _a, _e: 1.0)
    zygote = FakeZygote(process)
    async with open_supervisor([queue_spec(lambda: crew, "default", lambda: zygote)]):  # type: ignore[arg-type, return-value]
        long, behind = record(1), record(2)
        table.adopt([long, behind])
        await eventually(lambda: len(process.given()) == 2, "both are given to the only process")
        process.now_running = {1: time.monotonic() - 1.0}
        await eventually(lambda: behind.state == "available", "the one behind is taken back")
        process.now_running = {}
        process.say.send_nowait([Report(1, "completed", 1.0, b"null")])
        await eventually(lambda: long.state == "completed", "the long one has ended")
        assert behind.state == "available", "nothing is given while a revoked run is not reported"
        process.say.send_nowait([Report(2, "returned", 0.0)])
        await eventually(lambda: behind.state == "executing", "the process is given the one that waited")


class PoorZygote(FakeZygote):
    """The system cannot start another process, a few times."""

    def __init__(self, process: TalkingProcess, failures: int) -> None:
        super().__init__(process)
        self.failures = failures
        self.asked = 0

    async def fork(self, kind: str, slots: int, title: str) -> TalkingProcess:
        self.asked += 1
        if self.asked <= self.failures:
            raise OSError("no worker process: Resource temporarily unavailable")
        return await super().fork(kind, slots, title)


async def test_a_process_that_cannot_be_forked_is_tried_again_and_takes_no_queue_down() -> None:
    """The delay grows, the queue is degraded, the producer lives; a job that ends makes it whole again."""
    process, table = TalkingProcess(), Table()
    crew = Crew(Queue("default"), table, "n1", time.time_ns, lambda _: "plain", lambda _w, _a, _e: 1.0)
    zygote = PoorZygote(process, failures=7)
    asked: list[int] = []

    def note(event: Event) -> None:
        if isinstance(event, RestartLimitExceeded):
            asked.append(zygote.asked)

    async with open_supervisor([queue_spec(lambda: crew, "default", lambda: zygote)], max_restarts=0):  # type: ignore[arg-type, return-value]
        assert crew.pool is not None
        crew.pool.subscribe(note)
        job = record(1)
        table.adopt([job])
        await eventually(lambda: crew.degraded, "the queue is degraded")
        assert asked == [7], "when it was degraded"
        await eventually(lambda: job.state == "executing", "the job runs after all")
        process.now_running = {1: time.monotonic()}
        process.say.send_nowait([Report(1, "completed", 0.001, b"null")])
        await eventually(lambda: not crew.degraded, "the queue is whole again")


async def test_a_process_whose_words_cannot_be_settled_keeps_no_job_and_no_place() -> None:
    """Whatever is raised on the way out, its job is given back and its runner is gone."""

    class Unheard(TalkingProcess):
        async def receive(self) -> list[FromWorker]:
            await self._said.receive()
            raise RuntimeError("not a word of this is understood")

        async def stop(self, grace: float) -> None:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("nor does it stop")

    first, second, table = Unheard(), TalkingProcess(), Table()
    crew = Crew(Queue("default"), table, "n1", time.time_ns, lambda _: "plain", lambda _w, _a, _e: 1.0)
    zygote = FakeZygote(first)
    async with open_supervisor([queue_spec(lambda: crew, "default", lambda: zygote)]):  # type: ignore[arg-type, return-value]
        job = record(1)
        table.adopt([job])
        await eventually(lambda: len(first.given()) == 1, "the job is given")
        zygote.process = second
        first.say.send_nowait([])
        await eventually(lambda: len(second.given()) == 1, "its successor is given the job")
        assert [runner.process for runner in crew.runners] == [second]
