"""`isolation="task"`: async jobs in the node's own loop end in every way that those of a worker process end."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from kathikon_actors import (
    App,
    BadConfiguration,
    Cancel,
    Discard,
    Fail,
    InvalidJob,
    Job,
    Node,
    Queue,
    Retry,
    Snooze,
    constant,
    open_node,
    worker,
)
from kathikon_actors.queue import runner as runner_module
from tests.support.waiting import eventually

WAIT = 10.0
SEEN: dict[str, Any] = {}


@worker(max_attempts=1)
async def wait_in_a_nursery(cleanup_fails: bool) -> None:
    async def clean_up() -> None:
        try:
            await trio.sleep_forever()
        finally:
            if cleanup_fails:
                raise ValueError("cleanup failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(clean_up)
        SEEN["nursery"] = True


@worker
async def remember(job: Job, key: str) -> int:
    SEEN[key] = job
    await trio.lowlevel.checkpoint()
    return os.getpid()


@worker(backoff=constant(0.01))
async def end_as(job: Job, how: str) -> Any:
    await trio.lowlevel.checkpoint()
    if job.attempt > 1:
        return "again"
    match how:
        case "fail":
            return Fail("no")
        case "raise":
            raise ValueError("no")
        case "retry":
            raise Retry("again", delay=0.01)
        case "discard":
            return Discard("hopeless")
        case "cancel":
            return Cancel("not wanted")
        case "exit":
            raise SystemExit(3)
        case "ctrl-c":
            raise KeyboardInterrupt
        case "not json":
            return {1, 2}
        case "snooze":
            SEEN["snoozes"] = SEEN.get("snoozes", 0) + 1
            return Snooze(0.01) if SEEN["snoozes"] < 3 else "awake"
        case "group":
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise ValueError("in a nursery")
    return how


@worker(timeout=0.1, max_attempts=1)
async def sleep_for_ever() -> None:
    try:
        await trio.sleep_forever()
    finally:
        SEEN["cleaned up"] = True


@worker
async def wait_to_be_stopped(key: str) -> None:
    SEEN[key] = trio.Event()
    await SEEN[key].wait()


@worker(timeout=0.1, max_attempts=1)
async def hold_back(key: str) -> None:
    SEEN[key] = trio.Event()
    with trio.CancelScope(shield=True):
        await SEEN[key].wait()


@worker
async def report(job: Job) -> None:
    job.report_progress(50)
    await trio.sleep(30)


@worker
async def fork_and_return() -> str:
    SEEN["copy"] = os.fork()
    return "the node" if SEEN["copy"] else "the copy"


@worker(queue="processes")
def plain() -> None: ...


LOOP = [wait_in_a_nursery, remember, end_as, sleep_for_ever, wait_to_be_stopped, hold_back, report, fork_and_return]
app = App(
    queues=[Queue("default", concurrency=3, isolation="task"), Queue("processes")],
    workers=[*LOOP, plain],
)


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    SEEN.clear()
    async with open_node(app, name="n1", shutdown_timeout=0.2) as node:
        yield node
        for event in SEEN.values():
            if isinstance(event, trio.Event):
                event.set()  # a job that holds its cancellation back would keep the node from stopping


async def run(node: Node, job: object) -> Job:
    return await node.wait((await node.insert(job)).id, timeout=WAIT)


async def test_a_job_runs_in_the_nodes_own_process_and_sees_itself_as_it_was(node: Node) -> None:
    """It shares the node's memory; its job is a picture that does not change under it."""
    done = await run(node, remember.new("a"))
    assert (done.state, done.attempt, done.result) == ("completed", 1, os.getpid())
    assert (SEEN["a"].id, SEEN["a"].state, SEEN["a"].attempt) == (done.id, "executing", 1)


@pytest.mark.parametrize(
    ("how", "state", "kinds", "attempt"),
    [
        ("a value", "completed", [], 1),
        ("fail", "completed", ["fail"], 2),
        ("raise", "completed", ["exception"], 2),
        ("retry", "completed", ["retry"], 2),
        ("discard", "discarded", ["discard"], 1),
        ("cancel", "cancelled", ["cancel"], 1),
        ("exit", "completed", ["exit"], 2),
        ("ctrl-c", "completed", ["exception"], 2),
        ("not json", "completed", [], 1),
        ("snooze", "completed", [], 1),
        ("group", "completed", ["exception"], 2),
    ],
)
async def test_every_outcome_is_that_of_a_worker_process(
    node: Node, how: str, state: str, kinds: list[str], attempt: int
) -> None:
    """Values and raised ones, errors, exits; the node goes on."""
    done = await run(node, end_as.new(how=how))
    assert (done.state, [error["kind"] for error in done.errors], done.attempt) == (state, kinds, attempt)
    assert all(error["worker_pid"] == os.getpid() for error in done.errors)


async def test_a_timeout_cancels_the_job_which_may_clean_up(node: Node) -> None:
    """The attempt fails with kind `timeout`."""
    done = await run(node, sleep_for_ever.new())
    assert (done.state, done.errors[0]["kind"]) == ("discarded", "timeout")
    assert SEEN["cleaned up"]


