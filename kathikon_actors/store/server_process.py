"""The process of an embedded server: which user it runs as, and whether the one a cluster names still runs."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PostmasterFile", "ServerUser", "orphans"]

_NOBODY = 65534


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user a server runs as: never root.

    Attributes:
        may_connect: names of the local users that may connect, checked by the kernel (`peer`); empty when the 0700
            directory of the socket already leaves only the right ones.
    """

    uid: int
    gid: int
    may_connect: tuple[str, ...]

    @classmethod
    def choose(cls, owner: int, cluster: int | None) -> ServerUser:
        """Choose for a directory of user `owner`, whose cluster belongs to user `cluster` (None: there is no cluster).

        An ordinary user is itself. Root drops to the cluster's user, else to the directory's, else to nobody.
        """
        if os.geteuid() != 0:
            return cls(os.geteuid(), os.getegid(), ())
        # initdb refuses a user without a name.
        uid = cluster or (owner if owner and _name(owner) else _NOBODY)
        try:
            gid = pwd.getpwuid(uid).pw_gid
        except KeyError:
            gid = uid
        root = _name(0)
        if root is None:
            return cls(uid, gid, ())
        # Anything may run as nobody; only root, and the user whose directory it is, get in.
        name = _name(owner) if uid == owner else None
        return cls(uid, gid, (root,) if name is None else (root, name))


@dataclass(frozen=True, slots=True)
class PostmasterFile:
    """What a server wrote about itself into the `postmaster.pid` of its cluster.

    Attributes:
        sockets: the directory of its socket, or None when it did not get as far.
        status: `starting`, `ready`, `stopping` ...
    """

    pid: int
    sockets: Path | None
    status: str

    @classmethod
    def read(cls, data: Path) -> PostmasterFile | None:
        """The file of the cluster in `data`, or None when there is none, or none that can be read."""
        try:
            lines = [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return None
        lines += [""] * (8 - len(lines))
        return cls(pid, Path(lines[4]) if lines[4] else None, lines[7])

    def pid_exists(self) -> bool:
        """Whether any process has this pid."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # another user's, so it is there
        return True

    def is_alive(self, data: Path) -> bool:
        """Whether the process still runs and is the server of `data`, not another one that was given the same pid."""
        if not self.pid_exists():
            return False
        arguments = _arguments(self.pid)
        return b"postgres" in arguments and os.fsencode(data) in arguments


def orphans(name: str, uid: int) -> list[int]:
    """The pids of user `uid`'s server processes whose `cluster_name` is `name`, but for the postmaster.

    A session that computes without a pause does not notice that its postmaster died, and holds the shared memory.
    """
    title = f"postgres: {name}: ".encode()
    return [pid for pid in _processes_of(uid) if _arguments(pid).startswith(title)]


def _processes_of(uid: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/status"):
        try:
            status = entry.read_text()
        except OSError:
            continue  # it has just ended
        if f"\nUid:\t{uid}\t" in status:
            found.append(int(entry.parent.name))
    return found or [int(pid) for pid in _ps("-U", str(uid), "-o", "pid=").split()]


def _name(uid: int) -> str | None:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _arguments(pid: int) -> bytes:
    """The command line of a process; empty when it has ended (a zombie has none)."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""
    return _ps("-p", str(pid), "-o", "args=")


def _ps(*arguments: str) -> bytes:
    """What ps prints: for systems without /proc."""
    try:
        return subprocess.run(  # noqa: S603
            ["/bin/ps", "-ww", *arguments], capture_output=True, check=False, stdin=subprocess.DEVNULL
        ).stdout
    except OSError:
        return b""
