"""Queues with a bound: inserts that are refused, jobs that are held back; fair queues whose jobs outgrow memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import trio

from kathikon_actors import App, Batch, Client, NewJob, Node, Queue, QueueFull, Workflow, open_node
from kathikon_actors.store.connection import open_loop
from tests.node import limited, workers
from tests.node.conftest import nothing_is_ahead
from tests.node.limited import starts_of
from tests.support.waiting import eventually, lines_of

WAIT = 60.0

app = App(
    queues=[
        Queue("default"),
        Queue("bounded", max_depth=5),
        Queue("held", max_depth=10, on_full="hold"),
        Queue("fair", fair=True, max_in_memory=200, concurrency=1),
    ],
    workers=[*workers.WORKERS, *limited.WORKERS],
)


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    async with open_node(app, store=store_url, name="n1", shutdown_timeout=2.0) as node:
        yield node


async def test_a_batch_opens_though_the_queue_of_its_callback_is_full(node: Node, tmp_path: Path) -> None:
    """The store inserts it when the batch ends; how full the queue is then is of no account either."""
    gate = tmp_path / "gate"
    held = workers.stay.new(str(tmp_path / "marks"), str(gate)).options(queue="bounded")
    for _ in range(5):
        await node.insert(held)
    callback = workers.add.new(3).options(queue="bounded", tags=["callback"])
    with pytest.raises(QueueFull):
        await node.insert(callback)
    async with node.open_batch(Batch(on_complete=callback)) as batch:
        await batch.insert(workers.add.new(1))
    await node.wait_batch(batch.id, WAIT)
    (job,) = await node.list(tags=["callback"])
    gate.touch()
    assert (await node.wait(job.id, WAIT)).state == "completed"


async def test_inserts_above_the_depth_are_refused_until_jobs_have_ended(node: Node, tmp_path: Path) -> None:
    """The sixth is refused with the numbers; nothing of it is stored; when one has ended there is room again."""
    gate = tmp_path / "gate"
    held = workers.stay.new(str(tmp_path / "marks"), str(gate)).options(queue="bounded")
    first = await node.insert(held)
    for _ in range(4):
        await node.insert(workers.add.new(1).options(queue="bounded"))
    with pytest.raises(QueueFull, match='queue "bounded" holds 5 jobs, its max_depth is 5') as caught:
        await node.insert(held)
    assert (caught.value.depth, caught.value.max_depth) == (5, 5)
    assert await total(node, "bounded") == 5
    gate.touch()
    await node.wait(first.id, WAIT)

    async def room() -> bool:
        try:
            await node.insert(workers.add.new(2).options(queue="bounded"))
        except QueueFull:
            return False
        return True

    await eventually(room, "there is room again")


async def test_insert_many_stores_what_there_is_room_for_and_reports_the_rest(node: Node, tmp_path: Path) -> None:
    """By its index in the input; other queues in the same call are not concerned."""
    hold = workers.hold.new(str(tmp_path / "gate"), 1.0)
    jobs = [hold.options(queue="bounded" if n % 2 else "default") for n in range(20)]
    many = await node.insert_many(jobs)
    assert many.inserted == 15
    assert [index for index, _ in many.errors] == [11, 13, 15, 17, 19]
    assert all(isinstance(error, QueueFull) for _, error in many.errors)


async def test_a_workflow_is_stored_whole_or_refused_whole(node: Node) -> None:
    """By the room that there is for all of its steps, and at once by what the last one took."""

    def flow(steps: int) -> Workflow:
        flow = Workflow()
        for n in range(steps):
            flow = flow.add(f"s{n}", workers.add.new(n).options(queue="bounded"), after=f"s{n - 1}" if n else ())
        return flow

    await node.pause("bounded")
    with pytest.raises(QueueFull, match='queue "bounded" holds 5 jobs, its max_depth is 5'):
        await node.workflow(flow(6))
    assert await total(node, "bounded") == 0
    await node.workflow(flow(3))
    with pytest.raises(QueueFull):
        await node.workflow(flow(3))
    assert await total(node, "bounded") == 3
    await node.workflow(flow(2))


async def test_callers_side_by_side_do_not_slip_past_the_depth(node: Node, tmp_path: Path) -> None:
    """Fifty at the same time for five places: five are stored."""
    stored = []

    async def insert() -> None:
        with suppress(QueueFull):
            stored.append(await node.insert(workers.hold.new(str(tmp_path / "g"), 600).options(queue="bounded")))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(insert)
    assert len(stored) == 5


async def test_what_is_held_back_has_the_lowest_priority_and_runs_in_the_end(node: Node, tmp_path: Path) -> None:
    """Memory never holds more than the depth, the best run first, none is lost."""
    seen, marks, gate = tmp_path / "seen", tmp_path / "marks", tmp_path / "gate"
    await node.insert(workers.stay.new(str(marks), str(gate)).options(queue="held", priority=99))
    await eventually(lambda: lines_of(marks), "it runs")
    many = await node.insert_many(
        workers.note.new(str(seen), str(n)).options(queue="held", priority=n % 7) for n in range(60)
    )
    assert many.inserted == 60
    table = node._state.the_table()
    await nothing_is_ahead(node, "held")
    gate.touch()

    def all_ran() -> bool:
        assert sum(record.queue == "held" for record in table.records.values()) <= 10
        return len(lines_of(seen)) == 60

    await eventually(all_ran, "all ran", WAIT)
    assert [int(line) for line in lines_of(seen)] == sorted(range(60), key=lambda n: (-(n % 7), n))


async def test_small_tenants_start_within_two_rounds_though_a_big_one_has_outgrown_memory(
    node: Node, tmp_path: Path
) -> None:
    """2,000 jobs of one tenant for a memory of 200, then 15 tenants with one each."""
    marks, opened = tmp_path / "marks", tmp_path / "opened"
    gate = await node.insert(workers.stay.new(str(tmp_path / "gate"), str(opened)).options(queue="fair"))
    await eventually(lambda: lines_of(tmp_path / "gate"), "it runs")
    await node.insert_many(
        limited.free.new(str(marks), f"big{n}").options(queue="fair", partition_key="big") for n in range(2000)
    )
    await node.insert_many(
        limited.free.new(str(marks), f"small{n}").options(queue="fair", partition_key=f"t{n}") for n in range(15)
    )
    assert not starts_of(lines_of(marks))
    opened.touch()
    await node.wait(gate.id, WAIT)
    await eventually(lambda: len(starts_of(lines_of(marks))) == 2015, "all ran", WAIT)
    order = [line.split()[1] for line in lines_of(marks)]
    assert {name for name in order[:32] if name.startswith("small")} == {f"small{n}" for n in range(15)}


async def total(node: Node, queue: str) -> int:
    return sum(sum(counts.by_state.values()) for counts in await node.counts() if counts.queue == queue)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_depth": 0}, "max_depth is 0; give a whole number from 1"),
        ({"max_depth": 9, "on_full": "hold"}, "max_depth is 9; give a whole number from 10"),
        ({"max_depth": 5, "on_full": "refuze"}, "on_full is 'refuze'.*Did you mean \"refuse\""),
        ({"fair": "yes"}, "fair is 'yes'"),
        ({"rate_limit": 5}, r"rate_limit is 5; give Rate\(100, per=60\)"),
    ],
)
def test_bounds_that_cannot_be_are_refused(options: dict[str, object], problem: str) -> None:
    """With the queue, the field and what is legal."""
    with pytest.raises(ValueError, match=f'queue "q": {problem}'):
        Queue("q", **options)  # type: ignore[arg-type]


async def test_small_tenants_of_a_client_start_soon_though_a_big_one_came_first(
    postgres_dsn: str, tmp_path: Path
) -> None:
    """Rows that nobody owns: 3,000 of one tenant, then 20 tenants with one each: within the first look or two."""
    marks = tmp_path / "marks"
    app = App(queues=[Queue("fair", fair=True, max_in_memory=200, concurrency=1)], workers=[limited.three_plain])

    def job(name: str, partition: str) -> NewJob:
        return limited.three_plain.new(str(marks), name, 0.001).options(queue="fair", partition_key=partition)

    async with open_loop(), Client(postgres_dsn) as client:
        await client.insert_many(job(f"big{n}", "big") for n in range(3000))
        await client.insert_many(job(f"small{n}", f"t{n}") for n in range(20))
        async with open_node(app, store=postgres_dsn, name="n1", shutdown_timeout=1.0):
            await eventually(lambda: len(starts_of(lines_of(marks), "small")) == 20, "the small ones ran", WAIT)
    order = [line.split()[1] for line in lines_of(marks) if line.startswith("start")]
    assert max(order.index(f"small{n}") for n in range(20)) < 500
