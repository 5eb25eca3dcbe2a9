"""Reports and health, from a node's memory and from a client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from kathikon_actors import Client, Node, SyncClient, open_node
from kathikon_actors.jobs.record import Record
from kathikon_actors.node import figures, report, reporting
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore
from tests.node import workers
from tests.node.workers import app
from tests.support.waiting import eventually, lines_of

WAIT = 20.0

pytestmark = pytest.mark.one_node


async def run_some(node: Node) -> None:
    """Five that complete, one that fails once and one dead letter."""
    for number in range(5):
        await node.wait((await node.insert(workers.add.new(number))).id, WAIT)
    await node.wait((await node.insert(workers.fail_until.new(2))).id, WAIT)
    await node.wait((await node.insert(workers.end_as.new("discard"))).id, WAIT)


async def test_a_node_reports_from_its_memory(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts, totals, durations, the newest error, who is paused; the store is not asked."""
    await run_some(node)
    await node.pause("wide")
    waiting = await node.insert(workers.add.new(1), queue="wide")
    later = await node.insert(workers.add.new(1), schedule_in=3600)

    me, store = trio.lowlevel.current_task(), type(node._state.store)
    for name in ("counts", "queue_settings", "figures", "worker_totals"):

        async def asked(*args: object, method: Any = getattr(store, name)) -> object:
            assert trio.lowlevel.current_task() is not me, "the store was asked"
            return await method(*args)  # by another part of the node, whose turn may come at any time

        monkeypatch.setattr(store, name, asked)
    found = await node.report()
    assert found.scope == "n1" and found.dead_letters == 1
    queues = {queue.name: queue for queue in found.queues}
    assert queues["default"].by_state == {"completed": 6, "discarded": 1, "scheduled": 1}
    assert queues["wide"].paused and queues["wide"].by_state == {"available": 1}
    assert queues["wide"].oldest_waiting is not None and queues["default"].oldest_waiting is None
    assert queues["default"].throughput > 0 and queues["default"].nodes == {"n1": 10}
    run = queues["default"].run
    assert run.p50 is not None and run.p99 is not None and 0 < run.p50 <= run.p99 < 5
    totals = {entry.name: entry for entry in found.workers}
    assert (totals["add"].completed, totals["end_as"].discarded) == (5, 1)
    assert (totals["fail_until"].completed, totals["fail_until"].failed_attempts) == (1, 1)
    error = totals["fail_until"].last_error
    assert error is not None and error.message == "ValueError: attempt 1" and error.kind == "exception"
    assert json.loads(json.dumps(found.to_dict()))["queues"][0]["name"] == "default"
    assert (await node.health()).status == "ok"
    assert waiting.queue == "wide" and later.state == "scheduled"


