"""Jobs that hang together across nodes, and across the death of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio

from kathikon_actors import App, Batch, Job, Node, Queue, Unique, open_node
from tests.node import composers
from tests.node.workers import WORKERS, add
from tests.support.rounds import rounds

ROOT = Path(__file__).parent.parent.parent
left = App(queues=[Queue("default")], workers=WORKERS)
right = App(queues=[Queue("wide")], workers=WORKERS)


async def test_two_nodes_share_keys_dependencies_and_batches(postgres_dsn: str) -> None:
    """200 rounds: one insert of each pair; a child runs where its queue is; one callback."""
    async with (
        open_node(left, store=postgres_dsn, name="left") as one,
        open_node(right, store=postgres_dsn, name="right") as two,
    ):
        for number in range(rounds(200)):
            jobs: list[Job] = []

            async def insert(node: Node, queue: str, number: int = number) -> None:
                jobs.append(await node.insert(add.new(number), queue=queue, unique=Unique(), schedule_in=3600))  # noqa: B023

            async with trio.open_nursery() as nursery:
                nursery.start_soon(insert, one, "default")
                nursery.start_soon(insert, two, "wide")
            assert len({job.id for job in jobs}) == 1
            assert sorted(job.conflict for job in jobs) == [False, True]
        parent = await one.insert(add.new(1, 2), schedule_in=0.1)
        child = await two.insert(add.new(3), queue="wide", depends_on=[parent])
        back = await one.insert(add.new(4), depends_on=[child])
        done = await one.wait(back.id, timeout=30)
        assert done.dependency_results == {child.id: 3}
        assert (await one.get(child.id)).node == "right"
        async with one.open_batch(Batch(on_complete=add.new(7).options(tags=["callback"]))) as batch:
            await batch.insert_many(add.new(number) for number in range(200))
            await two.insert_many(add.new(number).options(queue="wide", batch=batch) for number in range(200))
        status = await two.wait_batch(batch.id, timeout=30)
        assert (status.completed, status.total) == (400, 400)
        assert len(await two.list(tags=["callback"])) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.01, 0.03, 0.1])
async def test_nothing_hangs_when_the_node_is_killed(postgres_dsn: str, tmp_path: Path, seconds: float) -> None:
    """kill -9 at four moments: the next life of the node brings every chain, batch and waiting job to its end."""
    died = await trio.run_process(
        [sys.executable, "-m", "tests.node.dying", postgres_dsn, str(seconds)],
        capture_stdout=True,
        stderr=subprocess.DEVNULL,
        check=False,
        cwd=ROOT,
    )
    assert died.returncode == -9
    *jobs, batch = died.stdout.decode().split()
    async with open_node(composers.app, store=postgres_dsn, name="n1") as node:
        for job_id in jobs:
            done = await node.wait(job_id, timeout=60)
            assert done.state == "completed", done.errors
        status = await node.wait_batch(batch, timeout=60)
        assert (status.completed, status.total) == (300, 300)
        assert len(await node.list(tags=["callback"])) == 1
        assert await node.count_by(state=["blocked", "waiting"]) == 0
