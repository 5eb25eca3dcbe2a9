"""The same work by pgqueuer, the fastest Postgres queue that Python users pick: 2 worker processes, no-op jobs.

Its inserts go by 64 concurrent tasks over a pool, or by 1,000 a call; its workers are processes of their own that
take and acknowledge by the hundred, which is where it is fastest.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator

import asyncpg

from benchmarks.job_queue.common import say

__all__ = ["peer_figures"]

PROCESSES = 2
CONCURRENT = 64
CONNECTIONS = 16
CHUNK = 1_000
BATCH = 200


def peer_figures(dsn: str, jobs: int, times: int) -> dict[str, float]:
    """Give jobs/s by the names of our own figures; nothing when pgqueuer is not installed."""
    try:
        import pgqueuer  # noqa: F401
    except ImportError:
        say("no peers: pgqueuer is not installed")
        return {}
    say("pgqueuer")
    return asyncio.run(_measure(dsn, jobs, times))


async def _measure(dsn: str, jobs: int, times: int) -> dict[str, float]:
    from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
    from pgqueuer.queries import Queries

    async with asyncpg.create_pool(dsn, min_size=CONNECTIONS, max_size=CONNECTIONS) as pool:
        queries = Queries(AsyncpgPoolDriver(pool))
        with contextlib.suppress(asyncpg.PostgresError):
            await queries.uninstall()
        await queries.install()

        async def done() -> None:
            while await pool.fetchval("SELECT EXISTS (SELECT FROM pgqueuer)"):
                await asyncio.sleep(0.005)

        async def one_by_one() -> None:
            numbers = iter(range(jobs))

            async def inserter() -> None:
                for _ in numbers:
                    await queries.enqueue("noop", b"{}", 0)

            await asyncio.gather(*(inserter() for _ in range(CONCURRENT)))

        async def by_chunk() -> None:
            for begin in range(0, jobs, CHUNK):
                count = min(CHUNK, jobs - begin)
                await queries.enqueue(["noop"] * count, [b"{}"] * count, [0] * count)

        async def rate(insert: Callable[[], Awaitable[None]], *, first: bool) -> float:
            if first:
                await insert()
            with _workers(dsn) as go:
                began = time.perf_counter()
                go()
                if not first:
                    await insert()
                await done()
                return jobs / (time.perf_counter() - began)

        figures = {}
        for name, insert, first in (
            ("singles", one_by_one, False),
            ("bulk", by_chunk, False),
            ("drain", by_chunk, True),
        ):
            figures[name] = statistics.median([await rate(insert, first=first) for _ in range(times)])
        await queries.uninstall()
    return figures


@contextlib.contextmanager
def _workers(dsn: str) -> Iterator[Callable[[], None]]:
    """Have worker processes ready; what is given lets them go."""
    command = [sys.executable, "-m", "benchmarks.job_queue.peers", dsn]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(PROCESSES)]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()

        def go() -> None:
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(b"go\n")
                process.stdin.flush()

        yield go
    finally:
        for process in processes:
            process.kill()
            process.communicate()


async def _work(dsn: str) -> None:
    from pgqueuer import PgQueuer

    logging.disable(logging.CRITICAL)
    connection = await asyncpg.connect(dsn)
    queue = PgQueuer.from_asyncpg_connection(connection)

    @queue.entrypoint("noop")
    async def noop(_job: object) -> None:
        """Do nothing."""

    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await queue.run(batch_size=BATCH)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
