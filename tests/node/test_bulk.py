"""Bulk actions: the effects of the single ones on every job that meets a filter, on nodes and from clients."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import trio

from kathikon_actors import (
    App,
    Client,
    EmptyFilter,
    Filter,
    InvalidState,
    JobNotFound,
    Node,
    Queue,
    Unique,
    UniqueConflict,
    UnknownOption,
    open_node,
)
from kathikon_actors.node.opening import open_nodes
from tests.node import workers
from tests.node.workers import app
from tests.support.rounds import rounds
from tests.support.waiting import eventually, lines_of

far = App(queues=[Queue("far")], workers=workers.WORKERS)
WAIT = 20.0


async def test_bulk_actions_do_what_the_single_ones_do(node: Node) -> None:
    """In memory and on Postgres: cancel, retry, discard, count, purge."""
    many = await node.insert_many(
        workers.add.new(i, b=i % 3).options(schedule_in=3600, tags=["even"] if i % 2 == 0 else ["odd", "x"])
        for i in range(60)
    )
    assert await node.count_by(tags=["odd", "x"]) == 30
    assert await node.count_by(Filter(args={"b": 1}, worker="add")) == 20
    done = await node.cancel_by(args={"b": 1})
    assert (done.changed, done.errors) == (20, [])
    assert {job.state for job in await node.list(args={"b": 1})} == {"cancelled"}
    assert (await node.discard_by(tags=["even"])).changed == 20
    assert await node.count_by(state=["discarded", "cancelled"]) == 40
    assert (await node.retry_by(state="discarded", delay=3600)).changed == 20
    assert (await node.get(many.ids[0])).state == "scheduled"
    named = await node.cancel_by(state=["scheduled", "cancelled"])
    assert named.changed == 40 and len(named.errors) == 20
    assert all(isinstance(error, InvalidState) for _, error in named.errors)
    assert (await node.purge_by(args={"b": 2})).changed == 20
    with pytest.raises(JobNotFound):
        await node.get(many.ids[2])
    assert await node.count_by(all=True) == 40
    assert (await node.purge_by(all=True)).changed == 40


async def test_an_empty_filter_is_refused_unless_it_is_meant(node: Node) -> None:
    """Nothing is changed."""
    await node.insert(workers.add.new(1), schedule_in=3600)
    for call in (node.cancel_by, node.discard_by, node.retry_by, node.purge_by, node.count_by):
        with pytest.raises(EmptyFilter, match=f"{call.__name__} without a condition .* all=True"):
            await call()
        with pytest.raises(EmptyFilter):
            await call(Filter())
        with pytest.raises(ValueError, match='no state is called "done"'):
            await call(state="done")
        with pytest.raises(ValueError, match="not both"):
            await call(Filter(queue="default"), queue="default")
    assert [job.state for job in await node.list()] == ["scheduled"]
    assert (await node.cancel_by(all=True)).changed == 1


async def test_a_purged_job_is_gone_and_one_that_runs_is_stopped_first(node: Node, tmp_path: Path) -> None:
    """By id, and by a filter that names states of jobs that have not ended."""
    path = tmp_path / "marks"
    job = await node.insert(workers.hold_async.new(str(path), 600))
    await eventually(lambda: lines_of(path), "it runs")
    await node.purge(job.id)
    with pytest.raises(JobNotFound):
        await node.get(job.id)
    with pytest.raises(JobNotFound):
        await node.purge(job.id)
    later = await node.insert(workers.add.new(1), schedule_in=3600)
    done = await node.insert(workers.add.new(1))
    await node.wait(done.id, WAIT)
    assert (await node.purge_by(state=["scheduled", "completed"])).changed == 2
    assert await node.count_by(all=True) == 0
    with pytest.raises(JobNotFound):
        await node.get(later.id)


async def test_what_is_wanted_of_waiting_jobs_stops_none_that_has_just_begun(node: Node, tmp_path: Path) -> None:
    """The store still shows it as available; the node that runs it knows better, and it is no error either."""
    path = tmp_path / "marks"
    job = await node.insert(workers.hold_async.new(str(path), 600))
    await eventually(lambda: lines_of(path), "it runs")
    with trio.fail_after(WAIT):
        for call in (node.cancel_by, node.discard_by, node.purge_by):
            done = await call(worker="hold_async", state=["available", "scheduled"])
            assert (done.changed, done.errors) == (0, [])
    assert (await node.cancel(job.id)).state == "cancelled"
    assert [entry["event"] for entry in await node.history(job.id)].count("cancelled") == 1
    assert (await node.cancel_by(state=["available", "executing"])).changed == 0


@pytest.mark.one_node
async def test_a_node_finds_its_own_running_jobs_however_short_they_have_run(node: Node, tmp_path: Path) -> None:
    """By the state in which they are, though the store does not show it yet; others are left alone."""
    path = tmp_path / "marks"
    for action in (node.cancel_by, node.discard_by, node.purge_by):
        before = len(lines_of(path))
        job = await node.insert(workers.hold_async.new(str(path), 600).options(tags=["short"]))
        other = await node.insert(workers.hold_async.new(str(path), 600))
        await eventually(lambda before=before: len(lines_of(path)) == before + 2, "both run")
        done = await action(state="executing", tags=["short"])
        assert (done.changed, done.errors) == (1, [])
        assert await node.count_by(tags=["short"], state=["available", "executing"]) == 0
        if action != node.purge_by:
            assert (await node.get(job.id)).state in ("cancelled", "discarded")
        assert (await node.cancel(other.id)).state == "cancelled"


async def test_inspecting_one_job(node: Node) -> None:
    """Its state, result, history and errors; a result only of what completed."""
    done = await node.insert(workers.fail_until.new(2))
    assert (await node.wait(done.id, WAIT)).state == "completed"
    assert await node.status(done.id) == "completed"
    assert await node.result(done.id) == 2
    assert [entry["kind"] for entry in await node.errors(done.id)] == ["exception"]
    assert (await node.history(done.id))[-1]["to"] == "completed"
    later = await node.insert(workers.add.new(1), schedule_in=3600)
    with pytest.raises(InvalidState, match="scheduled"):
        await node.result(later.id)


async def test_jobs_of_every_owner_are_changed_by_one_call(postgres_dsn: str, tmp_path: Path) -> None:
    """Of this node and of another one, waiting and running, and of nobody; asked on a node and from a client."""
    async with (
        open_node(app, store=postgres_dsn, name="here", shutdown_timeout=1.0) as here,
        open_node(far, store=postgres_dsn, name="there", shutdown_timeout=1.0) as there,
        Client(postgres_dsn) as client,
    ):
        for asker in (here, client):
            path = tmp_path / type(asker).__name__
            tagged = {"tags": [type(asker).__name__]}
            jobs = [
                await here.insert(workers.hold_async.new(str(path), 600).options(**tagged)),
                await there.insert(workers.hold_async.new(str(path), 600).options(queue="far", **tagged)),
                await here.insert(workers.add.new(1).options(schedule_in=3600, **tagged)),
                await there.insert(workers.add.new(1).options(queue="far", schedule_in=3600, **tagged)),
                await client.insert("nobody", {}, queue="nowhere", **tagged),
            ]
            await eventually(lambda path=path: len(lines_of(path)) == 2, "two run")
            with trio.fail_after(WAIT):
                done = await asker.cancel_by(**tagged)
            assert (done.changed, done.errors) == (5, [])
            for job in jobs:
                ended = await client.get(job.id)
                assert ended.state == "cancelled"
                assert [entry["event"] for entry in ended.history].count("cancelled") == 1
            back = await asker.retry_by(state="cancelled", delay=3600, **tagged)
            assert back.changed == 5
            assert await client.count_by(state="scheduled", **tagged) == 5
            await asker.cancel_by(**tagged)


async def test_many_jobs_of_a_node_are_cancelled_from_outside(postgres_dsn: str) -> None:
    """3,000 commands in one transaction, answered in groups."""
    async with open_node(app, store=postgres_dsn, name="here") as here, Client(postgres_dsn) as client:
        await here.insert_many(workers.add.new(i).options(schedule_in=3600) for i in range(3000))
        before = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=5)
        done = await client.cancel_by(worker="add", inserted_before=before)
        assert (done.changed, done.errors) == (3000, [])
        assert await client.count_by(state="cancelled") == 3000
        assert here.statistics().jobs == 0


async def test_two_bulk_cancels_at_once_share_the_jobs(postgres_dsn: str) -> None:
    """60 rounds of two clients over 40 rows that nobody owns: each is cancelled once, no deadlock."""
    async with Client(postgres_dsn) as one, Client(postgres_dsn) as two:
        for number in range(rounds(60)):
            tag = f"round {number}"
            await one.insert_many(workers.add.new(i).options(tags=[tag]) for i in range(40))
            changed: list[int] = []

            async def cancel(client: Client, tag: str = tag, changed: list[int] = changed) -> None:
                changed.append((await client.cancel_by(tags=[tag])).changed)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, one)
                nursery.start_soon(cancel, two)
            assert sum(changed) == 40
            jobs = await one.list(tags=[tag])
            assert {len(job.history) for job in jobs} == {2}


async def test_a_retry_or_rerun_takes_the_unique_key_again_or_is_refused(node: Node) -> None:
    """The error names the job that has it; of many each has its own; when that one has ended it is possible."""
    await node.pause("default")
    # A client's call returns when that is stored, and the nodes hear of it.
    await eventually(lambda: all(one._state.crews["default"].paused for one in open_nodes()), "nothing is started")
    old = await node.insert(workers.add.new(5), unique=Unique())
    await node.cancel(old.id)
    new = await node.insert(workers.add.new(5), unique=Unique())
    assert not new.conflict
    for again in (node.retry, node.rerun):
        with pytest.raises(UniqueConflict, match=str(new.id)) as refused:
            await again(old.id)
        assert (refused.value.job_id, refused.value.holder) == (old.id, new.id)
    many = await node.retry_by(worker="add", state="cancelled")
    assert many.changed == 0
    assert [(job_id, type(error)) for job_id, error in many.errors] == [(old.id, UniqueConflict)]
    assert await node.status(old.id) == "cancelled"

    await node.cancel(new.id)
    assert (await node.retry(old.id)).state == "available"
    met = await node.insert(workers.add.new(5), unique=Unique())
    assert met.conflict
    assert met.id == old.id
    with pytest.raises(UniqueConflict):
        await node.rerun(new.id)
    await node.resume("default")
    assert (await node.wait(old.id, timeout=20)).state == "completed"
    assert (await node.wait((await node.rerun(new.id)).id, timeout=20)).state == "completed"
    assert not (await node.insert(workers.add.new(5), unique=Unique())).conflict


async def test_conditions_that_no_store_can_look_for_are_refused_alike(node: Node) -> None:
    """In memory as on Postgres, by every call that takes a filter; so are names that are no conditions."""
    bad: list[dict[str, Any]] = [
        {"worker": "a\0"}, {"queue": "\ud800"}, {"tags": ["\0"]}, {"tags": 5}, {"state": 5},
        {"one_of": [[{"a": "\0"}]]}, {"args": {"a": "\ud800"}},
    ]  # fmt: skip
    calls: list[Any] = [node.count_by, node.cancel_by, node.discard_by, node.retry_by, node.purge_by]
    for conditions in bad:
        (name,) = conditions
        for call in (*calls, *([node.list] if name != "one_of" else [])):
            with pytest.raises(ValueError, match=f"^{name}"):
                await call(**conditions)
    for call in calls:
        with pytest.raises(UnknownOption, match='no option "colour"'):
            await call(colour="red")
    with pytest.raises(ValueError, match="list takes a Filter, not 5"):
        await node.list(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not both"):
        await node.list(Filter(queue="q"), worker="w")
