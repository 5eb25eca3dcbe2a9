"""The directory of an embedded server: where its parts lie and who holds it.

PATH/data            the cluster (PGDATA), 0700, of the user the server runs as
PATH/run             the socket's directory, 0700, of the same user; in the temporary directory when PATH is long
PATH/server.log      the server's log
PATH/lock            locked by the process that owns the server; holds its pid
PATH/pg_hba.conf     who may connect
PATH/pg_ident.conf
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from kathikon_actors.jobs.errors import BadConfiguration, KathikonError
from kathikon_actors.store.server_process import ServerUser

__all__ = ["DATABASE", "PORT", "USER", "Directory", "DirectoryInUse", "ServerFailed", "socket_dsn"]

USER = "kathikon"
"""The role that owns everything in an embedded server."""

DATABASE = "kathikon"
"""The database that an embedded server always has."""

PORT = 5432
"""Only names the socket file: an embedded server listens on no network address."""

_LONGEST_SOCKET = 90  # bytes; the address holds 108 on Linux, 104 elsewhere
_LARGEST_LOG = 8 << 20
_held: set[tuple[int, int]] = set()  # a POSIX lock does not exclude a second holder within the same process


class DirectoryInUse(KathikonError):
    """A server runs in this directory already, and its owner lives.

    Attributes:
        path: the directory.
        pid: the process that owns the server; the server's own where that is not known.
    """

    def __init__(self, path: Path, pid: int | None, what: str) -> None:
        self.path = path
        self.pid = pid
        super().__init__(f"{path} is in use by process {pid} ({what}). Stop it or use another directory.")


class ServerFailed(KathikonError):
    """The server, or the making of its cluster, did not come up; the message ends with the last lines of the log.

    Attributes:
        path: the directory.
        log: the last lines that the failing program wrote.
    """

    def __init__(self, path: Path, problem: str, log: str = "") -> None:
        self.path = path
        self.log = log
        super().__init__(f"embedded server in {path}: {problem}" + (f"\n{log}" if log else ""))


def socket_dsn(sockets: Path, database: str = DATABASE) -> str:
    """The address, for asyncpg and libpq, of a database of the server whose socket lies in the directory `sockets`."""
    return f"postgresql://{USER}@/{quote(database)}?host={quote(str(sockets))}&port={PORT}"


class Directory:
    """One embedded server's directory. Its methods block, on the file system only."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self.data = self.path / "data"
        self.log = self.path / "server.log"
        self.hba = self.path / "pg_hba.conf"
        self.ident = self.path / "pg_ident.conf"
        self.name = f"kathikon-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}"
        self.sockets = self._socket_directory()
        self.socket = self.sockets / f".s.PGSQL.{PORT}"
        self._lock: int | None = None
        self._identity: tuple[int, int] | None = None

    def _socket_directory(self) -> Path:
        """PATH/run, or where that cannot be a socket's address, a short directory whose name is a hash of PATH."""
        places = [self.path / "run", Path(tempfile.gettempdir()) / self.name]
        for place in places:
            # asyncpg splits a host at commas; PostgreSQL splits its directories at commas and reads quotes.
            if len(os.fsencode(place / f".s.PGSQL.{PORT}")) <= _LONGEST_SOCKET and not set(str(place)) & set(',"'):
                return place
        return Path("/tmp") / self.name  # noqa: S108  the directory itself is 0700 and its owner is checked

    def hold(self) -> None:
        """Make the directory and be its owner until `release`, or the end of this process. Twice is once.

        Raises:
            DirectoryInUse: another process, or another server of this process, owns it.
            BadConfiguration: it cannot be made or written to.
        """
        # Root's own stays passable: the server's user must reach what lies below.
        try:
            self.path.mkdir(mode=0o755 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from None
        if self._lock is not None:
            return
        status = self.path.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in _held:  # looked at first: closing any descriptor of the file ends this process' lock
            raise DirectoryInUse(self.path, os.getpid(), "this process has a server in it")
        try:
            lock = self._open("lock", os.O_RDWR)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            # Not flock: a child forked by the owner would keep that one after the owner's death.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, b"%d\n" % os.getpid(), 0)
        except (BlockingIOError, PermissionError):
            owner = os.pread(lock, 20, 0).strip()
            os.close(lock)
            pid = int(owner) if owner.isdigit() else None
            raise DirectoryInUse(self.path, pid, "which owns the server in it") from None
        _held.add(identity)
        self._lock, self._identity = lock, identity

    def _unusable(self, error: OSError) -> BadConfiguration:
        return BadConfiguration(f"the embedded store cannot use {self.path}: {error.strerror}; give another directory")

    @property
    def held(self) -> bool:
        """Whether this object owns the directory."""
        return self._lock is not None

    def release(self) -> None:
        """Stop owning the directory, if this does; remove the socket's directory where that lies outside."""
        if self._lock is None or self._identity is None:
            return
        if self.sockets.parent != self.path:
            shutil.rmtree(self.sockets, ignore_errors=True)
        _held.discard(self._identity)
        os.close(self._lock)
        self._lock = self._identity = None

    def major(self) -> int | None:
        """The major version that made the cluster, or None when there is no cluster."""
        try:
            return int((self.data / "PG_VERSION").read_text().split(".")[0])
        except FileNotFoundError:
            return None

    def user(self) -> ServerUser:
        """The user to run as."""
        cluster = self.data.stat().st_uid if self.data.exists() else None
        return ServerUser.choose(self.path.stat().st_uid, cluster)

    def open_log(self) -> int:
        """Open the log to append to; one that has grown large becomes `server.log.1` first."""
        with contextlib.suppress(FileNotFoundError):
            if self.log.stat().st_size > _LARGEST_LOG:
                self.log.replace(self.log.with_name("server.log.1"))
        return self._open(self.log.name, os.O_WRONLY | os.O_APPEND)

    def log_tail(self, start: int, lines: int = 20) -> str:
        """The last lines of the log after byte `start`."""
        with self.log.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(start, end - 65536))
            return "\n".join(log.read().decode(errors="replace").splitlines()[-lines:])

    def new_cluster(self, user: ServerUser) -> Path:
        """An empty directory to make the cluster in; what an interrupted attempt left is removed."""
        for left in self.path.glob("data.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)  # its initdb may still be dying; the next start tries again
        fresh = self.path / f"data.{os.getpid()}-{os.urandom(3).hex()}.tmp"
        fresh.mkdir(mode=0o700)
        _give(fresh, user)
        return fresh

    def adopt(self, fresh: Path) -> None:
        """Make the finished cluster `fresh` the directory's own: all of it or, after a crash, nothing."""
        fresh.rename(self.data)
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def prepare(self, user: ServerUser) -> None:
        """Bring owners, the socket's directory and the rules of who may connect to what `user` needs."""
        if os.geteuid() == 0 and self.data.stat().st_uid != user.uid:
            for parent, directories, files in os.walk(self.data):
                for name in (".", *directories, *files):
                    os.chown(Path(parent) / name, user.uid, user.gid, follow_symlinks=False)
        with contextlib.suppress(FileExistsError):
            self.sockets.mkdir(mode=0o700)
            _give(self.sockets, user)
        found = self.sockets.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (user.uid, os.geteuid()) or found.st_mode & 0o077:
            raise ServerFailed(
                self.path, f"{self.sockets}, where its socket belongs, is not a private directory of its own"
            )
        _give(self.sockets, user)
        # `trust` is safe where the 0700 directory of the socket admits only the server's own user and root.
        method = "peer map=owner" if user.may_connect else "trust"
        self._write(self.hba, f"local all all {method}\n")
        self._write(self.ident, "".join(f'owner "{name}" {USER}\n' for name in user.may_connect))

    def _write(self, path: Path, text: str) -> None:
        """Replace a file as a whole; never through a link that the directory's user may have put there."""
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        descriptor = self._open(fresh.name, os.O_WRONLY | os.O_EXCL, 0o644)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        fresh.replace(path)

    def _open(self, name: str, flags: int, mode: int = 0o600) -> int:
        """Open or create a file of the directory, as its owner's when root does it."""
        descriptor = os.open(self.path / name, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        if flags & os.O_EXCL:
            os.fchmod(descriptor, mode)  # whatever the umask: the server's user must read it
        if os.geteuid() == 0:
            owner = self.path.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor


def _give(path: Path, user: ServerUser) -> None:
    if os.geteuid() == 0:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
