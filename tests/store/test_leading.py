"""At most one node leads, by the store's word."""

from __future__ import annotations

import trio

from tests.store.conftest import Backend
from tests.support.waiting import eventually


async def test_one_node_leads_until_it_resigns_or_is_silent(backend: Backend) -> None:
    """Asking again renews; the term grows when another node leads."""
    one, two = await backend.connect(), await backend.connect()
    a, b = await one.join("a", 60), await two.join("b", 60)
    assert await one.lead(a, 60) == 1
    assert await two.lead(b, 60) is None
    assert await one.lead(a, 60) == 1
    await two.resign(b)  # it leads nothing
    assert await two.lead(b, 60) is None
    await one.resign(a)
    assert await two.lead(b, 0.05) == 2
    await eventually(lambda: leads(one, a), "the silent leader is replaced")
    assert await two.lead(b, 60) is None


async def leads(store, membership) -> bool:  # type: ignore[no-untyped-def]
    return await store.lead(membership, 60) == 3


async def test_a_life_that_was_replaced_does_not_lead(backend: Backend) -> None:
    """Its next life does."""
    one = await backend.connect()
    old = await one.join("a", 60)
    new = await one.join("a", 60)
    assert await one.lead(old, 60) is None
    assert await one.lead(new, 60) == 1


async def test_of_two_that_ask_at_once_one_leads(backend: Backend) -> None:
    """200 rounds."""
    stores = [await backend.connect(), await backend.connect()]
    members = [await store.join(f"n{number}", 60) for number, store in enumerate(stores)]
    for _ in range(200):
        terms: list[int | None] = [None, None]

        async def ask(which: int, terms: list[int | None] = terms) -> None:
            terms[which] = await stores[which].lead(members[which], 60)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, 0)
            nursery.start_soon(ask, 1)
        leader = [which for which in (0, 1) if terms[which] is not None]
        assert len(leader) == 1
        await stores[leader[0]].resign(members[leader[0]])
