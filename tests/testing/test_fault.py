"""Named fault points: what strikes, how often, and that the node heals from each."""

from __future__ import annotations

from typing import Any

import pytest

from kathikon_actors import StoreUnavailable, open_node
from kathikon_actors.testing import POINTS, UnknownFaultPoint, audit, fault, open_test_node
from tests.node import workers
from tests.node.workers import app

WAIT = 20.0


@pytest.mark.parametrize("lane", ["inserts", "outcomes"])
@pytest.mark.parametrize("point", ["store.before_commit", "store.after_commit"])
@pytest.mark.parametrize("error", [StoreUnavailable("cut by the test"), RuntimeError("a bug")], ids=["cut", "crash"])
async def test_a_commit_that_fails_before_or_after_loses_and_doubles_nothing(
    postgres_dsn: str, lane: str, point: str, error: BaseException
) -> None:
    """A connection cut on either side of the server's commit, and a journal that dies there: every job runs once."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        with fault(point, raises=error, times=2, when=lambda told: told["lane"] == lane) as struck:
            many = await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(200))
            single = await node.insert(workers.add.new(1))
            for job_id in [*many.ids, single.id]:
                done = await node.wait(job_id, timeout=WAIT)
                assert (done.state, done.attempt) == ("completed", 1), done.history
        assert struck.hits == 2
        verdict = await audit(node, acknowledged=[*many.ids, single.id], patience=WAIT)
        assert (verdict.check().jobs, verdict.retries) == (201, 0)


@pytest.mark.parametrize(
    "point", ["producer.after_pop", "scheduler.before_due", "store.before_claim", "store.after_claim"]
)
async def test_a_part_that_dies_at_its_point_leaves_no_job_behind(postgres_dsn: str, point: str) -> None:
    """A job that just left the heap, became due or was claimed is found again by whoever takes the place."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        with fault(point, raises=RuntimeError("killed by the test"), times=1) as struck:
            ids = (await node.insert_many(workers.add.new(i).options(queue="wide") for i in range(50))).ids
            ids = [*ids, *[(await node.insert(workers.add.new(i).options(schedule_in=0.05))).id for i in range(5)]]
            if "claim" in point:
                from kathikon_actors import Client

                async with Client(postgres_dsn) as client:
                    ids.append((await client.insert("add", {"a": 1}, queue="wide")).id)
            for job_id in ids:
                done = await node.wait(job_id, timeout=WAIT)
                assert (done.state, done.attempt) == ("completed", 1), done.history
        assert struck.hits == 1


@pytest.mark.parametrize("work", [workers.fail_until, workers.fail_until_async], ids=["plain", "async"])
async def test_a_worker_process_dies_before_or_after_the_work_as_told(work: Any) -> None:
    """The node counts and the process obeys: two deaths, then the job completes; what an exception costs is counted."""
    async with open_node(app, name="n1") as node:
        for point in ("worker.before_perform", "worker.before_result"):
            with fault(point, kill=True, times=2) as struck:
                done = await node.wait((await node.insert(work.new(1).options(max_attempts=9))).id, timeout=60.0)
            assert (done.state, done.attempt, struck.hits) == ("completed", 3, 2), done.errors
            assert all("SIGKILL" in error["message"] for error in done.errors)
        with fault("worker.before_result", raises=ValueError("lost on the way"), times=1):
            done = await node.wait((await node.insert(work.new(1).options(max_attempts=1))).id, timeout=WAIT)
        assert (done.state, done.errors[0]["message"]) == ("discarded", "ValueError: lost on the way")
        with fault("worker.before_perform", delay=0.05, times=1, when=lambda told: told["worker"] == work.__name__):
            done = await node.wait((await node.insert(work.new(1))).id, timeout=WAIT)
        assert done.state == "completed"


async def test_a_fault_tells_what_it_meets_and_strikes_only_where_it_should() -> None:
    """`when` is given what the point tells; what is disarmed strikes no more."""
    told: list[dict[str, Any]] = []

    def remember(what: dict[str, Any]) -> bool:
        told.append(what)
        return False

    async with open_node(app, name="n1") as node:
        with fault("store.before_commit", raises=RuntimeError("never"), when=remember) as struck:
            await node.wait((await node.insert(workers.add.new(1))).id, timeout=WAIT)
        seen = len(told)
        await node.wait((await node.insert(workers.add.new(1))).id, timeout=WAIT)
    assert {what["lane"] for what in told} == {"inserts", "outcomes"}
    assert (struck.hits, len(told)) == (0, seen)


def test_what_cannot_strike_is_refused_by_name() -> None:
    """A point nobody knows, a fault that does nothing, a count below one."""
    with (
        pytest.raises(UnknownFaultPoint, match='Did you mean "store.before_commit"'),
        fault("store.befor_commit", kill=True),
    ):
        pass
    with pytest.raises(ValueError, match="does nothing"), fault("store.before_commit"):
        pass
    with pytest.raises(ValueError, match="times is 0"), fault("store.before_commit", kill=True, times=0):
        pass
    assert all(POINTS.values())


@pytest.mark.parametrize("work", [workers.add, workers.add_async])
async def test_a_fault_of_a_worker_strikes_in_the_nodes_own_loop_too(work: Any, autojump_clock: object) -> None:
    """Before and after the work; to kill there is nothing, so that the attempt says so and the node lives."""
    async with open_test_node(app) as node:
        for point in ("worker.before_perform", "worker.before_result"):
            with fault(point, raises=RuntimeError("struck"), times=1) as struck:
                done = await node.wait((await node.insert(work.new(1))).id)
            assert (done.state, done.attempt, struck.hits) == ("completed", 2, 1)
            assert done.errors[0]["message"] == "RuntimeError: struck"
        with fault("worker.before_perform", kill=True, times=1):
            done = await node.wait((await node.insert(work.new(1))).id)
        assert (done.state, [error["kind"] for error in done.errors]) == ("completed", ["fault"])
