"""The embedded PostgreSQL server: starting, its directory, its programs."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from kathikon_actors.store import binaries as binaries_module
from kathikon_actors.store import embedded
from kathikon_actors.store.binaries import Binaries, PostgresNotFound, find_binaries
from kathikon_actors.store.embedded import DirectoryInUse, EmbeddedServer, ServerFailed, find_running, open_embedded
from tests.support.servers import (
    INSTALLATIONS,
    end,
    fetch,
    linux_only,
    processes_of,
    server_of,
    start_owner,
    until,
    write,
)


class TestStarting:
    async def test_the_first_start_makes_a_cluster_that_asyncpg_can_use(
        self, pg_place: Path, installation: Binaries
    ) -> None:
        """A start in an empty place makes cluster, role and database; the DSN is all a client needs."""
        began = time.perf_counter()
        async with open_embedded(pg_place / "new" / "node", binaries=installation) as server:
            made = time.perf_counter() - began
            found = await fetch(server.dsn, "select current_database() || ' ' || current_user || ' ' || version()")
            assert str(found).startswith(f"kathikon kathikon PostgreSQL {installation.version}")
            assert await fetch(server.dsn, "show server_encoding") == "UTF8"
            assert await fetch(server.dsn, "show listen_addresses") == ""
            assert await fetch(server.dsn, "show wal_segment_size") == "4MB"
            assert server.running and server.pid > 0
        print(f"PostgreSQL {installation.version}: made and started in {made:.3f} s")
        assert not server.running

    async def test_later_starts_are_quick_and_keep_the_data(self, pg_cluster: Path, installation: Binaries) -> None:
        """Stop and start again: the rows are there, and nothing is made anew."""
        async with open_embedded(pg_cluster, binaries=installation) as server:
            write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
        began = time.perf_counter()
        async with open_embedded(pg_cluster, binaries=installation) as server:
            seconds = time.perf_counter() - began
            assert await fetch(server.dsn, "select n from kept") == 7
        print(f"PostgreSQL {installation.version}: started in {seconds:.3f} s")
        assert seconds < 10

    async def test_settings_of_the_caller_win(self, pg_cluster: Path, installation: Binaries) -> None:
        """What is not named keeps its durable default."""
        async with open_embedded(pg_cluster, binaries=installation, settings={"max_connections": "17"}) as server:
            assert await fetch(server.dsn, "show max_connections") == "17"
            assert await fetch(server.dsn, "show fsync") == "on"
            assert await fetch(server.dsn, "show synchronous_commit") == "on"

    @linux_only
    async def test_the_environment_of_the_caller_does_not_reach_it(
        self, pg_cluster: Path, installation: Binaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """PGDATA and the like belong to somebody's other server, and secrets are none of its business."""
        for name, value in {"PGDATA": "/nowhere", "PGPORT": "1", "LC_ALL": "xx_XX", "SECRET_OF_THE_OWNER": "x"}.items():
            monkeypatch.setenv(name, value)
        async with open_embedded(pg_cluster, binaries=installation) as server:
            assert await fetch(server.dsn, "select 1") == 1
            environment = await trio.Path(f"/proc/{server.pid}/environ").read_bytes()
            assert b"LC_ALL=C\0" in environment
            assert b"SECRET_OF_THE_OWNER" not in environment and b"PGDATA=/nowhere" not in environment

    async def test_a_long_path_gets_its_socket_elsewhere_and_takes_it_away(
        self, pg_place: Path, installation: Binaries
    ) -> None:
        """A socket's address holds about a hundred bytes; the short directory is private and ends with the server."""
        deep = pg_place / ("d" * 60) / ("e" * 60)
        async with open_embedded(deep, binaries=installation, settings={"fsync": "off"}) as server:
            sockets = server.socket.parent
            assert not sockets.is_relative_to(pg_place)
            assert sockets.stat().st_mode & 0o777 == 0o700
            assert await fetch(server.dsn, "select 1") == 1
            assert find_running(deep) == server.dsn
        assert not sockets.exists()

    async def test_a_path_with_signs_that_lists_split_at_works(self, pg_place: Path, installation: Binaries) -> None:
        """Commas, quotes, spaces and percent signs in a path mean nothing special."""
        path = pg_place / "a, \"b\" %41 'c'"
        async with open_embedded(path, binaries=installation, settings={"fsync": "off"}) as server:
            assert await fetch(server.dsn, "select 1") == 1

    async def test_a_server_that_cannot_start_says_why(self, pg_cluster: Path, installation: Binaries) -> None:
        """The error carries what the server wrote last, and the directory is free again."""
        broken = EmbeddedServer(pg_cluster, binaries=installation, settings={"shared_buffers": "many"})
        with pytest.raises(ServerFailed, match=r'(?s)ended while starting.*shared_buffers.*"many"') as caught:
            await broken.start()
        assert caught.value.path == pg_cluster and "many" in caught.value.log
        async with open_embedded(pg_cluster, binaries=installation) as server:
            assert server.running

    async def test_a_large_log_is_put_aside_at_the_next_start(self, pg_cluster: Path, installation: Binaries) -> None:
        """Two files bound what years of restarts leave."""
        log = pg_cluster / "server.log"
        log.write_bytes(b"x" * (9 << 20))
        async with open_embedded(pg_cluster, binaries=installation):
            assert log.stat().st_size < 1 << 20
        assert (pg_cluster / "server.log.1").stat().st_size == 9 << 20

    async def test_it_hears_no_ctrl_c(self, pg_server: EmbeddedServer) -> None:
        """It lives in a session of its own: only its owner decides when it ends."""
        assert os.getsid(pg_server.pid) == pg_server.pid != os.getsid(0)


