"""What workers declare, as stores keep it: who declared last, and when it is withdrawn."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from kathikon_actors.jobs.declaration import Declaration
from kathikon_actors.jobs.parameters import Parameters
from kathikon_actors.jobs.unique import Unique
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore
from kathikon_actors.store.protocol import Membership, Store
from tests.store.conftest import Backend

A, B, C = (Declaration(name=name, queue="q", max_attempts=3, seconds=60.0) for name in "abc")
OTHER_A = Declaration(
    name="a",
    queue="other",
    max_attempts=9,
    tags=("ü", 'a "b"'),
    priority=-3,
    durability="snapshot",
    unique=Unique(keys=("worker", "args.id"), period=3600, replace=("tags",)),
    encrypt="meta",
    parameters=Parameters(names=("x", "y"), required=("x",), any_name=True, taken=("job",)),
)


async def names(store: Store) -> set[str]:
    return {found.name for found in await store.declared_workers()}


async def test_a_declaration_comes_back_as_it_was(store: Store) -> None:
    """Every field; the newest first."""
    assert await store.declared_workers() == []
    n = await store.join("n", 30)
    await store.declare_workers(n, [A, B], starts=True)
    await store.declare_workers(n, [OTHER_A, B], starts=True)
    assert await store.declared_workers() == [OTHER_A, B]


async def test_of_two_apps_that_declare_one_name_the_last_start_holds(store: Store) -> None:
    """Also when its node is gone again; a node that was only taken for dead changes nothing that is newer."""
    one, two = await store.join("one", 30), await store.join("two", 30)
    await store.declare_workers(one, [A], starts=True)
    await store.declare_workers(two, [OTHER_A, B], starts=True)
    await store.leave(two)
    assert set(await store.declared_workers()) == {OTHER_A, B}
    await store.declare_workers(one, [A, C], starts=False)
    assert set(await store.declared_workers()) == {OTHER_A, B, C}
    await store.declare_workers(one, [A, C], starts=True)
    assert A in await store.declared_workers()


async def test_what_a_newer_app_has_no_more_goes_when_no_living_node_has_it(store: Store) -> None:
    """The same node, started again; while another one has it still it stays."""
    one, two = await store.join("one", 30), await store.join("two", 30)
    await store.declare_workers(one, [A, B], starts=True)
    await store.declare_workers(two, [A, B], starts=True)
    await store.declare_workers(one, [A], starts=True)
    assert await names(store) == {"a", "b"}
    await store.declare_workers(two, [A], starts=True)
    assert await names(store) == {"a"}


async def test_of_nodes_with_new_names_the_newer_app_takes_the_place_of_the_older(store: Store) -> None:
    """They know each other by a worker that both have; the leader's tidying notices when the old one has gone."""
    old = await store.join("pod-1", 30)
    await store.declare_workers(old, [A, B], starts=True)
    new = await store.join("pod-2", 30)
    await store.declare_workers(new, [A], starts=True)
    assert await names(store) == {"a", "b"}
    await store.leave(old)
    await store.tidy()
    assert await names(store) == {"a"}


async def test_an_app_that_is_down_keeps_its_workers(store: Store) -> None:
    """Another app on the store, or an older life of the same one, is no reason to withdraw them."""
    billing, newer, mail = [await store.join(name, 30) for name in ("billing", "newer", "mail")]
    await store.declare_workers(billing, [A], starts=True)
    await store.declare_workers(newer, [A, B], starts=True)
    for member in (billing, newer):
        await store.leave(member)
    await store.declare_workers(mail, [C], starts=True)
    await store.tidy()
    assert await names(store) == {"a", "b", "c"}
    again = await store.join("billing", 30)
    await store.declare_workers(again, [A], starts=False)
    assert await names(store) == {"a", "b", "c"}


async def test_a_node_that_was_replaced_declares_nothing(store: Store) -> None:
    """Its epoch fences it here too."""
    old = await store.join("n", 30)
    await store.declare_workers(old, [A], starts=True)
    await store.leave(old)
    new = await store.join("n", 30)
    await store.declare_workers(old, [B], starts=True)
    assert await names(store) == {"a"}
    await store.declare_workers(new, [B], starts=True)
    assert await names(store) == {"b"}


async def test_nodes_that_start_together_lose_nothing(backend: Backend) -> None:
    """Twenty rounds of three: one goes on with what it had, one drops a worker, one is new."""
    stores = [await backend.connect() for _ in range(3)]
    for number in range(20):
        kept = Declaration(name=f"kept {number}", queue="q", max_attempts=3)
        first = await stores[0].join("one", 30)
        await stores[0].declare_workers(first, [A, B, kept], starts=True)
        members: list[Membership] = [await store.join(f"{n}", 30) for n, store in enumerate(stores)]
        wanted = ([A, kept], [B, A, kept], [C, B, kept])

        async def declare(store: Store, member: Membership, workers: list[Declaration]) -> None:
            await store.declare_workers(member, workers, starts=True)

        async with trio.open_nursery() as nursery:
            for store, member, workers in zip(stores, members, wanted, strict=True):
                nursery.start_soon(declare, store, member, workers)
        assert await names(stores[0]) == {"a", "b", "c", kept.name}
        for store, member in zip(stores, members, strict=True):
            await store.leave(member)
        await stores[0].leave(first)


async def test_only_what_changed_is_written_and_the_rest_is_read(
    postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A row keeps its version; one that this program cannot read is named and harms nobody; in 30 days all is over."""
    async with open_loop():
        store = PostgresStore(postgres_dsn)
        await store.open()

        async def execute(query: str) -> Any:
            return await store._readers.run(lambda raw: raw.fetchval(query))

        try:
            n = await store.join("n", 30)
            version = "SELECT xmin::text || ctid::text FROM kathikon.workers WHERE name = 'b'"
            await store.declare_workers(n, [A, B], starts=True)
            before = await execute(version)
            await store.declare_workers(n, [OTHER_A, B], starts=True)
            assert await execute(version) == before
            await execute("""UPDATE kathikon.workers SET declaration = '{"name": "b"}' WHERE name = 'b'""")
            assert await store.declared_workers() == [OTHER_A]
            assert "worker b is declared by a program that this one does not understand" in caplog.text
            await store.leave(n)
            await execute("UPDATE kathikon.nodes SET lease_until = clock_timestamp() - interval '29 days'")
            await store.tidy()
            assert await store.declared_workers() == [OTHER_A]
            await execute("UPDATE kathikon.nodes SET lease_until = clock_timestamp() - interval '31 days'")
            await store.tidy()
            assert await execute("SELECT count(*) FROM kathikon.workers") == 0
        finally:
            await store.close()
