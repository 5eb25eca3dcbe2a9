"""The leader puts away what has ended; an operator does a round by hand."""

from __future__ import annotations

import pytest

from kathikon_actors import App, Client, JobNotFound, Queue, Retention, open_node
from kathikon_actors.node import pruner
from tests.node import workers
from tests.support.waiting import eventually

app = App(queues=[Queue("default")], workers=workers.WORKERS, retention=Retention(archive_after=0, delete_after=0))
WAIT = 20.0


async def test_the_leader_prunes_by_itself(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the app says; here at once."""
    monkeypatch.setattr(pruner, "TIDY_EVERY", 0.05)
    monkeypatch.setattr(pruner, "PRUNE_EVERY", 0.05)
    async with open_node(app, store=store_url, name="n1") as node:
        job = await node.insert(workers.add.new(1))
        assert (await node.wait(job.id, WAIT)).state == "completed"

        async def is_gone() -> bool:
            try:
                await node.get(job.id)
            except JobNotFound:
                return True
            return False

        await eventually(is_gone, "it is deleted")


async def test_one_round_by_hand(postgres_dsn: str) -> None:
    """From a client, with the default retention or another."""
    plain = App(queues=[Queue("default")], workers=workers.WORKERS)
    async with open_node(plain, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        job = await node.insert(workers.add.new(1))
        await node.wait(job.id, WAIT)
        assert (await client.prune_now()).archived == 0
        assert (await client.prune_now(Retention(0, None))).archived == 1
        assert (await client.get(job.id)).result == 1
        assert await client.list() == []
        for change in (node.cancel, node.rerun, node.purge, client.retry, client.discard, client.purge):
            with pytest.raises(JobNotFound, match="is archived and can only be read"):
                await change(job.id)
        assert await node.promote_now() == 0
