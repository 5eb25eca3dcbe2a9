"""Where nodes in processes of their own are killed: starts them, finds their parts, and audits what is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import asyncpg
import trio
import trio_asyncio

from kathikon_actors import Client, open_node
from kathikon_actors.store.embedded import EmbeddedServer
from kathikon_actors.testing import audit
from tests.node.survivor import LEASE, app
from tests.support.waiting import eventually, lines_of

__all__ = ["PATIENCE", "Arena"]

PATIENCE = 60.0

WATCH = """
CREATE TABLE IF NOT EXISTS public.ends (id uuid, state text, attempt integer, fenced boolean);
CREATE OR REPLACE FUNCTION public.note_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.ends VALUES (NEW.id, NEW.state, NEW.attempt,
        NOT EXISTS (SELECT FROM kathikon.lanes WHERE node_id = NEW.owner AND epoch <> 0));
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER note_end AFTER INSERT ON kathikon.finished_jobs
    FOR EACH ROW EXECUTE FUNCTION public.note_end();
"""
"""Every end that gets into the store leaves a row of its own, with whether its owner had been fenced by then."""


class Arena:
    """One Postgres, one directory, any number of nodes.

    Args:
        directory: empty.
        seed: of everything random; printed by the test.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.server = EmbeddedServer(directory / "pg")
        self.random = random.Random(seed)
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}

    async def open(self) -> None:
        """Start Postgres and have every end noted."""
        await self.server.start()
        async with Client(self.server.dsn):
            pass
        await self._sql(WATCH)

    async def close(self) -> None:
        """End everything."""
        for name in list(self.nodes):
            self.kill(name)
        await self.server.stop("immediate")

    # -- nodes --------------------------------------------------------------------------------------------------

    def start(self, name: str, jobs: int = 0, fault: str | None = None) -> None:
        """Start a node that inserts so many jobs and works on all there are."""
        command = [sys.executable, "-m", "tests.node.survivor", self.server.dsn, name, str(self.directory), str(jobs)]
        with (self.directory / f"{name}.log").open("ab") as log:
            self.nodes[name] = subprocess.Popen(
                [*command, *([fault] if fault else [])], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """SIGKILL a node, also one that is stopped."""
        process = self.nodes.pop(name)
        process.kill()
        process.wait()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a node a signal."""
        self.nodes[name].send_signal(number)

    def zygote(self, name: str) -> int | None:
        """Give the pid of a node's fork server."""
        return next(iter(_children(self.nodes[name].pid)), None)

    def workers(self, name: str) -> list[int]:
        """Give the pids of a node's worker processes."""
        zygote = self.zygote(name)
        return [] if zygote is None else _children(zygote)

    def kill_worker(self, name: str) -> bool:
        """SIGKILL one worker process of a node; tell whether there was one."""
        pids = self.workers(name)
        return bool(pids) and _kill(self.random.choice(pids))

    def kill_zygote(self, name: str) -> bool:
        """SIGKILL a node's fork server; tell whether there was one."""
        zygote = self.zygote(name)
        return zygote is not None and _kill(zygote)

    async def cut(self) -> None:
        """Have the server end every connection of every node at once, whatever it is doing."""
        with suppress(OSError, asyncpg.PostgresError):
            await self._sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND application_name = 'kathikon'"
            )

    async def restart_postgres(self) -> None:
        """Stop Postgres without a checkpoint, and start it again."""
        await self.server.stop("immediate")
        await self.server.start()

    # -- progress -----------------------------------------------------------------------------------------------

    @property
    def acknowledged(self) -> list[str]:
        """Give the ids that inserts returned."""
        return lines_of(self.directory / "acknowledged")

    @property
    def ran(self) -> list[str]:
        """Give the ids of the jobs that ran, once for each run."""
        return [line.split()[0] for line in lines_of(self.directory / "ran")]

    async def wait_share(self, jobs: int, share: float) -> None:
        """Wait until so large a share of `jobs` has run, or all are inserted."""
        wanted = int(jobs * share)
        await eventually(lambda: self._ran_bytes() >= 39 * wanted, f"{wanted} jobs ran: {self.logs()}", PATIENCE)

    def _ran_bytes(self) -> int:
        path = self.directory / "ran"
        return path.stat().st_size if path.exists() else 0

    async def wait_inserted(self, *names: str) -> None:
        """Wait until these nodes have inserted all their jobs."""
        path = self.directory / "inserted"
        await eventually(lambda: set(names) <= set(lines_of(path)), f"all is inserted: {self.logs()}", PATIENCE)

    def logs(self) -> str:
        """Give the ends of what the nodes wrote."""
        return "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.directory.glob("*.log")))

    # -- the audit ----------------------------------------------------------------------------------------------

    async def audit(self, at_least: int) -> str:
        """Let a last node do what is left; then judge every job by its row, its lines, and the ends that were noted."""
        for name in list(self.nodes):
            self.signal(name, signal.SIGCONT)
            self.signal(name, signal.SIGTERM)
        for process in self.nodes.values():
            with trio.fail_after(PATIENCE):
                while process.poll() is None:
                    await trio.sleep(0.02)
        self.nodes.clear()
        acknowledged = self.acknowledged
        async with open_node(app, store=self.server.dsn, name="last", lease=LEASE) as node:
            verdict = (await audit(node, acknowledged=acknowledged, patience=PATIENCE)).check()
        assert verdict.jobs >= len(acknowledged) >= at_least, f"{verdict}, {len(acknowledged)} acknowledged"
        assert set(verdict.by_state) == {"completed"}, str(verdict)
        stored = {row["id"] for row in await self._sql("SELECT id FROM kathikon.all_jobs")}
        lines = Counter(UUID(job_id) for job_id in self.ran)
        assert not lines.keys() - stored, "a job ran that the store does not have"
        assert not {UUID(job_id) for job_id in acknowledged} - lines.keys(), "a job is completed and never ran"
        twice = await self._sql("SELECT id, count(*) FROM public.ends GROUP BY id HAVING count(*) > 1")
        assert not twice, f"{len(twice)} jobs ended more than once, such as {twice[0]['id']}"
        fenced = await self._sql("SELECT id FROM public.ends WHERE fenced")
        assert not fenced, f"{len(fenced)} writes got through a fence, such as {fenced[0]['id']}"
        again = sum(lines.values()) - len(lines)
        return (
            f"{verdict.jobs} jobs, {len(acknowledged)} acknowledged, {again} runs repeated, {verdict.retries} counted"
        )

    async def _sql(self, text: str) -> list[asyncpg.Record]:
        async with trio_asyncio.open_loop():
            raw = await trio_asyncio.aio_as_trio(asyncpg.connect)(self.server.dsn)
            try:
                rows: list[asyncpg.Record] = await trio_asyncio.aio_as_trio(
                    raw.fetch if text.startswith("SELECT") else raw.execute
                )(text)
                return rows
            finally:
                await trio_asyncio.aio_as_trio(raw.close)()


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False
