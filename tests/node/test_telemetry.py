"""What a node tells of itself."""

from __future__ import annotations

import os
import signal
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kathikon_actors import App, BadConfiguration, Batch, Limit, Node, Queue, open_node, worker
from kathikon_actors.jobs import machine
from kathikon_actors.telemetry import (
    BatchChanged,
    Event,
    JobTransition,
    LimitDecision,
    NodeChanged,
    Recovered,
    StoreFlushed,
    SupervisorReport,
    WorkerProcessChanged,
)
from supervisors.testing import crash
from tests.node import workers
from tests.support.waiting import eventually

WAIT = 20.0

pytestmark = pytest.mark.one_node


async def test_every_transition_of_a_job_is_an_event(node: Node) -> None:
    """The events say what the job's own history says."""
    heard: dict[object, list[JobTransition]] = defaultdict(list)

    def hear(event: Event) -> None:
        assert isinstance(event, JobTransition)
        heard[event.job_id].append(event)

    node.subscribe(hear, JobTransition)
    jobs = [
        await node.insert(workers.add.new(1, 2)),
        await node.insert(workers.fail_until.new(2)),
        await node.insert(workers.add.new(1, 2).options(schedule_in=0.05)),
    ]
    late = await node.insert(workers.add.new(1).options(schedule_in=3600))
    done = [await node.wait(job.id, timeout=WAIT) for job in jobs]
    done += [await node.cancel(late.id)]
    again = await node.rerun(done[0].id)
    done.append(await node.wait(again.id, timeout=WAIT))
    await eventually(lambda: all(heard[j.id] and heard[j.id][-1].new == j.state for j in done), "the ends are told")
    for job in done:
        told = [(e.event, e.old, e.new) for e in heard[job.id] if e.event not in ("never began", "rerun")]
        kept = [(h["event"], h["from"], h["to"]) for h in job.history if h["event"] != "rerun"]
        if told != kept:  # handed to a process that was busy, and taken back from it: no part of the history
            assert any(e.event == "never began" for e in heard[job.id])
    first = heard[done[0].id]
    assert [e.event for e in first][:3] == ["inserted", "started", "completed"]
    assert first[0].worker == "add"
    assert first[0].queue == done[0].queue
    assert first[0].node == "n1"
    assert abs(first[0].at - time.time()) < 60
    assert first[1].waited is not None
    assert 0 <= first[1].waited < 30
    assert first[2].seconds is not None
    assert 0 <= first[2].seconds < 30


async def test_the_state_machine_is_observed_only_while_somebody_listens(node: Node) -> None:
    """That is why it costs nothing."""
    assert machine._OBSERVERS == ()
    subscription = node.subscribe(print, JobTransition)
    assert len(machine._OBSERVERS) == 1
    subscription.close()
    assert machine._OBSERVERS == ()
    other = node.subscribe(print, NodeChanged)
    assert machine._OBSERVERS == ()
    other.close()


async def test_the_journal_the_supervisors_and_the_worker_processes_tell_too(node: Node) -> None:
    """A commit, a process that came, one that was killed, and what its supervisor says of that."""
    heard: list[Event] = []
    node.subscribe(heard.append, StoreFlushed, SupervisorReport, WorkerProcessChanged)
    done = await node.insert(workers.add.new(1))
    await node.wait(done.id, timeout=WAIT)
    pid = next(pids[0] for pids in node.worker_pids().values() if pids)

    os.kill(pid, signal.SIGKILL)

    def tells_of_death() -> bool:
        return any(isinstance(e, WorkerProcessChanged) and e.action == "died" and e.pid == pid for e in heard)

    await eventually(tells_of_death, "the death is told")
    await eventually(
        lambda: any(isinstance(e, SupervisorReport) and e.context == "child_terminated" for e in heard), "reported"
    )
    assert any(isinstance(e, WorkerProcessChanged) and e.action == "started" for e in heard)
    assert {e.lane for e in heard if isinstance(e, StoreFlushed)} == {"inserts", "outcomes"}


