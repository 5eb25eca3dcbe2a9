"""A web app on trio that embeds a node: an order and the job that charges it are one transaction.

Run it: `python examples/supervised_web_app.py` and order: `curl -d '{"item": "tea", "cents": 450}'
http://127.0.0.1:8000/orders`, then look: `curl http://127.0.0.1:8000/orders`. With `--once` it asks itself and ends.
It needs `pip install 'hypercorn[trio]'`.

Server, node and Postgres live in one supervision tree. Each order is written by the app's own SQL, and the job is
inserted on the same connection: when the transaction is rolled back there is neither an order nor a job, when it is
committed there are both, whatever dies afterwards.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from trio_asyncio import aio_as_trio

from kathikon_actors import App, Node, Queue, open_node, worker
from kathikon_actors.store.embedded import EmbeddedServer
from supervisors import ChildSpec, open_supervisor

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


@worker(queue="billing", max_attempts=5)
def charge(order: int, cents: int) -> str:
    """Charge an order."""
    return f"order {order}: charged {cents} ct"


jobs = App(queues=[Queue("billing")], workers=[charge])


class Shop:
    """The ASGI app."""

    def __init__(self, node: Node, dsn: str) -> None:
        self._node = node
        self._dsn = dsn

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        status, answer = 404, {"error": "there are only orders here"}
        if scope["path"] == "/orders":
            status, answer = await (self._order(receive) if scope["method"] == "POST" else self._orders())
        await send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps(answer).encode() + b"\n"})

    async def _order(self, receive: Receive) -> tuple[int, dict[str, Any]]:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        wanted = json.loads(body)
        connection = await aio_as_trio(asyncpg.connect)(self._dsn)
        try:
            async with aio_as_trio(connection.transaction()):
                order = await aio_as_trio(connection.fetchval)(
                    "INSERT INTO orders (item) VALUES ($1) RETURNING id", wanted["item"]
                )
                job = await self._node.insert(charge.new(order, wanted["cents"]), connection=connection)
                if wanted["cents"] <= 0:
                    raise ValueError("an order costs something")  # rolls both back
        except ValueError as error:
            return 400, {"error": str(error)}
        finally:
            await aio_as_trio(connection.close)()  # noqa: ASYNC102 cut off if the request is
        return 201, {"order": order, "job": str(job.id)}

    async def _orders(self) -> tuple[int, dict[str, Any]]:
        connection = await aio_as_trio(asyncpg.connect)(self._dsn)
        try:
            rows = await aio_as_trio(connection.fetch)("SELECT id, item FROM orders ORDER BY id")
        finally:
            await aio_as_trio(connection.close)()  # noqa: ASYNC102 likewise
        charges = [job.result for job in await self._node.list(worker="charge", state="completed", newest_first=False)]
        return 200, {"orders": [dict(row) for row in rows], "charges": charges}


async def web(shop: Shop, port: int, *, task_status: trio.TaskStatus[str]) -> None:
    """Serve, as a child of the supervisor: if it crashes it is started again."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = None
    async with trio.open_nursery() as nursery:
        [address] = await nursery.start(partial(serve, shop, config))  # type: ignore[arg-type]
        task_status.started(address)
        await trio.sleep_forever()


async def main(port: int, once: bool) -> None:
    """Run database, node and server."""
    with tempfile.TemporaryDirectory(prefix="kathikon-web-") as directory:
        server = EmbeddedServer(f"{directory}/pg")
        await server.start()
        try:
            async with open_node(jobs, store=server.dsn) as node:
                connection = await aio_as_trio(asyncpg.connect)(server.dsn)
                await aio_as_trio(connection.execute)("CREATE TABLE orders (id serial PRIMARY KEY, item text NOT NULL)")
                await aio_as_trio(connection.close)()
                async with open_supervisor([ChildSpec("web", web, args=(Shop(node, server.dsn), port))]) as tree:
                    address = tree.which_child("web").info
                    print(f"serving on {address}; Ctrl-C stops")
                    if once:
                        await trio.to_thread.run_sync(order_tea, address)
                        await node.drain()
                        await trio.to_thread.run_sync(look, address)
                    else:
                        await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await server.stop()


def order_tea(address: str) -> None:
    """Order tea, and something that costs nothing."""
    for item, cents in (("tea", 450), ("air", 0)):
        try:
            body = json.dumps({"item": item, "cents": cents}).encode()
            with urllib.request.urlopen(f"{address}/orders", body) as answer:
                print(f"{item}: {answer.status}")
        except urllib.error.HTTPError as error:
            print(f"{item}: {error.code} {json.loads(error.read())['error']}")


def look(address: str) -> None:
    """See what there is."""
    with urllib.request.urlopen(f"{address}/orders") as answer:
        print(answer.read().decode().strip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--once", action="store_true", help="order something, look, and end")
    arguments = parser.parse_args()
    trio.run(main, arguments.port, arguments.once)
