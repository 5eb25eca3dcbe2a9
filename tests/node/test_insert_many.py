"""Many jobs at once: what becomes of those that do not fit, and how much is held on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from kathikon_actors import (
    AlreadyExists,
    App,
    BatchClosed,
    Client,
    DependenciesNotFound,
    InvalidJob,
    Node,
    Queue,
    SyncClient,
    Unique,
    UnknownQueue,
    open_node,
)
from kathikon_actors.jobs.new_job import NewJob
from tests.node import workers
from tests.node.workers import add

LATER = {"schedule_in": 3600}


def jobs(number: int, bad: dict[int, NewJob], asked: list[int] | None = None) -> Iterator[NewJob]:
    """So many jobs for later, with others in some places."""
    for n in range(number):
        if asked is not None:
            asked.append(n)
        yield bad.get(n) or add.new(n).options(**LATER)


BAD = [
    (add.new(1).options(queue="nowhere"), UnknownQueue),
    (add.new(1).options(depends_on=[uuid4()]), DependenciesNotFound),
    (add.new(1).options(durability="memory"), InvalidJob),
]


@pytest.mark.one_node
@pytest.mark.parametrize(("bad", "error"), BAD, ids=["refused before", "refused by the store", "not to be rolled back"])
async def test_with_abort_the_chunk_that_fails_is_not_stored_nor_what_comes_behind(
    node: Node, bad: NewJob, error: type[Exception]
) -> None:
    """The chunks before are, and told; the input is not read to its end."""
    asked: list[int] = []
    many = await node.insert_many(jobs(10_000, {1500: bad}, asked), on_error="abort")
    assert [(place, type(problem)) for place, problem in many.errors] == [(1500, error)]
    assert many.inserted == len(many.ids) == 1000
    assert len(asked) <= 2000
    stored = await node.list(newest_first=False, limit=10_000)
    assert [job.id for job in stored] == many.ids
    assert [job.args["a"] for job in stored] == list(range(1000))


async def test_with_abort_a_taken_id_is_an_error_and_a_unique_one_is_not(node: Node) -> None:
    """Ids in the store, ids twice in the input; a job that meets its like is told as a conflict."""
    taken, twice = uuid4(), uuid4()
    await node.insert(add.new(1).options(id=taken, **LATER))
    for bad in ({7: add.new(1).options(id=taken)}, {n: add.new(n).options(id=twice, **LATER) for n in (3, 7)}):
        many = await node.insert_many(jobs(10, bad), on_error="abort")
        assert (many.ids, [(place, type(problem)) for place, problem in many.errors]) == ([], [(7, AlreadyExists)])
    alone = add.new(1).options(unique=Unique(), **LATER)
    many = await node.insert_many(jobs(10, {2: alone, 5: alone}), on_error="abort")
    assert (many.inserted, many.errors, many.conflicts) == (9, [], [(5, many.ids[2])])
    assert await node.count_by(all=True) == 10


async def test_with_abort_nothing_that_fits_is_lost(node: Node) -> None:
    """Without an error all is stored, and runs."""
    many = await node.insert_many((add.new(n) for n in range(1200)), on_error="abort")
    assert (many.inserted, many.errors, many.ids) == (1200, [], sorted(many.ids))
    assert (await node.wait(many.ids[-1], 20)).result == 1199
    with pytest.raises(ValueError, match='on_error is \'abbort\'; give "continue" or "abort". Did you mean "abort"'):
        await node.insert_many([], on_error="abbort")  # type: ignore[arg-type]


@pytest.mark.one_node
async def test_with_abort_children_of_a_batch_go_the_same_way(node: Node) -> None:
    """The batch counts those that are stored."""
    async with node.open_batch() as batch:
        many = await batch.insert_many(jobs(1500, {1100: add.new(1).options(queue="no")}), on_error="abort")
        assert (many.inserted, len(many.errors)) == (1000, 1)
    assert (await node.batch(batch.id)).total == 1000
    closed = await node.insert_many(jobs(3, {1: add.new(1).options(batch=batch)}), on_error="abort")
    assert [(place, type(problem)) for place, problem in closed.errors] == [(1, BatchClosed)]


async def test_clients_abort_too(postgres_dsn: str) -> None:
    """Async and plain."""
    bad = {1003: add.new(1).options(depends_on=[uuid4()])}
    async with Client(postgres_dsn) as client:
        many = await client.insert_many(jobs(1500, bad), on_error="abort")
        assert (many.inserted, [place for place, _ in many.errors]) == (1000, [1003])
        with SyncClient(postgres_dsn) as plain:
            many = plain.insert_many(jobs(1500, bad), on_error="abort")
            assert (many.inserted, [place for place, _ in many.errors]) == (1000, [1003])
        assert await client.count_by(all=True) == 2000


async def test_jobs_come_from_an_async_iterable_too(node: Node) -> None:
    """In its order."""

    async def stream() -> AsyncIterator[NewJob]:
        for job in jobs(1200, {}):
            yield job

    for on_error in ("continue", "abort"):
        many = await node.insert_many(stream(), on_error=on_error)  # type: ignore[arg-type]
        assert many.inserted == 1200
        stored = [await node.get(many.ids[n]) for n in (0, 600, 1199)]
        assert [job.args["a"] for job in stored] == [0, 600, 1199]


@pytest.mark.parametrize("on_error", ["continue", "abort"])
async def test_a_generator_of_many_jobs_is_read_as_fast_as_they_are_stored(postgres_dsn: str, on_error: str) -> None:
    """Never more than a few chunks ahead of what is committed, and no more in memory than the queue's bound."""
    app = App([Queue("default", max_in_memory=500)], workers=workers.WORKERS)
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        ahead = held = 0

        async def stream() -> AsyncIterator[NewJob]:
            nonlocal ahead, held
            for n in range(20_000):
                if n % 1000 == 999:
                    ahead = max(ahead, n - await node.count_by(all=True))
                    held = max(held, node.statistics().jobs)
                yield add.new(n).options(**LATER)

        many = await node.insert_many(stream(), on_error=on_error)  # type: ignore[arg-type]
        assert many.inserted == 20_000
        assert 999 <= ahead < 6_000
        assert held < 8_000
