"""Real embedded servers for the tests of the store: fixtures, and processes that own a server and may be killed."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trio

from kathikon_actors.store.binaries import OLDEST_MAJOR, Binaries, find_all_binaries
from kathikon_actors.store.datadir import USER, Directory
from kathikon_actors.store.embedded import EmbeddedServer, open_embedded
from kathikon_actors.store.probe import execute

INSTALLATIONS = [found for found in find_all_binaries() if found.major >= OLDEST_MAJOR]
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: it is about what a server does when root starts it")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="about a mechanism of Linux")
both_mechanisms = pytest.mark.parametrize(
    "stays", [pytest.param(False, marks=linux_only, id="kernel"), pytest.param(True, id="keeper")]
)
PACKAGED = [found for found in INSTALLATIONS if "pginstall" in found.directory.parts]

OWNER = """
import sys, trio
from pathlib import Path
from kathikon_actors.store import embedded
from kathikon_actors.store.binaries import Binaries
path, binaries, stays = sys.argv[1:]
embedded._LAUNCHER_STAYS = stays == "stays"
async def main():
    server = embedded.EmbeddedServer(Path(path), binaries=Binaries.at(Path(binaries)))
    await server.start()
    print(server.pid, flush=True)
    await trio.sleep_forever()
trio.run(main)
"""


@pytest.fixture(scope="session", params=INSTALLATIONS, ids=lambda found: f"pg{found.major}")
def installation(request: pytest.FixtureRequest) -> Binaries:
    """Each PostgreSQL of this machine."""
    found: Binaries = request.param
    return found


@pytest.fixture
def pg_place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for the test's servers, gone afterwards; no process may be left in it."""
    path = tmp_path_factory.mktemp("server")
    yield path
    left = end_processes_of(path)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture
def public_place() -> Iterator[Path]:
    """A directory that every user may enter, unlike those pytest makes for root; otherwise as `pg_place`."""
    path = Path(tempfile.mkdtemp(prefix="kathikon-test-"))
    path.chmod(0o755)
    yield path
    left = end_processes_of(path)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture(scope="session")
def made_cluster(tmp_path_factory: pytest.TempPathFactory, installation: Binaries) -> Iterator[Path]:
    """A directory with a cluster, made once for each installation."""
    path = tmp_path_factory.mktemp("made")
    server = EmbeddedServer(path, binaries=installation, settings={"fsync": "off"})
    trio.run(server.start)
    trio.run(server.stop)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def pg_cluster(made_cluster: Path) -> Iterator[Path]:
    """A directory with a cluster in which no server runs, nor may one be left; its tables may be another test's."""
    yield made_cluster
    assert end_processes_of(made_cluster) == []


@pytest.fixture
async def pg_server(pg_cluster: Path, installation: Binaries) -> AsyncIterator[EmbeddedServer]:
    """A server that runs."""
    async with open_embedded(pg_cluster, binaries=installation) as started:
        yield started


def processes_of(path: Path) -> list[int]:
    """The live processes whose command line names a path, but the tests' own."""
    name = Directory(path).name
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [
        int(row[0])
        for row in rows
        if len(row) == 3 and (str(path) in row[2] or name in row[2]) and not row[1].startswith("Z")
    ]


def status_of(pid: int) -> str:
    """What the kernel says of a process."""
    return Path(f"/proc/{pid}/status").read_text()


def end_processes_of(path: Path) -> list[int]:
    left = processes_of(path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


def link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


async def until(state: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Poll until something is so."""
    with trio.move_on_after(seconds):
        while not state():
            await trio.sleep(0.01)
        return
    pytest.fail(f"not within {seconds} s: {what}")


@functools.cache
def _reaches_python(user: int) -> bool:
    try:
        return subprocess.run([sys.executable, "-c", ""], user=user, cwd="/", check=False).returncode == 0
    except PermissionError:
        return False


def as_user(user: int | None, command: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Give what `Popen` needs to run a program of this interpreter as another user.

    An interpreter below root's own home is out of that user's reach: then it may search directories, and nothing else.
    """
    if user is None or user == 0 or _reaches_python(user):
        return list(command), {"user": user, "group": user}
    if shutil.which("setpriv") is None:
        pytest.skip(f"user {user} cannot reach {sys.executable}, and there is no setpriv to help")
    capability = "+dac_read_search"
    drop = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    return [*drop, f"--inh-caps={capability}", f"--ambient-caps={capability}", *command], {}


def start_owner(
    path: Path, installation: Binaries, *, stays: bool = False, user: int | None = None, prefix: Sequence[str] = ()
) -> subprocess.Popen[str]:
    command = [
        *prefix,
        sys.executable,
        "-c",
        OWNER,
        str(path),
        str(installation.directory),
        "stays" if stays else "execs",
    ]
    command, options = as_user(user, command)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/", **options)


def start_stranger() -> subprocess.Popen[bytes]:
    """A process that is no server, of the user that servers run as."""
    return subprocess.Popen(["sleep", "600"], user=NOBODY if os.geteuid() == 0 else None)


async def server_of(owner: subprocess.Popen[str]) -> int:
    assert owner.stdout is not None
    with trio.fail_after(30):
        line = await trio.to_thread.run_sync(owner.stdout.readline, abandon_on_cancel=True)
    assert line, owner.stderr.read() if owner.stderr else ""
    return int(line)


def end(owner: subprocess.Popen[str]) -> None:
    owner.kill()
    owner.wait()
    assert owner.stdout is not None and owner.stderr is not None
    owner.stdout.close()
    owner.stderr.close()


async def fetch(dsn: str, query: str) -> object:
    """One value, through asyncpg."""

    async def ask() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return await trio.to_thread.run_sync(asyncio.run, ask())


def write(server_socket: Path, statement: str) -> None:
    execute(server_socket, statement, user=USER, database="kathikon")
