"""The programs of docs/operating.md run as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
import trio

from kathikon_actors import Client, Node, SyncClient

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "operating.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
STATEMENTS = re.findall(r"^```sql\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
EXPECTED = [
    ["cancelled 5 errors []", "completed 5", "retried 1 ok"],
    ["render completed {'frames': 70}"],
]


def test_there_is_an_expectation_for_every_program() -> None:
    """No example goes untested."""
    assert len(PROGRAMS) == len(EXPECTED) and len(STATEMENTS) == 1


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_a_program_runs_and_prints_what_it_should(number: int, tmp_path: Path, postgres_dsn: str) -> None:
    """By a fresh interpreter, on a database of its own."""
    file = tmp_path / "shop.py"
    file.write_text(PROGRAMS[number].replace('"postgresql://localhost/shop"', repr(postgres_dsn)))
    done = subprocess.run(
        [sys.executable, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "KATHIKON_RUNTIME_DIR": str(tmp_path / "run")},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == EXPECTED[number]


async def test_the_statement_inserts_a_job(postgres_dsn: str) -> None:
    """As printed."""
    import trio_asyncio

    async with Client(postgres_dsn) as client:
        connection = await trio_asyncio.aio_as_trio(asyncpg.connect)(postgres_dsn)
        try:
            job_id = await trio_asyncio.aio_as_trio(connection.fetchval)(STATEMENTS[0])
        finally:
            await trio_asyncio.aio_as_trio(connection.close)()
        job = await client.get(job_id)
        assert (job.worker, job.queue, job.state, job.args["cents"]) == ("charge", "billing", "scheduled", 5)
        await trio.lowlevel.checkpoint()


def test_every_name_of_the_page_is_there() -> None:
    """The same on a node and on both clients, but for external runs, which are a client's."""
    names = [
        "cancel",
        "discard",
        "retry",
        "rerun",
        "purge",
        "report_progress",
        "get",
        "status",
        "result",
        "history",
        "errors",
        "wait",
        "list",
        "cancel_by",
        "discard_by",
        "retry_by",
        "purge_by",
        "count_by",
        "pause",
        "resume",
        "scale",
        "drain",
        "add_queue",
        "remove_queue",
        "queues",
        "queue_status",
        "report",
        "health",
        "nodes",
        "prune_now",
        "promote_now",
    ]
    for kind in (Node, Client, SyncClient):
        assert [name for name in names if not callable(getattr(kind, name, None))] == []
    for kind in (Client, SyncClient):
        assert [
            n for n in ("claim", "extend", "complete", "fail", "snooze") if not callable(getattr(kind, n, None))
        ] == []
