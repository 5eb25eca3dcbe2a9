"""Where the control sockets of this user's nodes lie: for nodes, which make them, and for the command line.

One directory for each user, 0700 and theirs, so that nobody else gets at the sockets in it. A socket's name is made of
the store and the node, both hashed: addresses of Unix sockets are short, and the store's may be long.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["UnsafeDirectory", "control_directory", "make_control_directory", "socket_name", "sockets_of"]


class UnsafeDirectory(OSError):
    """The directory for control sockets is not this user's own, or others may enter it."""


def control_directory() -> Path:
    """Give the directory, whether it is there or not: `$KATHIKON_RUNTIME_DIR`, else the usual place of the system."""
    given = os.environ.get("KATHIKON_RUNTIME_DIR")
    if given:
        return Path(given)
    run = os.environ.get("XDG_RUNTIME_DIR")
    if run:
        return Path(run) / "kathikon"
    return Path(tempfile.gettempdir()) / f"kathikon-{os.geteuid()}"


def make_control_directory() -> Path:
    """Give the directory, made if it was not there.

    Raises:
        UnsafeDirectory: somebody else could put a socket there, or reach one.
        OSError: it cannot be made.
    """
    place = control_directory()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UnsafeDirectory(f"{place} is not a directory of user {os.geteuid()}; set KATHIKON_RUNTIME_DIR to one")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UnsafeDirectory(
            f"{place} may be entered by others (its mode is {stat.S_IMODE(found.st_mode):o}); chmod 700"
        )
    return place


def socket_name(url: StoreUrl, node: str) -> str:
    """Give the file name of a node's socket."""
    if url.kind == "memory":
        node = f"{node} in process {os.getpid()}"  # each process has a store of its own, and may use any name
    return f"{_hash(_store(url))}-{_hash(node)}.sock"


def sockets_of(url: StoreUrl, node: str | None = None) -> list[Path]:
    """Give the sockets of the nodes on a store, or of one of them; some may be of nodes that died."""
    pattern = f"{_hash(_store(url))}-{'*' if node is None else _hash(node)}.sock"
    return sorted(control_directory().glob(pattern))


def _store(url: StoreUrl) -> str:
    if url.path is not None:
        return f"embedded:{url.path.absolute().resolve()}"
    return f"{url.kind}:{url.where}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
