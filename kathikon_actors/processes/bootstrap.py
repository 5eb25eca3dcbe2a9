"""The script that a zygote, and a spawned worker, begins as: it takes over the node's `sys.path`, then hands on.

Run by path, so that nothing in the working directory can stand in for a module before `sys.path` is set.
"""

from __future__ import annotations

import marshal
import os
import sys

__all__ = ["main"]


def main(role: str, hello: int, *rest: str) -> None:
    """Become a zygote or a worker.

    Args:
        role: `zygote` or `worker`.
        hello: descriptor of a file with the marshalled `(sys.path, Hello as msgpack)`.
        *rest: what the role needs.
    """
    path, raw = marshal.loads(os.pread(hello, os.fstat(hello).st_size, 0))  # noqa: S302 the node's own bytes
    sys.path[:] = path
    del sys.argv[1:]
    from kathikon_actors.processes.start import start

    start(role, raw, hello, *rest)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
