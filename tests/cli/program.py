"""The command line as other programs use it: started, read, signalled, waited for."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kathikon_actors.cli.group import run
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.embedded import open_embedded
from kathikon_actors.store.postgres import PostgresStore
from tests.support.records import new_record
from tests.support.waiting import eventually_sync

APP = """
import os, time
import trio
from kathikon_actors import App, Job, Queue, worker

def note(word):
    with open("log", "a") as log:
        log.write(f"{word}\\n")

@worker(queue="plain")
def add(a: int, b: int) -> int:
    return a + b

@worker(queue="async", tags=["vip"])
async def nap(job: Job, seconds: float) -> str:
    note(f"began {os.getpid()}")
    await trio.sleep(seconds)
    note(f"ended {os.getpid()}")
    return "rested"

@worker(queue="plain")
def block(seconds: float) -> None:
    note(f"began {os.getpid()}")
    time.sleep(seconds)

@worker(queue="async")
async def resume(flag: str) -> str:
    note(f"began {os.getpid()}")
    while not os.path.exists(flag):
        await trio.sleep(0.01)
    return "resumed"

app = App([Queue("plain", concurrency=3), Queue("async")], [add, nap, block, resume])
"""

PROGRAM = [sys.executable, "-m", "kathikon_actors"]
DEADLINE = 60.0
NO_SYNC = {"fsync": "off"}


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class Running:
    """A node as a process; its output goes to files, so that no pipe is ever full."""

    def __init__(self, directory: Path, arguments: tuple[str, ...], number: int) -> None:
        self._out, self._err = directory / f"out.{number}", directory / f"err.{number}"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen([*PROGRAM, *arguments], cwd=directory, stdout=out, stderr=err)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def ready(self) -> Running:
        eventually_sync(
            lambda: "is ready" in self.err or self.process.poll() is not None, "the node is ready", DEADLINE
        )
        assert self.process.poll() is None, self.err
        return self

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> Ended:
        code = self.process.wait(DEADLINE)
        return Ended(code, self.out, self.err)


class Directory:
    """A working directory: commands run in it, and everything that still runs in it can be found."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / ".kathikon"
        self._running: list[Running] = []

    def run(self, *arguments: str, **environment: str) -> Ended:
        """Run a command to its end."""
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def call(self, *arguments: str, store: str | None = None) -> Ended:
        """Run a command in this process: what it imports is imported already."""
        out, err = io.StringIO(), io.StringIO()
        given = ("--store", store) if store is not None else ()
        with contextlib.chdir(self.path), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*arguments, *given])
        return Ended(code, out.getvalue(), err.getvalue())

    def start(self, *arguments: str) -> Running:
        """Start a command."""
        running = Running(self.path, arguments, len(self._running))
        self._running.append(running)
        return running

    def log(self) -> list[str]:
        """What the jobs wrote."""
        log = self.path / "log"
        return log.read_text().splitlines() if log.exists() else []

    def processes(self) -> list[int]:
        """The processes, not the tests' own, that work in this directory or are told of it."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                inside = (entry / "cwd").readlink().is_relative_to(self.path)
                told = os.fsencode(self.path) in (entry / "cmdline").read_bytes()
                zombie = ") Z " in (entry / "stat").read_text()
                if (inside or told) and not zombie and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        """Kill what is left."""
        for running in self._running:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait()
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually_sync(lambda: not self.processes(), "what was killed is gone")


async def store_jobs(dsn: str, node: str, *records: Record) -> list[str]:
    """Store jobs that belong to a node of this name, as if its last life had left them; give their ids."""
    async with open_loop():
        store = PostgresStore(dsn)
        await store.open()
        try:
            membership = await store.join(node, 30.0)
            await store.commit_inserts(membership, 1, records, may_conflict=False)
            await store.leave(membership)
        finally:
            await store.close()
    return [str(as_uuid(record.id)) for record in records]


async def embed_jobs(path: Path, node: str, *records: Record) -> list[str]:
    """As `store_jobs`, in an embedded store."""
    async with open_embedded(path, settings=NO_SYNC) as server:
        return await store_jobs(server.dsn, node, *records)


def a_job(worker: str, queue: str, args: dict[str, Any], **fields: Any) -> Record:
    """A job of the app above."""
    return new_record(worker=worker, queue=queue, args=json.dumps(args).encode(), **fields)


def is_alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
