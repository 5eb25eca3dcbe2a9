"""Unique jobs, dependencies, batches and workflows, on nodes of each store."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import trio

from kathikon_actors import (
    Batch,
    BatchClosed,
    DependenciesNotFound,
    Node,
    Unique,
    Workflow,
    WorkflowCycle,
    at_least,
)
from tests.node.workers import add, add_async, end_as, fail_until, hold, note, stay
from tests.support.waiting import eventually, lines_of


async def test_a_second_insert_of_a_unique_job_gives_the_first(node: Node, tmp_path: Path) -> None:
    """Until that has ended; insert many tells which met their like."""
    gate = tmp_path / "gate"
    job = stay.new(str(tmp_path / "x"), str(gate)).options(unique=Unique())
    first = await node.insert(job)
    second = await node.insert(job)
    assert not first.conflict
    assert second.conflict and second.id == first.id
    many = await node.insert_many([job, add.new(1), job])
    assert (many.inserted, many.conflicts) == (1, [(0, first.id), (2, first.id)])
    gate.touch()
    await node.wait(first.id, timeout=20)
    third = await node.insert(job)
    assert not third.conflict


async def test_the_newest_of_debounced_inserts_counts(node: Node, tmp_path: Path) -> None:
    """Ten triggers are one run: each puts it off to so much from now, and the last one says how soon that is."""
    path = tmp_path / "runs"
    policies = [Unique(keys=("worker", "args.path"), debounce=seconds, replace=("args",)) for seconds in (60.0, 0.2)]
    jobs = [await node.insert(note.new(str(path), str(n)).options(unique=policies[n == 9])) for n in range(10)]
    assert {job.id for job in jobs} == {jobs[0].id}
    done = await node.wait(jobs[0].id, timeout=20)
    assert done.state == "completed"
    assert path.read_text() == "9\n"


async def test_a_trigger_while_it_runs_schedules_one_more_run(node: Node, tmp_path: Path) -> None:
    """However many triggers come."""
    path, gate = tmp_path / "pids", tmp_path / "gate"
    policy = Unique(debounce=0.05)
    job = stay.new(str(path), str(gate)).options(unique=policy)
    first = await node.insert(job)
    await eventually(lambda: lines_of(path), "it runs")
    assert (await node.insert(job)).conflict
    assert (await node.insert(job)).conflict
    gate.touch()
    await node.wait(first.id, timeout=20)
    (again,) = [job for job in await node.list(worker="stay") if job.id != first.id]
    done = await node.wait(again.id, timeout=20)
    assert done.state == "completed"
    assert len(path.read_text().splitlines()) == 2


async def test_the_run_that_a_trigger_schedules_has_the_arguments_of_the_trigger(node: Node, tmp_path: Path) -> None:
    """The newest one's, where the policy replaces them."""
    gate, paths = tmp_path / "gate", [tmp_path / name for name in "abc"]
    policy = Unique(keys=("worker", "args.gate"), debounce=0.05, replace=("args",))
    first = await node.insert(stay.new(str(paths[0]), str(gate)).options(unique=policy))
    await eventually(lambda: lines_of(paths[0]), "it runs")
    for path in paths[1:]:
        assert (await node.insert(stay.new(str(path), str(gate)).options(unique=policy))).conflict
    gate.touch()
    await node.wait(first.id, timeout=20)
    (again,) = [job for job in await node.list(worker="stay") if job.id != first.id]
    await node.wait(again.id, timeout=20)
    assert [len(lines_of(path)) for path in paths] == [1, 0, 1]


async def test_a_job_whose_start_is_committed_starts_again_after_a_failure(node: Node) -> None:
    """Each run's start is committed anew; what an insert replaces between two runs counts for the next one."""
    policy = Unique(keys=("worker",), replace=("args",))
    job = await node.insert(fail_until.new(3).options(unique=policy))
    done = await node.wait(job.id, timeout=20)
    assert (done.state, done.attempt) == ("completed", 3)
    bad = await node.insert(end_as.new("discard").options(unique=policy))
    await node.wait(bad.id, timeout=20)
    await node.retry(bad.id, delay=600)
    met = await node.insert(end_as.new("value").options(unique=policy))
    assert met.conflict and (met.id, met.state, met.attempt) == (bad.id, "scheduled", 1)
    assert met.args == {"outcome": "value"}


async def test_a_job_waits_for_its_parents_and_gets_their_results(node: Node, tmp_path: Path) -> None:
    """Given as jobs or ids; a finished one counts."""
    done = await node.wait((await node.insert(add.new(1, 2))).id, timeout=20)
    gate = tmp_path / "gate"
    slow = await node.insert(stay.new(str(tmp_path / "x"), str(gate)))
    child = await node.insert(add_async.new(5), depends_on=[done, slow.id])
    assert child.state == "blocked"
    gate.touch()
    ended = await node.wait(child.id, timeout=20)
    assert ended.state == "completed"
    assert ended.dependency_results[done.id] == 3
    assert set(ended.dependency_results) == {done.id, slow.id}


async def test_a_failed_parent_cancels_or_frees(node: Node) -> None:
    """As `on_dependency_failure` says."""
    bad = await node.insert(end_as.new("discard"), schedule_in=0.2)
    lost = await node.insert(add.new(1), depends_on=[bad])
    kept = await node.insert(add.new(2), depends_on=[bad], on_dependency_failure="run")
    assert (await node.wait(lost.id, timeout=20)).state == "cancelled"
    assert (await node.wait(kept.id, timeout=20)).state == "completed"
    with pytest.raises(DependenciesNotFound, match="01a00000"):
        await node.insert(add.new(1), depends_on=["01a00000-0000-7000-8000-000000000000"])


