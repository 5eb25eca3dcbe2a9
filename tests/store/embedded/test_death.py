"""The embedded PostgreSQL server and its owner, killed at any time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import trio

from kathikon_actors.store.binaries import Binaries
from kathikon_actors.store.datadir import Directory
from kathikon_actors.store.embedded import EmbeddedServer, find_running, open_embedded
from kathikon_actors.store.probe import Answer
from tests.support.servers import (
    both_mechanisms,
    end,
    fetch,
    processes_of,
    server_of,
    start_owner,
    start_stranger,
    until,
    write,
)


class TestDeath:
    @both_mechanisms
    async def test_a_killed_owner_takes_the_server_along(
        self, pg_cluster: Path, installation: Binaries, stays: bool
    ) -> None:
        """SIGKILL of the owner: the server shuts down by itself, and the next start finds every committed row."""
        owner = start_owner(pg_cluster, installation, stays=stays)
        try:
            await server_of(owner)
            write(Directory(pg_cluster).socket, "drop table if exists kept; create table kept as select 7 as n")
        finally:
            end(owner)
        await until(lambda: processes_of(pg_cluster) == [], "the server's end")
        async with open_embedded(pg_cluster, binaries=installation) as server:
            assert await fetch(server.dsn, "select n from kept") == 7

    @both_mechanisms
    async def test_a_start_right_after_the_owner_was_killed_waits_for_the_old_server(
        self, pg_cluster: Path, installation: Binaries, stays: bool
    ) -> None:
        """The old server may still be writing its checkpoint; no two ever run in one directory."""
        owner = start_owner(pg_cluster, installation, stays=stays)
        try:
            first = await server_of(owner)
            write(
                Directory(pg_cluster).socket,
                "drop table if exists kept; create table kept as select generate_series(1, 50000) as n",
            )
        finally:
            end(owner)
        async with open_embedded(pg_cluster, binaries=installation) as server:
            assert server.pid != first
            assert await fetch(server.dsn, "select count(*) from kept") == 50_000

    async def test_a_killed_server_is_noticed_and_starts_again(self, pg_cluster: Path, installation: Binaries) -> None:
        """SIGKILL of the postmaster: `wait_exit` tells, and a start recovers what was committed."""
        server = EmbeddedServer(pg_cluster, binaries=installation)
        await server.start()
        try:
            write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
            os.kill(server.pid, signal.SIGKILL)
            with trio.fail_after(5):
                assert await server.wait_exit() == -signal.SIGKILL
            assert server.running is False
            await server.start()
            assert await fetch(server.dsn, "select n from kept") == 7
        finally:
            await server.stop()

    async def test_a_server_killed_while_it_works_leaves_no_rows_half_written(
        self, pg_cluster: Path, installation: Binaries
    ) -> None:
        """A child that computes does not notice and holds the memory; a start ends it, and its statement is undone."""
        server = EmbeddedServer(pg_cluster, binaries=installation)
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
                with trio.fail_after(30):
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

    async def test_an_immediate_stop_loses_nothing(self, pg_cluster: Path, installation: Binaries) -> None:
        """No checkpoint, but the log is enough."""
        server = EmbeddedServer(pg_cluster, binaries=installation)
        await server.start()
        write(server.socket, "drop table if exists kept; create table kept as select 7 as n")
        await server.stop("immediate")
        await server.start()
        try:
            assert await fetch(server.dsn, "select n from kept") == 7
        finally:
            await server.stop()

    async def test_a_pid_file_whose_pid_is_another_process_is_stale(
        self, pg_cluster: Path, installation: Binaries
    ) -> None:
        """After a reboot, or in a new container, the old pid may be anybody's."""
        other = start_stranger()
        try:
            (pg_cluster / "data" / "postmaster.pid").write_text(
                f"{other.pid}\n{pg_cluster}/data\n1\n5432\n{pg_cluster}/run\n\n\nready\n"
            )
            assert find_running(pg_cluster) is None
            async with open_embedded(pg_cluster, binaries=installation) as server:
                assert server.running
            assert other.poll() is None
        finally:
            other.kill()
            other.wait()

    async def test_an_interrupted_making_of_the_cluster_is_done_again(
        self, pg_place: Path, installation: Binaries
    ) -> None:
        """Killed inside initdb, the owner leaves a half cluster beside the place, never in it."""
        for attempt in range(10):
            path = pg_place / f"node-{attempt}"
            owner = start_owner(path, installation)
            try:
                await until(lambda: any(path.glob("data.*.tmp/base")) or (path / "data").exists(), "initdb at work")  # noqa: B023
            finally:
                end(owner)
            if not (path / "data").exists():
                break  # else it was over before we had looked, and this was no interruption
            await until(lambda: processes_of(path) == [], "the server's end")  # noqa: B023
        assert not (path / "data").exists()
        async with open_embedded(path, binaries=installation) as server:
            assert await fetch(server.dsn, "select 1") == 1
            assert Directory(path).major() == installation.major

    @pytest.mark.parametrize("moment", [0.0, 0.01, 0.1, 0.4])
    async def test_a_start_cancelled_half_way_leaves_no_process(
        self, pg_place: Path, installation: Binaries, moment: float
    ) -> None:
        """Cancelled in initdb, or while the server comes up: nothing runs on, and the directory is free."""
        path = pg_place / "node"
        server = EmbeddedServer(path, binaries=installation)
        with trio.move_on_after(moment) as scope:
            await server.start()
        assert scope.cancelled_caught and not server.running
        await until(lambda: processes_of(path) == [], "the end of what start had begun")

    async def test_a_launch_cancelled_half_way_leaves_no_process(
        self, pg_cluster: Path, installation: Binaries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same on a cluster that exists: cancelled as soon as the server's process is there."""
        server = EmbeddedServer(pg_cluster, binaries=installation)
        monkeypatch.setattr(server, "_ask", lambda: Answer.BUSY)  # however late we look, it has not come up yet
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.start)
            await until((pg_cluster / "data" / "postmaster.pid").exists, "a postmaster")
            nursery.cancel_scope.cancel()
        await until(lambda: processes_of(pg_cluster) == [], "the server's end")
        assert not server.running