async def test_a_cancel_stops_what_runs(node: Node) -> None:
    """Cancelled in the loop at once."""
    job = await node.insert(wait_to_be_stopped.new("x"))
    await eventually(lambda: "x" in SEEN, "it runs")
    await node.cancel(job.id)
    assert (await node.wait(job.id, timeout=WAIT)).state == "cancelled"


async def test_no_more_run_at_once_than_the_queue_allows(node: Node) -> None:
    """Three places."""
    for number in range(5):
        await node.insert(wait_to_be_stopped.new(str(number)))
    await eventually(lambda: len(SEEN) == 3, "three run")
    await trio.testing.wait_all_tasks_blocked()
    assert len(SEEN) == 3
    SEEN["0"].set()
    await eventually(lambda: len(SEEN) == 4, "the next one runs")


async def test_a_job_that_holds_its_cancellation_back_is_settled_without_it(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place stays taken as long as it goes on; when it ends, nothing is settled twice and the place is free."""
    monkeypatch.setattr(runner_module, "GRACE", 0.05)
    jobs = [await node.insert(hold_back.new(key)) for key in "abc"]
    for job in jobs:
        done = await node.wait(job.id, timeout=WAIT)
        assert (done.state, [error["kind"] for error in done.errors]) == ("discarded", ["timeout"])
    waiting = await node.insert(remember.new("later"))
    assert (await run(node, plain.new())).state == "completed", "other queues go on meanwhile"
    assert (await node.get(waiting.id)).state == "available"
    for key in "abc":
        SEEN[key].set()
    assert (await run(node, remember.new("d"))).state == "completed"
    assert (await node.wait(waiting.id, timeout=WAIT)).state == "completed"
    assert (await node.get(jobs[0].id)).attempt == 1


async def test_progress_is_seen_while_it_runs(node: Node) -> None:
    """The same door to the node as in a worker process."""
    job = await node.insert(report.new())

    async def half() -> bool:
        return (await node.get(job.id)).progress == 50

    await eventually(half, "half is done")
    await node.cancel(job.id)


async def test_a_copy_that_comes_back_from_fork_is_not_a_second_node(node: Node) -> None:
    """It ends; the node completes the job."""
    done = await run(node, fork_and_return.new())
    assert done.result == "the node"
    copies: list[int] = []

    def reaped() -> bool:
        pid, status = os.waitpid(SEEN["copy"], os.WNOHANG)
        copies.extend([status] if pid else [])
        return bool(copies)

    await eventually(reaped, "the copy has ended")
    assert copies == [0]


async def test_what_runs_when_the_node_stops_goes_back_uncounted() -> None:
    """Beyond the time that a stopping node gives it is cancelled, and runs again when the node is back."""
    SEEN.clear()
    async with open_node(app, name="n1", shutdown_timeout=0.05) as node:
        job = await node.insert(wait_to_be_stopped.new("x"))
        await eventually(lambda: "x" in SEEN, "it runs")
        table = node._state.the_table()
    record = table.records[job.id.bytes]
    assert (record.state, record.attempt) == ("available", 0)


@pytest.mark.parametrize("cleanup_fails", [False, True])
async def test_a_job_that_is_stopped_in_a_nursery_of_its_own_has_not_failed(cleanup_fails: bool) -> None:
    """The stop comes out of the nursery in a group, maybe with what its cleanup raised; it counts no attempt."""
    SEEN.clear()
    async with open_node(app, name="n1", shutdown_timeout=0.05) as node:
        job = await node.insert(wait_in_a_nursery.new(cleanup_fails))
        await eventually(lambda: "nursery" in SEEN, "it runs")
        table = node._state.the_table()
    record = table.records[job.id.bytes]
    assert (record.state, record.attempt, record.errors) == ("available", 0, b"")


async def test_a_timeout_in_a_nursery_of_the_jobs_own_is_a_timeout(node: Node) -> None:
    """Also when its cleanup raises: it was stopped, and did not fail by itself."""
    job = await node.insert(wait_in_a_nursery.new(True).options(timeout=0.1))
    done = await node.wait(job.id, timeout=WAIT)
    assert (done.state, [error["kind"] for error in done.errors]) == ("discarded", ["timeout"])


async def test_a_plain_function_is_refused_when_declared_and_when_inserted(node: Node) -> None:
    """It would block the node; the error names the ways out."""
    bad = App(queues=[Queue("processes", isolation="task")], workers=[plain])
    with pytest.raises(BadConfiguration, match="worker plain is a plain function"):
        bad.definitions()
    with pytest.raises(InvalidJob, match="make it async"):
        await node.insert(plain.new().options(queue="default"))


async def test_a_stored_job_that_does_not_fit_fails_in_the_loop(node: Node) -> None:
    """A client that knows no declaration may have stored it."""
    for name, kind in (("plain", "isolation"), ("nobody", "unknown_worker")):
        await node.pause("default")
        job = await node.insert(remember.new("a").options(max_attempts=1))
        node._state.the_table().records[job.id.bytes].worker = name
        await node.resume("default")
        done = await node.wait(job.id, timeout=WAIT)
        assert (done.state, done.errors[0]["kind"]) == ("discarded", kind)