@pytest.mark.parametrize("action", ["cancel", "discard", "purge"])
@pytest.mark.parametrize("many", [False, True])
async def test_whatever_an_operator_does_to_a_parent_resolves_what_waits_for_it(
    node: Node, action: str, many: bool
) -> None:
    """One by one and in bulk; nobody waits for ever for a job that is gone."""
    parent = await node.insert(add.new(1), schedule_in=3600, tags=["parent"])
    lost = await node.insert(add.new(2), depends_on=[parent])
    kept = await node.insert(add.new(3), depends_on=[parent], on_dependency_failure="run")
    if many:
        await getattr(node, f"{action}_by")(tags=["parent"], state="scheduled")
    else:
        await getattr(node, action)(parent.id)
    ended = await node.wait(lost.id, timeout=20)
    assert (ended.state, ended.history[-1]["meta"]) == (
        "cancelled",
        {"reason": "a job that it depends on failed"},
    )
    assert (await node.wait(kept.id, timeout=20)).result == 3
    assert (await node.retry(lost.id)).state == "available"
    assert (await node.wait(lost.id, timeout=20)).result == 2


async def test_a_running_child_that_is_purged_counts_in_its_batch(node: Node, tmp_path: Path) -> None:
    """It is stopped, counts as cancelled, and the batch ends with its callback."""
    async with node.open_batch(Batch(on_failure=add.new(9).options(tags=["callback"]))) as batch:
        child = await batch.insert(hold.new(str(tmp_path / "x"), 600))
        await batch.insert(add_async.new(1))
    await eventually(lambda: lines_of(tmp_path / "x"), "it runs")
    await node.purge(child.id)
    status = await node.wait_batch(batch.id, timeout=20)
    assert (status.state, status.total, status.completed, status.cancelled) == ("failed", 2, 1, 1)
    assert len(await node.list(tags=["callback"])) == 1


async def test_a_workflow_runs_as_a_whole(node: Node) -> None:
    """A diamond with a tail, inserted at once."""
    flow = Workflow()
    flow.add("end", add.new(9), after=["left", "right"])
    flow.add("left", add.new(1), after="start").add("right", add_async.new(2), after="start")
    flow.add("start", add.new(0))
    flow.add("tail", add.new(3), after="end")
    jobs = await node.workflow(flow)
    assert jobs["end"].state == "blocked"
    tail = await node.wait(jobs["tail"].id, timeout=20)
    assert tail.state == "completed"
    end = await node.get(jobs["end"].id)
    assert end.dependency_results == {jobs["left"].id: 1, jobs["right"].id: 2}
    circle = Workflow().add("a", add.new(1), after="b").add("b", add.new(1), after="a").add("c", add.new(1))
    with pytest.raises(WorkflowCycle) as caught:
        await node.workflow(circle)
    assert set(caught.value.members) == {"a", "b"}


async def test_a_chain_of_steps_runs_in_order(node: Node, tmp_path: Path) -> None:
    """Each step starts when the one before has ended."""
    path = tmp_path / "order"
    flow = Workflow()
    for number in range(50):
        flow.add(str(number), note.new(str(path), str(number)), after=str(number - 1) if number else ())
    jobs = await node.workflow(flow)
    await node.wait(jobs["49"].id, timeout=30)
    assert path.read_text().split() == [str(number) for number in range(50)]


async def test_a_batch_inserts_one_callback_when_its_children_have_ended(node: Node) -> None:
    """Streamed, with one that fails; the policy decides."""
    spec = Batch(on_success=add.new(1).options(tags=["won"]), on_failure=add.new(2).options(tags=["lost"]))
    async with node.open_batch(spec) as strict:
        await strict.insert_many(add.new(n) for n in range(50))
        await strict.insert(end_as.new("discard"))
    async with node.open_batch(Batch(on_success=add.new(3).options(tags=["enough"]), policy=at_least(50))) as enough:
        await enough.insert_many(add_async.new(n) for n in range(50))
        await enough.insert(end_as, {"outcome": "cancel"})
    assert (await node.wait_batch(strict.id, timeout=30)).state == "failed"
    status = await node.wait_batch(enough.id, timeout=30)
    assert (status.state, status.total, status.completed, status.cancelled) == ("succeeded", 51, 50, 1)
    assert (status.pending, status.progress) == (0, 100.0)
    assert [job.tags for job in await node.list(tags=["lost"])] == [["lost"]]
    assert await node.list(tags=["won"]) == []
    (callback,) = await node.list(tags=["enough"])
    assert callback.meta["batch"]["id"] == str(enough.id)
    assert (await node.wait(callback.id, timeout=20)).state == "completed"
    with pytest.raises(BatchClosed):
        await node.insert(add.new(1), batch=enough.id)
    assert len(await node.children(enough.id)) == 51


async def test_a_callback_of_a_worker_without_a_timeout_runs(node: Node) -> None:
    """What never ends has no number in JSON; the batch ends all the same."""
    spec = Batch(on_success=add.new(1).options(tags=["endless"], timeout=math.inf))
    async with node.open_batch(spec) as batch:
        await batch.insert(add.new(2))
    assert (await node.wait_batch(batch.id, timeout=30)).state == "succeeded"
    (callback,) = await node.list(tags=["endless"])
    done = await node.wait(callback.id, timeout=20)
    assert (done.state, done.timeout) == ("completed", math.inf)


async def test_a_block_that_is_cancelled_closes_its_batch(node: Node) -> None:
    """What was inserted until then is the batch, and it resolves."""
    with trio.CancelScope() as scope:
        async with node.open_batch() as batch:
            scope.cancel()
            await trio.sleep_forever()
    assert (await node.wait_batch(batch.id, timeout=20)).state == "succeeded"
