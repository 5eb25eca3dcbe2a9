"""Jobs that insert jobs, and jobs that wait for the batch they opened."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from kathikon_actors import Client, Job, JobNotFound, Node, SyncClient
from tests.node.composers import (
    app,
    fan_out,
    fan_out_async,
    give_up,
    give_up_async,
    misinsert,
    misreport,
    spread,
    spread_again,
    spread_async,
)
from tests.node.conftest import Place
from tests.node.workers import add


@pytest.fixture
async def node(place: Place) -> AsyncIterator[Node]:
    """A running node with workers that compose."""
    async with place.open(app) as node:
        yield node


@pytest.mark.parametrize("worker", [spread, spread_async])
async def test_a_running_job_inserts_others(node: Node, worker: object) -> None:
    """From plain and async workers; committed before the call returns; the child knows its parent."""
    job = await node.insert(worker, {"number": 7})
    done = await node.wait(job.id, timeout=30)
    assert done.state == "completed", done.errors
    for child_id in done.result:
        child = await node.wait(child_id, timeout=30)
        assert child.state == "completed"
        assert child.parent_id == job.id
    assert await node.count_by(tags=["child"]) == (1503 if worker is spread else 1501)


async def test_the_children_of_a_job_are_listed_everywhere(node: Node, place: Place) -> None:
    """By pages, on its node and from outside; what was inserted by hand is no child."""
    job = await node.insert(spread_async, {"number": 7})
    await node.wait(job.id, timeout=30)
    await node.insert(add.new(1))
    listed: list[Job] = []
    while page := await node.children(job.id, after=listed[-1].id if listed else None, limit=700):
        listed += page
    assert len(listed) == 1501
    assert {child.parent_id for child in listed} == {job.id}
    assert [child.id for child in listed] == sorted(child.id for child in listed)
    assert await node.children(listed[0].id) == []
    with pytest.raises(JobNotFound):
        await node.children("no id")
    if place.url != "memory:":
        ids = [child.id for child in listed]
        async with Client(place.url) as client:
            assert [child.id for child in await client.children(str(job.id), after=ids[9], limit=5)] == ids[10:15]
        outside = SyncClient(place.url)
        found = await trio.to_thread.run_sync(lambda: outside.children(job.id, limit=5))
        assert [child.id for child in found] == ids[:5]
        await trio.to_thread.run_sync(outside.close)


async def test_what_does_not_fit_raises_inside_the_job(node: Node) -> None:
    """The same errors as on the node."""
    job = await node.insert(misinsert.new())
    done = await node.wait(job.id, timeout=30)
    assert done.result == [
        "UnknownWorker",
        "UnknownQueue",
        "InvalidJob",
        "DependenciesNotFound",
        "BatchNotFound",
        "UnknownWorker",
        "InvalidJob",
        "InvalidJob",
        "InvalidJob",
        "InvalidJob",
        "InvalidJob",
        "InvalidJob",
        "UnknownOption",
        "InvalidJob",
        "1 UnknownQueue",
    ]


async def test_what_is_no_progress_raises_inside_the_job(node: Node) -> None:
    """The same error as on the node."""
    job = await node.insert(misreport.new())
    done = await node.wait(job.id, timeout=30)
    assert done.result == ["progress is "] * 7 + ["InvalidJob"]


@pytest.mark.parametrize("worker", [give_up, give_up_async])
async def test_a_running_job_may_give_up_at_the_first_that_does_not_fit(node: Node, worker: object) -> None:
    """Nothing of that chunk nor of what is behind it is stored; without one all is."""
    job = await node.insert(worker, {"bad": 1500})
    assert (await node.wait(job.id, timeout=30)).result == [1000, 1500]
    assert await node.count_by(tags=["child"]) == 1000
    job = await node.insert(worker, {"bad": -1})
    assert (await node.wait(job.id, timeout=30)).result == [3000]
    assert await node.count_by(tags=["child"]) == 4000


@pytest.mark.parametrize(("bad", "state"), [(0, "completed"), (1, "discarded")])
async def test_a_job_waits_for_the_batch_that_it_opened(node: Node, bad: int, state: str) -> None:
    """It ends with its children, by their policy, and keeps what `perform` returned."""
    job = await node.insert(fan_out.new(1200, bad))
    done = await node.wait(job.id, timeout=60)
    assert (done.state, done.result) == (state, "spread")
    assert [entry["to"] for entry in done.history] == ["available", "executing", "waiting", state]
    (batch,) = [batch for batch in await node.batches() if batch.parent_id == job.id]
    assert (batch.total, batch.completed, batch.discarded, batch.name) == (1200 + bad, 1200, bad, "fan")


async def test_a_job_that_runs_again_waits_for_the_batch_of_that_run(node: Node) -> None:
    """The failed batch of the run before is of no account."""
    job = await node.insert(spread_again.new())
    done = await node.wait(job.id, timeout=60)
    assert (done.state, done.result, len(done.errors)) == ("completed", 2, 1)
    batches = [await node.wait_batch(b.id, timeout=20) for b in await node.batches() if b.parent_id == job.id]
    assert [batch.state for batch in batches] == ["succeeded", "failed"]


async def test_batches_nest_and_an_empty_one_resolves_at_once(node: Node) -> None:
    """A tree three levels deep, each job waiting for those below."""
    job = await node.insert(fan_out_async.new(3, 3))
    done = await node.wait(job.id, timeout=60)
    assert done.state == "completed"
    assert await node.count_by(worker="fan_out_async", state="completed") == 1 + 3 + 9 + 27
    assert await node.count_by(worker="fan_out_async", state="waiting") == 0
