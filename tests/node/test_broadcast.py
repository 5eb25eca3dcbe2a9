"""Broadcast queues: every living node runs each job once, whatever becomes of it elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import trio
import trio.testing

from kathikon_actors import App, Client, InvalidJob, Queue, QueueTimeout, generate_key, open_node
from kathikon_actors.jobs import json
from kathikon_actors.jobs.broadcast import deliver, delivery_id, is_delivery
from kathikon_actors.jobs.sealing import SEALED
from tests.jobs.make import NOW, record
from tests.node import workers
from tests.node.limited import broadcast_app, everywhere, much_later, what_others_gave
from tests.support.records import new_record
from tests.support.waiting import eventually, lines_of

WAIT = 30.0

PROGRAM = """
import sys, trio
from kathikon_actors import open_node
from tests.node.limited import broadcast_app

async def main(store):
    async with open_node(broadcast_app, store=store, name="victim", lease=1.0):
        print("up", flush=True)
        await trio.sleep_forever()

trio.run(main, sys.argv[1])
"""

A_MINUTE_PASSES = "UPDATE kathikon.broadcasts SET until = until - interval '1 minute'"
SWEPT = "NOT EXISTS (SELECT FROM kathikon.lanes JOIN kathikon.nodes USING (node_id) WHERE name = 'victim')"


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    return tmp_path / "marks"


def runs(marks: Path) -> list[str]:
    return sorted(line.split()[1] for line in lines_of(marks))


async def test_a_node_alone_runs_a_broadcast_once(store_url: str, marks: Path) -> None:
    """The inserted job is completed when it is announced; the node's own job says what became of it."""
    async with open_node(broadcast_app, store=store_url, name="n1") as node:
        job = await node.insert(everywhere.new(str(marks), "a").options(queue="all", tags=["x"]))
        announced = await node.wait(job.id, WAIT)
        assert (announced.state, announced.result) == ("completed", None)
        await eventually(lambda: runs(marks) == ["a/n1/1"], "it ran")

        async def own() -> bool:
            done = [j for j in await node.list(queue="all", state="completed") if j.parent_id == job.id]
            return [(j.result, j.tags, j.node) for j in done] == [("n1", ["x"], "n1")]

        await eventually(own, "its own job is stored")
        many = await node.insert_many(everywhere.new(str(marks), f"m{n}").options(queue="all") for n in range(20))
        assert many.inserted == 20
        await eventually(lambda: len(runs(marks)) == 21, "all ran")
    assert len(set(runs(marks))) == 21


async def test_every_living_node_runs_each_job_once(postgres_dsn: str, marks: Path) -> None:
    """Three nodes; inserted on one of them, by a client, and due later."""
    async with (
        open_node(broadcast_app, store=postgres_dsn, name="n1") as node,
        open_node(broadcast_app, store=postgres_dsn, name="n2"),
        open_node(broadcast_app, store=postgres_dsn, name="n3"),
        Client(postgres_dsn) as client,
    ):
        await node.insert(everywhere.new(str(marks), "node").options(queue="all"))
        await node.insert(everywhere.new(str(marks), "later").options(queue="all", schedule_in=0.2))
        await client.insert(everywhere.new(str(marks), "client").options(queue="all"))
        await client.insert_many(everywhere.new(str(marks), f"m{n}").options(queue="all") for n in range(10))
        names = ["node", "later", "client", *(f"m{n}" for n in range(10))]
        expected = sorted(f"{name}/{n}/1" for name in names for n in ("n1", "n2", "n3"))
        await eventually(lambda: len(runs(marks)) >= len(expected), "all ran", WAIT)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert runs(marks) == expected


async def test_a_failure_on_one_node_hides_nothing_from_the_others(postgres_dsn: str, marks: Path) -> None:
    """It is tried again where it failed, and only there."""
    async with (
        open_node(broadcast_app, store=postgres_dsn, name="n1") as node,
        open_node(broadcast_app, store=postgres_dsn, name="n2"),
    ):
        job = await node.insert(everywhere.new(str(marks), "a", ill="n2").options(queue="all"))
        await eventually(lambda: runs(marks) == ["a/n1/1", "a/n2/1", "a/n2/2"], "both completed in the end", WAIT)

        async def stored() -> bool:
            done = [j for j in await node.list(queue="all", state="completed") if j.parent_id == job.id]
            return sorted((j.node, j.attempt, len(j.errors)) for j in done) == [("n1", 1, 0), ("n2", 2, 1)]

        await eventually(stored, "delivery state is kept for each node")


