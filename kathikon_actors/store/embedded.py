"""A private PostgreSQL server for one node or one test run, in a directory the caller names.

Usage:
    async with open_embedded(Path(".kathikon")) as server:
        connection = await asyncpg.connect(server.dsn)

The first start makes the cluster (about a second), later ones take some hundredths of a second. The server listens on
a Unix socket only, runs as an ordinary user even under root, and ends with its owner, even one killed with SIGKILL.
What was committed survives the death of either; starting again is the only recovery there is to do.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import trio

from kathikon_actors.store import postmaster
from kathikon_actors.store.binaries import Binaries, PostgresNotFound, find_binaries
from kathikon_actors.store.datadir import DATABASE, PORT, USER, Directory, DirectoryInUse, ServerFailed, socket_dsn
from kathikon_actors.store.probe import Answer, StatementFailed, execute, probe
from kathikon_actors.store.server_process import PostmasterFile, ServerUser, orphans

__all__ = [
    "DEFAULT_SETTINGS",
    "DirectoryInUse",
    "EmbeddedServer",
    "PostgresNotFound",
    "ServerFailed",
    "find_running",
    "open_embedded",
]

DEFAULT_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "fsync": "on",  # acknowledged means committed: survives a power cut
        "synchronous_commit": "on",  # the same; the journal's group commit pays for it once a batch
        "max_connections": "50",  # a node needs about eight; the rest is for the command line and operators
        "shared_buffers": "128MB",  # the live table is as small as the backlog; touched only as it is used
        "max_wal_size": "1GB",  # few checkpoints, so few full-page images
        "min_wal_size": "80MB",  # kept to be written over; initdb would choose less for short segments
        "checkpoint_timeout": "15min",  # the same; recovery after kill -9 stays at seconds
        "autovacuum_naptime": "10s",  # a queue's table dies and is born anew all the time: look often,
        "autovacuum_max_workers": "2",  # but on two cores with few hands
        "autovacuum_vacuum_scale_factor": "0.05",  # and clean before a twentieth is dead rows
        "jit": "off",  # compiling costs more than any of the queue's statements
        "max_parallel_workers_per_gather": "0",  # short statements; also leaves the cores to the jobs
        "huge_pages": "off",  # 128 MB gain nothing; containers often have none
        "dynamic_shared_memory_type": "mmap",  # not /dev/shm, which is small in containers: all files lie in PATH
        "log_min_messages": "log",  # a statement's error goes to its client: the log stays small
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
        "lc_messages": "C",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)
"""What a server runs with unless `settings` says otherwise: durable, and small beside the jobs on two cores."""

_LAUNCHER = Path(postmaster.__file__)
_LAUNCHER_STAYS = sys.platform != "linux"  # no other kernel tells a process that its parent has died
_INITDB_DEADLINE = 120.0
_WAL_SEGMENT = 4  # MB; commits wait while a new one is written, with the usual 16 MB for some 10 ms on a good disk
_STILL_THERE = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')
_ORPHAN_GRACE = 3.0
_STOP_TIMEOUT = 20.0


class EmbeddedServer:
    """The handle of one private server. Start it, use its `dsn`, stop it; after the server died, start it again.

    Args:
        path: the server's directory; made when it does not exist. A second server in it is refused.
        settings: server settings over `DEFAULT_SETTINGS`, such as `{"shared_buffers": "1GB"}`. With `fsync` off the
            cluster is made without syncing too: for tests.
        binaries: the installation to use; found by default, preferring the version that made the cluster.
        deadline: seconds until the server must accept connections.

    `start` must be called in a thread that lives as long as the server should: the kernel stops it with that thread.
    """

    def __init__(
        self,
        path: Path,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        binaries: Binaries | None = None,
        deadline: float = 30.0,
    ) -> None:
        self._directory = Directory(path)
        self._settings = {**DEFAULT_SETTINGS, **settings}
        self._given = binaries
        self._deadline = deadline
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._accepting = False

    @property
    def path(self) -> Path:
        """The server's directory."""
        return self._directory.path

    @property
    def log(self) -> Path:
        """The server's log file."""
        return self._directory.log

    @property
    def socket(self) -> Path:
        """The socket file that the server listens on."""
        return self._directory.socket

    @property
    def dsn(self) -> str:
        """The address of the database `kathikon`, for asyncpg and libpq. The same at every start."""
        return socket_dsn(self._directory.sockets)

    @property
    def pid(self) -> int:
        """The postmaster's process id; 0 before the first start. A dead server's stays."""
        return self._pid

    @property
    def running(self) -> bool:
        """Whether the server started and has neither stopped nor died."""
        return self._accepting and self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Make the cluster if there is none, start the server, and return when it accepts connections.

        Cancelled half way, it leaves no process behind. Does nothing when the server runs.

        Raises:
            PostgresNotFound: no server program, or none of the version that made the cluster.
            DirectoryInUse: another live process has a server in the directory.
            ServerFailed: it did not come up; carries the end of the log.
        """
        await trio.lowlevel.checkpoint()
        if self.running:
            return
        self._accepting = False
        directory = self._directory
        try:
            await trio.to_thread.run_sync(directory.hold)
            await self._previous_ended()
            binaries = await self._binaries()
            user = await trio.to_thread.run_sync(directory.user)
            if directory.major() is None:
                await self._make_cluster(binaries, user)
            await trio.to_thread.run_sync(directory.prepare, user)
            await self._launch(binaries, user)
        except BaseException:
            with trio.CancelScope(shield=True):
                await self.stop("immediate")
            raise

    async def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and give its directory free. Does nothing when it does not run.

        `fast` ends all sessions and writes a checkpoint; `immediate` ends at once and leaves the next start to recover.
        A server that does not obey within 10 s is stopped harder. Cancellation waits until the server has ended.
        """
        with trio.CancelScope(shield=True):
            if self._process is not None:
                await _end(self._process, fast=mode == "fast")
                if self._process.returncode != 0 and self._directory.held:
                    await self._end_orphans()
            await trio.to_thread.run_sync(self._directory.release)

    async def wait_exit(self) -> int:
        """Wait until the server has ended, for whatever reason; give its exit code, negative for a signal's number."""
        if self._process is None:
            raise RuntimeError("wait_exit() before start()")
        return await _exit_code(self._process)

    async def _previous_ended(self) -> None:
        """Wait for the server of an owner that was killed: it was told to stop and may be writing its checkpoint."""
        directory = self._directory
        began = trio.current_time()
        while (found := await trio.to_thread.run_sync(PostmasterFile.read, directory.data)) is not None:
            if not await trio.to_thread.run_sync(found.is_alive, directory.data):
                await self._end_orphans()
                await trio.to_thread.run_sync(_remove_stale, directory.data, found)
                return
            patience = self._deadline if found.status == "stopping" else min(_ORPHAN_GRACE, self._deadline)
            if trio.current_time() > began + patience:
                raise DirectoryInUse(directory.path, found.pid, "a server without an owner")
            await trio.sleep(0.02)

    async def _end_orphans(self) -> None:
        """End what is left of a postmaster that died."""
        user = await trio.to_thread.run_sync(self._directory.user)
        began = trio.current_time()
        while left := await trio.to_thread.run_sync(orphans, self._directory.name, user.uid):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT if trio.current_time() < began + _ORPHAN_GRACE else signal.SIGKILL)
            await trio.sleep(0.02)

    async def _binaries(self) -> Binaries:
        major = await trio.to_thread.run_sync(self._directory.major)
        if self._given is None:
            return await trio.to_thread.run_sync(lambda: find_binaries(major, path=self.path))
        if major not in (None, self._given.major):
            raise PostgresNotFound((str(self._given.directory),), major, self.path)
        return self._given

    async def _make_cluster(self, binaries: Binaries, user: ServerUser) -> None:
        directory = self._directory
        fresh = await trio.to_thread.run_sync(directory.new_cluster, user)
        command = [str(binaries.initdb), "-D", str(fresh), "-U", USER, "--auth=trust", "--encoding=UTF8", "--locale=C"]
        command.append(f"--wal-segsize={_WAL_SEGMENT}")
        if self._settings["fsync"] == "off":
            command.append("--no-sync")  # never otherwise: no later checkpoint syncs the files that initdb wrote
        if binaries.major >= 16:
            command += ["-c", "dynamic_shared_memory_type=mmap"]  # /dev/shm may be too small even for this
        start = self._spawn(command, user, reach=[fresh, binaries.initdb])
        assert self._process is not None
        with trio.move_on_after(_INITDB_DEADLINE):
            code = await _exit_code(self._process)
            if code != 0:
                raise self._failed(f"initdb of PostgreSQL {binaries.version} failed (exit code {code})", start)
            await trio.to_thread.run_sync(directory.adopt, fresh)
            return
        raise self._failed(f"initdb did not end within {_INITDB_DEADLINE:g} s", start)

    async def _launch(self, binaries: Binaries, user: ServerUser) -> None:
        directory = self._directory
        command = [str(binaries.postgres), "-D", str(directory.data)]
        fixed = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(directory.sockets),
            "hba_file": str(directory.hba),
            "ident_file": str(directory.ident),
            "cluster_name": directory.name,
        }
        for name, value in {**self._settings, **fixed}.items():
            command += ["-c", f"{name}={value}"]
        reach = [directory.path, directory.data, directory.sockets, binaries.postgres]
        start = 0
        with trio.move_on_after(self._deadline):
            while True:
                start = self._spawn(command, user, reach=reach)
                if await self._ready():
                    return
                tail = await trio.to_thread.run_sync(directory.log_tail, start)
                # The children of a postmaster killed with -9 hold its shared memory until they notice.
                if not any(sign in tail for sign in _STILL_THERE):
                    raise self._failed(f"PostgreSQL {binaries.version} ended while starting", start)
                await trio.sleep(0.05)
        raise self._failed(f"did not accept connections within {self._deadline:g} s", start)

    async def _ready(self) -> bool:
        """Wait until the server just spawned accepts connections and has the database; False when it ended instead."""
        process = self._process
        pause = 0.002
        while process is not None and process.poll() is None:
            answer = await trio.to_thread.run_sync(self._ask, abandon_on_cancel=True)
            if answer is Answer.NO_DATABASE:
                await trio.to_thread.run_sync(self._create_database, abandon_on_cancel=True)
            elif answer is Answer.READY:
                found = await trio.to_thread.run_sync(PostmasterFile.read, self._directory.data)
                self._pid = process.pid if found is None else found.pid
                self._accepting = True
                return True
            elif answer is Answer.REFUSED:
                raise ServerFailed(self.path, f"the server refuses the user {USER}; see {self.log}")
            await trio.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        return False

    def _ask(self) -> Answer:
        return probe(self._directory.socket, user=USER, database=DATABASE)

    def _create_database(self) -> None:
        try:
            execute(self._directory.socket, f"CREATE DATABASE {DATABASE}", user=USER, database="postgres")
        except StatementFailed as error:
            raise ServerFailed(self.path, f"cannot create the database: {error}") from None

    def _spawn(self, command: list[str], user: ServerUser, *, reach: list[Path]) -> int:
        """Run a program through the launcher; give where its part of the log begins.

        In this thread on purpose: the kernel's request to stop with the owner names the thread that forks.
        """
        mode = "keep" if _LAUNCHER_STAYS else "exec"
        log = self._directory.open_log()
        try:
            start = os.fstat(log).st_size
            self._process = subprocess.Popen(  # noqa: S603  the program comes from find_binaries
                [
                    *(sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(user.uid), str(user.gid), mode),
                    *(str(path) for path in reach),
                    *("--", *command),
                ],
                stdin=subprocess.PIPE if _LAUNCHER_STAYS else subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is the owner's
            )
        finally:
            os.close(log)
        return start

    def _failed(self, problem: str, log_start: int) -> ServerFailed:
        if self._process is not None and self._process.poll() == postmaster.EXIT_NO_USER:
            problem = "its program cannot run"
        return ServerFailed(self.path, problem, self._directory.log_tail(log_start))


