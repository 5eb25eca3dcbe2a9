"""The page that the node and one worker process share: a few machine words, written by one side each.

It answers three questions without a message, even when the worker is deep in a C call or dead: which run is being
executed since when, may this run still start, and which of the last runs have ended though nobody was told yet.

**Taking back a run that has not started.** The worker stores `running = seq`, then loads `revoked_from`, and does not
run when `seq >= revoked_from`. The node stores `revoked_from`, waits at least `SETTLE` seconds, then loads `running`.
Each store is one aligned word, so nobody sees half of it. Suppose the worker ran a revoked run: then its load of
`revoked_from` came before the node's store could be seen, so its store of `running`, earlier in its program order, was
issued before that too. A processor may hold a store back from others only for the depth of its store buffer, far
below a microsecond, and a context switch drains it; a millisecond later the node sees it. So a run that the node does
not see as running then never starts. A run that it sees may have been refused all the same: the worker then reports
it as `returned`.
"""

from __future__ import annotations

import mmap
import os
import tempfile

from kathikon_actors.processes.messages import Why

__all__ = ["SETTLE", "SharedPage", "create_shared_file"]

SETTLE = 0.001
"""Seconds between `revoke_from` and a look at `running` that may be trusted."""

NEVER = 2**64 - 1
"""The value of `revoked_from` when nothing is revoked."""

REVOKED_FROM = 0
"""Word written by the node: runs from this `seq` on must not start."""

INTERRUPT = 1
"""Word written by the node: `seq * 4 + why` of the run that should stop; 0: none."""

TERMINATE = 2
"""Word written by the node before it sends SIGTERM; a SIGTERM without it came from elsewhere and is not obeyed."""

ENDED = 8
"""First of the words in which the worker notes runs that ended: `seq * 2 + 1` when it completed without a result, whose
report says nothing more, else `seq * 2`. A run has the word `ENDED + seq % LAST_RUNS`."""

LAST_RUNS = 256
"""How many of the last runs are told apart."""

_FIRST_SLOT = ENDED + LAST_RUNS
_WORD = 8

_WHY: tuple[Why | None, ...] = (None, "timeout", "cancel", None)


def _size(slots: int) -> int:
    return (_FIRST_SLOT + 2 * slots) * _WORD


def create_shared_file(slots: int) -> int:
    """Make the page's file in memory, with nothing revoked; give its descriptor.

    Args:
        slots: how many runs the process executes at once.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("kathikon-worker", os.MFD_CLOEXEC)
    else:
        descriptor, path = tempfile.mkstemp(prefix="kathikon-worker-")
        os.unlink(path)  # noqa: PTH108 the descriptor is all that is needed of it
    try:
        os.ftruncate(descriptor, _size(slots))
        os.pwrite(descriptor, NEVER.to_bytes(_WORD, "little"), REVOKED_FROM * _WORD)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class SharedPage:
    """One side's view of the page. The worker writes the slots, the node everything else.

    Attributes:
        words: the page itself, for the worker's hot path.
        slots: how many runs the process executes at once.
    """

    def __init__(self, descriptor: int, slots: int) -> None:
        self.slots = slots
        self._map = mmap.mmap(descriptor, _size(slots))
        self._bytes = memoryview(self._map)
        self.words = self._bytes.cast("Q")

    @staticmethod
    def slot(index: int) -> int:
        """Give the index of a slot's first word (`seq`, 0 when idle); its start in ns follows."""
        return _FIRST_SLOT + 2 * index

    def running(self) -> list[tuple[int, int]]:
        """Give `(seq, started)` of what is being executed; `started` in ns of the system's monotonic clock."""
        words = self.words
        slots = range(_FIRST_SLOT, _FIRST_SLOT + 2 * self.slots, 2)
        return [(seq, words[at + 1]) for at in slots if (seq := words[at])]

    def note_end(self, seq: int, *, says_nothing: bool) -> None:
        """Note that a run has ended; its report may be lost with the process."""
        self.words[ENDED + seq % LAST_RUNS] = seq * 2 + says_nothing

    def ended(self) -> dict[int, bool]:
        """Give the last runs that ended, and whether each completed without a result."""
        return {word >> 1: bool(word & 1) for word in self.words[ENDED:_FIRST_SLOT] if word}

    def revoke_from(self, seq: int) -> None:
        """Forbid the start of every run from `seq` on."""
        self.words[REVOKED_FROM] = seq

    def unrevoke(self) -> None:
        """Allow all runs again."""
        self.words[REVOKED_FROM] = NEVER

    def interrupt(self, seq: int, why: Why) -> None:
        """Name the run that should stop."""
        self.words[INTERRUPT] = seq * 4 + _WHY.index(why)

    def interrupted(self) -> tuple[int, Why | None]:
        """Give the run that should stop and why; `(0, None)` for none."""
        word = self.words[INTERRUPT]
        return word >> 2, _WHY[word & 3]

    def terminate(self) -> None:
        """Let the next SIGTERM end the process."""
        self.words[TERMINATE] = 1

    def close(self) -> None:
        """Unmap the page."""
        self.words.release()
        self._bytes.release()
        self._map.close()