async def test_an_attempt_that_failed_counts_though_the_job_is_over_before_the_commit(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a short backoff, or a slow store, the job has run again by the time its failure is written."""
    store = type(node._state.store)
    commit_outcomes = store.commit_outcomes

    async def slow(self: object, membership: object, number: int, records: list[Record]) -> object:
        refused = await commit_outcomes(self, membership, number, records)  # type: ignore[arg-type]
        await eventually(lambda: all(record.state == "completed" for record in records), "all ran again")
        return refused

    monkeypatch.setattr(store, "commit_outcomes", slow)
    jobs = [await node.insert(workers.fail_until.new(attempt)) for attempt in (2, 3)]
    for job in jobs:
        assert (await node.wait(job.id, WAIT)).state == "completed"
    [totals] = (await node.report()).workers
    assert (totals.completed, totals.failed_attempts) == (2, 3)
    assert totals.last_error is not None and totals.last_error.message.startswith("ValueError: attempt")


async def test_jobs_of_every_durability_count(node: Node) -> None:
    """Also those that live in memory and that no store hears of."""
    for durability in ("commit", "snapshot", "memory"):
        done = await node.insert(workers.add.new(1).options(durability=durability))
        again = await node.insert(workers.fail_until.new(2).options(durability=durability))
        for job in (done, again):
            assert (await node.wait(job.id, WAIT)).state == "completed"

    async def is_told() -> bool:  # a snapshot counts when it is written
        totals = {entry.name: entry for entry in (await node.report()).workers}
        return (totals["add"].completed, totals["fail_until"].completed) == (3, 3)

    await eventually(is_told, "three of each")
    found = await node.report()
    assert found.queues[0].throughput > 0 and found.queues[0].run.p50 is not None
    assert {entry.name: entry.failed_attempts for entry in found.workers} == {"add": 0, "fail_until": 3}


async def test_a_client_reports_on_all_nodes(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nodes told of themselves, and counters: finished rows are not read, so it works without them too."""
    monkeypatch.setattr(figures, "BUCKET", 0.05)
    async with (
        open_node(app, store=postgres_dsn, name="n1") as one,
        open_node(app, store=postgres_dsn, name="n2") as two,
        Client(postgres_dsn) as client,
    ):
        await run_some(one)
        await run_some(two)

        async def is_told() -> bool:
            found = await client.report(window=60)
            told = {entry.name: entry for entry in found.workers}
            ended = sum(queue.throughput for queue in found.queues) * 60
            if round(ended) != 14 or told["fail_until"].failed_attempts != 2:
                return False
            return told["fail_until"].last_error is not None  # which is told after the figures

        await eventually(is_told, "both have told")
        found = await client.report(window=60)
        assert (found.scope, found.dead_letters) == (None, 2)
        queues = {queue.name: queue for queue in found.queues}
        assert queues["default"].by_state == {"completed": 12, "discarded": 2}
        assert queues["default"].nodes == {"n1": 10, "n2": 10}
        assert queues["default"].throughput == pytest.approx(14 / 60)
        assert queues["default"].wait.p50 is not None
        totals = {entry.name: entry for entry in found.workers}
        assert totals["add"].completed == 10
        nodes = {node.name: node for node in await client.nodes()}
        assert [nodes[name].alive for name in ("n1", "n2")] == [True, True]
        assert nodes["n1"].queues == ("default", "wide")
        assert (await client.health()).status == "ok"
    async with Client(postgres_dsn) as client:
        health = await client.health()
        assert health.status == "unhealthy" and "start one" in health.reasons[0]


async def test_health_names_what_is_wrong(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Jobs that wait too long or that nobody runs, a silent node, a queue that is down, a store that is cut off."""
    async with open_loop():
        store = PostgresStore(postgres_dsn)
        await store.open()
        await store.join("silent", 0.01)
        await store.close()
    monkeypatch.setattr(report, "STALE_AFTER", 0.0)
    async with (
        open_node(app, store=postgres_dsn, name="n1", shutdown_timeout=0.5) as node,
        Client(postgres_dsn) as client,
    ):
        await client.insert("nobody", {}, queue="nowhere")
        path = tmp_path / "marks"
        await node.insert(workers.hold.new(str(path), 600))
        await eventually(lambda: lines_of(path), "the only process is taken")
        await node.insert(workers.hold.new(str(path), 600))
        told = await client.health()
        assert told.status == "degraded"
        words = " ".join(told.reasons)
        assert 'node "silent" is silent' in words
        assert 'no live node runs queue "nowhere"' in words
        assert 'a job of queue "default" has been due' in words

        async def is_stale() -> bool:  # what was given ahead is taken back first
            return any("has been due" in reason for reason in (await node.health()).reasons)

        await eventually(is_stale, "the node sees that a job waits")
        monkeypatch.setattr(reporting, "OVERDUE", -600.0)
        assert any("longer than its timeout" in reason for reason in (await node.health()).reasons)
        crew = node._state.crews["wide"]
        ready, crew.ready = crew.ready, None
        assert any('queue "wide" is down' in reason for reason in (await node.health()).reasons)
        crew.ready = ready
        node._state.link._open = type(node._state.link._open)()
        assert (await node.health()).status == "unhealthy"
        node._state.link.opened()
        await node.cancel_by(queue="default")


def test_plain_code_reports_too(postgres_dsn: str) -> None:
    """By the same names."""
    with SyncClient(postgres_dsn) as client:
        client.insert("nobody", {}, queue="q")
        assert [queue.name for queue in client.report().queues] == ["q"]
        assert client.health().status == "unhealthy"
        assert client.nodes() == []