async def test_a_node_that_comes_within_the_window_runs_it_and_a_later_one_does_not(
    postgres_dsn: str, marks: Path
) -> None:
    """An hour for one queue, a minute for the other: it passes for the store, for nobody here waits that long."""
    async with open_node(broadcast_app, store=postgres_dsn, name="n1") as node:
        await node.insert(everywhere.new(str(marks), "soon").options(queue="soon"))
        await node.insert(everywhere.new(str(marks), "all").options(queue="all"))
        await eventually(lambda: len(runs(marks)) == 2, "n1 ran both")
        await query(postgres_dsn, A_MINUTE_PASSES)
        async with open_node(broadcast_app, store=postgres_dsn, name="n2"):
            await eventually(lambda: "all/n2/1" in runs(marks), "n2 ran what it may", WAIT)
        assert runs(marks) == ["all/n1/1", "all/n2/1", "soon/n1/1"]


def start_victim(dsn: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, dsn], stdout=subprocess.PIPE, text=True)


async def query(dsn: str, text: str) -> object:
    """Ask the database."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(text)
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(asyncio.run, ask())


async def test_the_jobs_of_a_dead_node_wait_for_its_next_life(postgres_dsn: str, marks: Path) -> None:
    """kill -9: the others do not run them a second time; the node does when it is back."""
    victim = start_victim(postgres_dsn)
    try:
        assert victim.stdout is not None
        assert await trio.to_thread.run_sync(victim.stdout.readline) == "up\n"
        # Its lease is longer than a busy machine stops it: what it runs would run again.
        async with open_node(broadcast_app, store=postgres_dsn, name="n1", lease=5.0) as node:
            await node.insert_many(everywhere.new(str(marks), f"m{n}").options(queue="all") for n in range(300))
            await eventually(lambda: sum("/victim/" in run for run in runs(marks)) >= 5, "the victim works", WAIT)
            victim.kill()
            victim.wait()
            await eventually(lambda: sum("/n1/" in run for run in runs(marks)) >= 300, "n1 ran its own", WAIT)

            await eventually(lambda: query(postgres_dsn, f"SELECT {SWEPT}"), "the victim's rows were looked at", WAIT)
            async with open_node(broadcast_app, store=postgres_dsn, name="victim", lease=1.0):
                await eventually(
                    lambda: (
                        {run.split("/")[0] for run in runs(marks) if "/victim/" in run} == {f"m{n}" for n in range(300)}
                    ),
                    "its next life ran the rest",
                    WAIT,
                )
        assert sum("/n1/" in run for run in runs(marks)) == 300
    finally:
        victim.kill()
        victim.wait()
        assert victim.stdout is not None
        victim.stdout.close()


def test_the_id_of_a_delivery_is_always_the_same_and_tells_what_it_is() -> None:
    """One for each node; an announcement is none, nor is a job that a running job inserted."""
    announcement = record(7)
    job = deliver(announcement, "n1", NOW)
    assert job.id == delivery_id(announcement.id, "n1") != delivery_id(announcement.id, "n2")
    assert is_delivery(job)
    assert not is_delivery(announcement)
    announcement.extra = job.extra
    assert not is_delivery(announcement)


async def test_encrypted_arguments_can_be_read_by_every_node(postgres_dsn: str, marks: Path) -> None:
    """Each node's job opens what is bound to the announcement."""
    app = App(queues=[Queue("all", broadcast=True)], workers=[everywhere], encryption_keys=[generate_key()])
    async with (
        open_node(app, store=postgres_dsn, name="n1") as node,
        open_node(app, store=postgres_dsn, name="n2"),
    ):
        await node.insert(everywhere.new(str(marks), "secret").options(queue="all"))
        await eventually(lambda: runs(marks) == ["secret/n1/1", "secret/n2/1"], "both ran", WAIT)
        stored = [job._record.args for job in await node.list(queue="all")]
        assert len(stored) == 3 and all(args.startswith(SEALED) for args in stored)


