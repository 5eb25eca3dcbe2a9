"""What only Linux offers and the platform-neutral fallback of each: death signals, names, out-of-memory order."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["die_with_parent", "prefer_for_oom_kill", "set_process_name", "thread_count"]

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_LINUX = sys.platform.startswith("linux")


def _prctl(option: int, value: int | bytes) -> None:
    if _LINUX:
        argument = ctypes.c_ulong(value) if isinstance(value, int) else ctypes.c_char_p(value)
        ctypes.CDLL(None).prctl(option, argument, ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))


def die_with_parent(signal_number: int, parent: int) -> bool:
    """Have the kernel send `signal_number` when the thread that started this process ends.

    Args:
        signal_number: SIGKILL for what must not survive.
        parent: the process id that the parent should have.

    Returns:
        False when the parent is gone already: the signal will never come.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    return os.getppid() == parent


def set_process_name(name: str) -> None:
    """Set what `ps -o comm` and `top` show, 15 bytes of it."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def prefer_for_oom_kill() -> None:
    """Have the kernel choose this process before the node when memory runs out; its job is retried."""
    with suppress(OSError, ValueError):
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(1000, int(score.read_text()) + 300)))


def thread_count() -> int:
    """Count the threads of this process, also those that Python did not start."""
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208 a count of names
    except OSError:
        import threading

        return threading.active_count()
