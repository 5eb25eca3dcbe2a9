"""Arguments that SQL can store and Python cannot hold: one such row stops neither a node nor who looks at jobs."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from kathikon_actors import App, Queue, open_node
from tests.node.limited import one_an_account
from tests.node.workers import add, add_async

WAIT = 30.0

UNREADABLE = ("[" * 5_000 + "]" * 5_000, "9" * 5_000, "1e400")
ARGS = {
    "add": '{"a": %s}',
    "add_async": '{"a": %s}',
    "one_an_account": '{"path": "", "account": %s, "name": "", "seconds": 0}',
}

app = App(queues=[Queue("default")], workers=[add, add_async, one_an_account])


async def insert_job(dsn: str, worker: str, args: str) -> Any:
    import trio_asyncio

    connection = await trio_asyncio.aio_as_trio(asyncpg.connect)(dsn)
    try:
        query = "SELECT kathikon.insert_job($1, $2, 'default', max_attempts => 1)"
        return await trio_asyncio.aio_as_trio(connection.fetchval)(query, worker, args)
    finally:
        await trio_asyncio.aio_as_trio(connection.close)()


@pytest.mark.parametrize("worker", ARGS)
async def test_arguments_that_cannot_be_read_fail_their_job_alone(postgres_dsn: str, worker: str) -> None:
    """The error says why, with a limit that has their key too; the worker process and other jobs go on."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        bystander = await node.insert("add_async", {"a": 1}, schedule_in=0.5)
        for value in UNREADABLE:
            job = await node.wait(await insert_job(postgres_dsn, worker, ARGS[worker] % value), WAIT)
            error = job.errors[-1]
            assert (job.state, error["kind"], job.orphaned) == ("discarded", "arguments", 0)
            assert error["message"].startswith(f"{worker}: the arguments cannot be read: ")
        assert (await node.wait(bystander.id, WAIT)).state == "completed"
        assert (await node.wait((await node.insert("add", {"a": 2})).id, WAIT)).attempt == 1


async def test_jobs_that_cannot_be_read_are_listed_with_their_raw_text(postgres_dsn: str) -> None:
    """`to_dict` has the text; `args` raises an error that says so."""
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        for value in UNREADABLE:
            job_id = await insert_job(postgres_dsn, "add", ARGS["add"] % value)
            await node.wait(job_id, WAIT)
            job = next(found for found in await node.list(worker="add") if found.id == job_id)
            assert job.to_dict()["args"] == ARGS["add"] % value
            with pytest.raises(ValueError, match=f"args of job {job_id} cannot be read: .*to_dict"):
                _ = job.args
        assert await node.list(args={"a": 1}) == []
