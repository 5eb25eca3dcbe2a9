"""How much memory a process holds, and whether the kernel killed for want of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["oom_kills", "rss_bytes"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


def rss_bytes(pid: int) -> int | None:
    """Give the resident memory of a process in bytes, `None` when it is gone or the platform does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:  # noqa: PTH123 a look-up per process and second
            return int(file.read(128).split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return None


def oom_kills() -> int:
    """Count the kills for want of memory in this process' own control group so far, 0 when nobody counts them."""
    try:
        group = Path("/proc/self/cgroup").read_text().split("::", 1)[1].split("\n", 1)[0]
        events = Path(f"/sys/fs/cgroup{group}/memory.events").read_text()
        return int(events.split("oom_kill ", 1)[1].split("\n", 1)[0])
    except (OSError, IndexError, ValueError):
        return 0