async def test_deliveries_stay_in_memory_however_full_it_is_and_when_their_queue_is_removed(store_url: str) -> None:
    """Nobody else may run them: given back, they would be owned by a node that knows nothing of them."""
    app = App(queues=[Queue("all", broadcast=True, max_in_memory=10), Queue("other")], workers=[much_later])
    async with open_node(app, store=store_url, name="n1") as node:
        await node.insert_many(much_later.new().options(queue="all") for _ in range(15))

        async def waiting() -> bool:
            return len(await node.list(queue="all", state="retryable")) == 15

        await eventually(waiting, "all have failed once")
        table, intake = node._state.the_table(), node._state.intake
        assert intake is not None
        await intake.shed("all", 100)
        assert sum(is_delivery(r) for r in table.records.values()) == 15
        await node.remove_queue("all", timeout=WAIT)
        table.in_doubt = True
        await intake.reconcile()
        assert sum(is_delivery(r) for r in table.records.values()) == 15
        await node.add_queue(Queue("all", broadcast=True))
        assert table.borders["all"].held == 15
        for job in await node.list(queue="all", state="retryable"):
            await node.retry(job.id)
        await eventually(lambda: not table.records, "all have run")
        assert table.borders["all"].held == 0


async def test_deliveries_of_a_queue_that_a_node_does_not_run_any_more_are_taken_up_all_the_same(
    postgres_dsn: str,
) -> None:
    """They can be cancelled, and run when the queue is there again."""
    async with open_node(broadcast_app, store=postgres_dsn, name="n1") as node:
        await node.insert(much_later.new().options(queue="all"))
        await eventually(
            lambda: any(r.state == "retryable" for r in node._state.the_table().records.values()), "failed"
        )
    without = App(queues=[Queue("other")], workers=[much_later])
    async with open_node(without, store=postgres_dsn, name="n1") as node:
        [job] = await node.list(queue="all", state="retryable")
        assert (await node.cancel(job.id)).state == "cancelled"


async def test_what_every_node_is_to_run_is_committed(store_url: str, marks: Path) -> None:
    """What is never written reaches nobody, and is refused; what would be written later is written now."""
    app = App([Queue("all", broadcast=True)], workers=[everywhere], durability="snapshot")
    async with open_node(app, store=store_url, name="n1", snapshot_interval=600.0) as node:
        with pytest.raises(
            InvalidJob, match='durability is "memory"; what all nodes of queue "all" are to run is stored'
        ):
            await node.insert(everywhere.new(str(marks), "lost").options(durability="memory"))
        await node.insert(everywhere.new(str(marks), "app"))
        await node.insert(everywhere.new(str(marks), "call").options(durability="snapshot"))
        await eventually(lambda: runs(marks) == ["app/n1/1", "call/n1/1"], "both ran")


async def test_an_announcement_whose_queue_is_removed_meanwhile_is_made_when_it_is_added_again(
    store_url: str, marks: Path, tmp_path: Path
) -> None:
    """While one of its jobs still runs; the broadcaster goes on with other queues."""
    gate = tmp_path / "gate"
    app = App([Queue("all", broadcast=True), Queue("soon", broadcast=True)], workers=[everywhere, workers.stay])
    async with open_node(app, store=store_url, name="n1") as node:
        await node.insert(workers.stay.new(str(tmp_path / "stays"), str(gate)).options(queue="all"))
        await eventually(lambda: lines_of(tmp_path / "stays"), "one runs")
        with pytest.raises(QueueTimeout):
            await node.remove_queue("all", timeout=0)
        table, announcements = node._state.the_table(), node._state.announcements
        late = new_record(queue="all", worker="everywhere", args=json.encode({"path": str(marks), "name": "late"}))
        announcements.offer(late)  # as a producer that was about to when the queue was removed
        table.records[late.id] = late
        await node.insert(everywhere.new(str(marks), "soon").options(queue="soon"))
        await eventually(lambda: runs(marks) == ["soon/n1/1"], "other queues are served")
        assert late.state == "available" and not announcements.pending
        del table.records[late.id]
        await node._state.store.insert_unowned([late])
        gate.touch()
        await node.remove_queue("all", timeout=WAIT)
        await node.add_queue(Queue("all", broadcast=True))
        await eventually(lambda: runs(marks) == ["late/n1/1", "soon/n1/1"], "it was announced and has run", WAIT)


async def test_every_nodes_job_knows_the_partition_and_what_the_jobs_before_gave(store_url: str, marks: Path) -> None:
    """As the job that was inserted does."""
    app = App([Queue("all", broadcast=True, fair=True), Queue("other")], workers=[workers.add, what_others_gave])
    async with open_node(app, store=store_url, name="n1") as node:
        first = await node.insert(workers.add.new(20).options(queue="other"))
        new = what_others_gave.new(str(marks)).options(queue="all", depends_on=first, partition_key="tenant")
        await node.insert(new)
        await eventually(lambda: runs(marks) == ["n1/tenant/20"], "it ran", WAIT)
