"""How long to wait is checked alike by every call that waits, on nodes and on clients."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from kathikon_actors import Batch, Client, Node, SyncClient, WaitTimeout
from tests.node import workers

BAD: list[Any] = [None, "x", True, -1, float("nan")]


async def test_what_is_no_time_to_wait_is_refused(node: Node) -> None:
    """Nothing waits, hangs or is changed; 0 looks once, and more than a life is for ever."""
    job = await node.insert(workers.add.new(1), schedule_in=600)
    batch = await node.new_batch(Batch())
    with trio.fail_after(20):
        for bad in BAD:
            for waiting in (
                node.wait(job.id, bad),
                node.wait_batch(batch, bad),
                node.drain("default", bad),
                node.remove_queue("default", bad),
            ):
                with pytest.raises(ValueError, match="timeout is .*give seconds from 0"):
                    await waiting
        for bad in (*BAD, 0, float("inf"), 1e300, 10**400):
            with pytest.raises(ValueError, match="window is .*at most an hour"):
                await node.report(bad)
            if isinstance(node, Client):
                with pytest.raises(ValueError, match="timeout is .*at most a day"):
                    await node.tree("n1", bad)
        with pytest.raises(WaitTimeout):
            await node.wait(job.id, 0)
        for long in (float("inf"), 1e300, 10**400):
            await node.drain("default", long)
    assert not (await node.queue_status("default")).removed
    await node.close_batch(batch)


def test_a_client_of_plain_code_refuses_the_same(postgres_dsn: str) -> None:
    """Also the stream of events."""
    with SyncClient(postgres_dsn) as client:
        job = client.insert("work", {}, queue="q")
        for bad in BAD:
            with pytest.raises(ValueError, match="timeout is "):
                client.wait(job.id, bad)
            with pytest.raises(ValueError, match="timeout is "):
                client.events(timeout=bad)