@asynccontextmanager
async def open_embedded(
    path: Path, *, settings: Mapping[str, str] = MappingProxyType({}), binaries: Binaries | None = None
) -> AsyncIterator[EmbeddedServer]:
    """A running server for the length of the block, stopped `fast` at its end; as `EmbeddedServer` otherwise."""
    server = EmbeddedServer(path, settings=settings, binaries=binaries)
    await server.start()
    try:
        yield server
    finally:
        with trio.move_on_after(_STOP_TIMEOUT, shield=True):
            await server.stop()


def find_running(path: Path) -> str | None:
    """The DSN of the server in this directory, whoever started it, or None when none accepts connections.

    Blocks for at most a second. For a command beside a running node: it must not start a server of its own.
    """
    directory = Directory(path)
    found = PostmasterFile.read(directory.data)
    if found is None or found.sockets is None:
        return None
    answer = probe(found.sockets / directory.socket.name, user=USER, database=DATABASE)
    return socket_dsn(found.sockets) if answer is Answer.READY else None


def _remove_stale(data: Path, found: PostmasterFile) -> None:
    """Remove the file where it would stop the server: where its pid is another process' by now.

    Otherwise the server reads it and makes sure that nothing of the dead one is left.
    """
    if PostmasterFile.read(data) == found and found.pid_exists():
        (data / "postmaster.pid").unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    """Nothing of the caller's: PGDATA, PGPORT or a locale there would change what the programs do."""
    kept = {name: value for name in ("LD_LIBRARY_PATH", "TMPDIR") if (value := os.environ.get(name))}
    return {"PATH": os.defpath, "LC_ALL": "C", **kept}


async def _end(process: subprocess.Popen[bytes], *, fast: bool) -> None:
    kill = signal.SIGKILL if process.stdin is None else postmaster.KILL  # the launcher that stays must not die alone
    steps = [(signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (kill, math.inf)]
    for number, patience in steps if fast else steps[1:]:
        process.send_signal(number)
        with trio.move_on_after(patience):
            await _exit_code(process)
            break
    if process.stdin is not None:
        process.stdin.close()


async def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Wait without a thread, and without the SIGCHLD that belongs to whoever runs the event loop."""
    try:
        descriptor = os.pidfd_open(process.pid) if process.poll() is None and hasattr(os, "pidfd_open") else -1
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.ESRCH, errno.EMFILE):
            raise
        descriptor = -1  # an old kernel, or a sandbox that forbids it
    try:
        while process.poll() is None:
            if descriptor >= 0:
                await trio.lowlevel.wait_readable(descriptor)
            else:
                await trio.sleep(0.02)
    finally:
        if descriptor >= 0:
            os.close(descriptor)
    assert process.returncode is not None
    return process.returncode
