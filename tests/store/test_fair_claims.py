"""Claims of one row for each partition."""

from __future__ import annotations

import pytest
import trio

from kathikon_actors import LeaseLost
from kathikon_actors.store.protocol import Store
from tests.store.conftest import Backend
from tests.support.partitions import in_partition
from tests.support.records import MINUTE, new_record, now_us


async def test_each_partition_gives_its_best_row_and_those_that_are_present_none(store: Store) -> None:
    """By priority; rows without a partition, of other queues, or due later are left alone."""
    n1 = await store.join("n1", 30)
    rows = [in_partition(name, new_record(priority=n)) for n in range(3) for name in ("a", "b", "c")]
    late = in_partition("d", new_record(state="scheduled", scheduled_at=now_us() + MINUTE))
    other = in_partition("e", new_record(queue="other"))
    await store.insert_unowned([*rows, new_record(), late, other])
    claimed = await store.claim_each(n1, "default", ["b"], 10)
    assert sorted((r.extra.partition_key, r.priority, r.node) for r in claimed if r.extra) == [
        ("a", 2, "n1"),
        ("c", 2, "n1"),
    ]
    assert len(await store.claim_each(n1, "default", [], 2)) == 2
    assert {r.id for r in await store.load_owned(n1, None, 100)} >= {r.id for r in claimed}


async def test_nodes_that_claim_side_by_side_share_no_row(backend: Backend) -> None:
    """Forty partitions, four connections."""
    stores = [await backend.connect() for _ in range(4)]
    await stores[0].insert_unowned([in_partition(f"p{n}", new_record()) for n in range(40)])
    claimed: list[bytes] = []

    async def claim(number: int, store: Store) -> None:
        membership = await store.join(f"n{number}", 30)
        while records := await store.claim_each(membership, "default", [], 7):
            claimed.extend(record.id for record in records)

    async with trio.open_nursery() as nursery:
        for number, store in enumerate(stores):
            nursery.start_soon(claim, number, store)
    assert len(claimed) == len(set(claimed))
    rest = await stores[0].claim_each(await stores[0].join("last", 30), "default", [], 100)
    assert len(claimed) + len(rest) == 40


async def test_a_replaced_epoch_claims_nothing(store: Store) -> None:
    """It is told so."""
    n1 = await store.join("n1", 30)
    await store.leave(n1)
    await store.insert_unowned([in_partition("a", new_record())])
    with pytest.raises(LeaseLost):
        await store.claim_each(n1, "default", [], 5)