class TestOneServerOneDirectory:
    async def test_a_second_server_of_the_process_is_refused(
        self, pg_server: EmbeddedServer, installation: Binaries
    ) -> None:
        """Also through another name of the directory."""
        with pytest.raises(DirectoryInUse) as caught:
            await EmbeddedServer(pg_server.path / ".." / pg_server.path.name, binaries=installation).start()
        assert caught.value.path == pg_server.path and caught.value.pid == os.getpid()
        assert await fetch(pg_server.dsn, "select 1") == 1

    async def test_a_second_process_is_refused_and_told_who_owns_it(
        self, pg_cluster: Path, installation: Binaries
    ) -> None:
        """The error names the directory and the pid of the owner; the running server is not disturbed."""
        owner = start_owner(pg_cluster, installation)
        try:
            pid = await server_of(owner)
            with pytest.raises(DirectoryInUse, match=f"{pg_cluster} is in use by process {owner.pid} ") as caught:
                await EmbeddedServer(pg_cluster, binaries=installation).start()
            assert caught.value.pid == owner.pid
            os.kill(pid, 0)
        finally:
            end(owner)
        await until(lambda: processes_of(pg_cluster) == [], "the server's end")

    async def test_a_server_without_an_owner_is_not_taken_over(
        self, pg_server: EmbeddedServer, installation: Binaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Somebody started it by hand: the error names its pid, and it runs on."""
        monkeypatch.setattr(embedded, "_ORPHAN_GRACE", 0.1)
        pg_server._directory.release()
        with pytest.raises(DirectoryInUse, match="a server without an owner") as caught:
            await EmbeddedServer(pg_server.path, binaries=installation).start()
        assert caught.value.pid == pg_server.pid and pg_server.running

    async def test_another_process_finds_the_running_server(self, pg_cluster: Path, installation: Binaries) -> None:
        """A command beside a node uses the node's server; where none runs there is nothing to find."""
        assert find_running(pg_cluster) is None
        assert find_running(pg_cluster / "nothing") is None
        owner = start_owner(pg_cluster, installation)
        try:
            await server_of(owner)
            dsn = find_running(pg_cluster)
            assert dsn is not None and await fetch(dsn, "select 1") == 1
        finally:
            end(owner)
        await until(lambda: processes_of(pg_cluster) == [], "the server's end")
        assert find_running(pg_cluster) is None


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

    async def test_a_cluster_of_a_version_that_is_not_installed_is_refused(self, pg_place: Path) -> None:
        """PostgreSQL does not read the files of another major version; the error names the one it takes."""
        (pg_place / "data").mkdir()
        (pg_place / "data" / "PG_VERSION").write_text("11\n")
        with pytest.raises(PostgresNotFound, match="no PostgreSQL 11 server") as caught:
            await EmbeddedServer(pg_place).start()
        assert caught.value.major == 11


async def test_the_fixture_gives_each_test_an_empty_database(postgres_dsn: str) -> None:
    """The server that the whole run shares."""
    assert await fetch(postgres_dsn, "select count(*) from pg_class where relnamespace = 'public'::regnamespace") == 0