async def test_handlers_of_the_app_hear_the_whole_life_of_the_node_and_what_it_recovered(postgres_dsn: str) -> None:
    """From the start to the word that it has stopped."""
    heard: list[Event] = []
    app = App([Queue("default")], workers=[workers.add], telemetry=[heard.append])
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        await node.insert(workers.add.new(1).options(schedule_in=3600))
    own = [e.action for e in heard if isinstance(e, NodeChanged) and e.action not in ("leading", "following")]
    assert own == ["started", "draining", "stopped"]
    async with open_node(app, store=postgres_dsn, name="n1"):
        pass
    assert [(e.source, e.of_node, e.jobs) for e in heard if isinstance(e, Recovered)] == [("restart", "n1", 1)]


async def test_a_slow_handler_does_not_slow_the_node(node: Node) -> None:
    """A thousand jobs run while a handler sleeps; what it cannot take is dropped and counted."""
    slow = node.subscribe(lambda _event: time.sleep(0.2), buffer=50)
    many = await node.insert_many(workers.add.new(i) for i in range(1_000))
    with trio.fail_after(WAIT):
        for job_id in many.ids:
            await node.wait(job_id)
    assert slow.dropped > 1_000
    slow.close()


async def test_events_can_be_read_with_async_for(node: Node) -> None:
    """The other form of subscribing."""
    async with node.events(JobTransition) as events:
        job = await node.insert(workers.add.new(1))
        seen = []
        with trio.fail_after(WAIT):
            async for event in events:
                assert isinstance(event, JobTransition)
                if event.job_id == job.id:
                    seen.append(event.event)
                    if event.new == "completed":
                        break
    assert seen == ["inserted", "started", "completed"]


def test_a_handler_that_is_no_function_is_refused(tmp_path: Path) -> None:
    """When the app is declared."""
    with pytest.raises(BadConfiguration, match="telemetry"):
        App([Queue("default")], telemetry=[tmp_path])  # type: ignore[list-item]


class AsyncHandler:
    async def hear(self, event: Event) -> None:
        raise AssertionError(event)

    async def __call__(self, event: Event) -> None:
        raise AssertionError(event)


@pytest.mark.parametrize("handler", [AsyncHandler(), AsyncHandler().hear, partial(AsyncHandler().hear)])
async def test_a_handler_that_is_async_is_refused(handler: Any) -> None:
    """Nobody would await it, and what it says would be lost without a word."""
    with pytest.raises(BadConfiguration, match="App: telemetry: .* is async"):
        App([Queue("default")], telemetry=[handler])
    async with open_node(App([Queue("default")], workers=[workers.add])) as node:
        with pytest.raises(BadConfiguration, match="subscribe: .* is async"):
            node.subscribe(handler)


async def test_limits_batches_and_leadership_tell_too(store_url: str) -> None:
    """A job that waits for a limit, a batch that is opened and sealed, a node that leads."""
    heard: list[Event] = []
    limited = App([Queue("default")], workers=[limited_work, workers.add], telemetry=[heard.append])
    async with open_node(limited, store=store_url, name="n1") as node:
        await eventually(lambda: any(isinstance(e, NodeChanged) and e.action == "leading" for e in heard), "leads")
        many = await node.insert_many(limited_work.new() for _ in range(4))
        for job_id in many.ids:
            await node.wait(job_id, timeout=WAIT)
        async with node.open_batch(Batch()) as batch:
            await batch.insert(workers.add.new(1))

        def told() -> bool:
            held = [e for e in heard if isinstance(e, LimitDecision) and e.decision == "held"]
            return bool(held) and held[0].limit == "concurrency" and held[0].worker == "limited_work"

        await eventually(told, "a job was held")
        await eventually(
            lambda: [e.action for e in heard if isinstance(e, BatchChanged)] == ["opened", "sealed", "succeeded"],
            "the batch",
        )


@worker(concurrency=Limit(1))
async def limited_work() -> None:
    await trio.sleep(0.05)


async def test_a_subscriber_goes_on_when_the_child_that_serves_it_crashes(node: Node) -> None:
    """What was buffered meanwhile comes too."""
    heard: list[Event] = []
    node.subscribe(heard.append, JobTransition)
    crash(node.supervisor, "telemetry", RuntimeError("killed by the test"))
    done = await node.insert(workers.add.new(1))
    await node.wait(done.id, timeout=WAIT)
    await eventually(lambda: [e.event for e in heard] == ["inserted", "started", "completed"], "all come")  # type: ignore[attr-defined]
