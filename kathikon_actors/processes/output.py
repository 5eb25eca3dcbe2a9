"""What jobs print, on its way from their processes to the node's standard error: whole lines, and not too many.

Each worker process has a pipe as its standard output and standard error. Its reader takes everything at once, so that
no job waits for a log that nobody reads, and lets pass what the allowances say. The rest is counted, not kept: a job
that prints a gigabyte fills neither a disk nor anybody's memory.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

__all__ = ["Allowance", "Output", "Printer"]

BURST = 2**20
"""Bytes that one process may print at once."""

PER_SECOND = 2**16
"""Bytes a second that one process may print from then on."""

ALL_BURST = 2**23
"""Bytes that all of them may print at once."""

ALL_PER_SECOND = 2**20
"""Bytes a second that all of them may print from then on."""

LONGEST_LINE = 8192
"""Bytes that are held back until their line is whole."""

NOTICE_EVERY = 10.0
"""Seconds between two notices of what was left out, for one process."""

MAX_PENDING = 2**20
"""Bytes that wait until standard error takes them."""

_READ = 2**16
_WRITE = 4096  # what a pipe that can be written to takes without blocking
_LAST_WORDS = 0.5


class Allowance:
    """A number of bytes that grows with time up to a limit.

    Args:
        burst: the limit, in bytes.
        per_second: growth, in bytes.
        now: monotonic seconds.
    """

    __slots__ = ("_at", "_burst", "_per_second", "left")

    def __init__(self, burst: float, per_second: float, now: float) -> None:
        self.left = burst
        self._burst = burst
        self._per_second = per_second
        self._at = now

    def refill(self, now: float) -> None:
        """Let it grow."""
        self.left = min(self._burst, self.left + (now - self._at) * self._per_second)
        self._at = now


class Printer:
    """One process that prints. Pure: bytes in, bytes out.

    Args:
        name: for people.
        everybody: the allowance of all processes together.
        now: monotonic seconds.
    """

    __slots__ = ("_everybody", "_left_out", "_noticed_at", "_own", "_partial", "name")

    def __init__(self, name: str, everybody: Allowance, now: float) -> None:
        self.name = name
        self._everybody = everybody
        self._own = Allowance(BURST, PER_SECOND, now)
        self._partial = b""
        self._left_out = 0
        self._noticed_at = now - NOTICE_EVERY

    def feed(self, data: bytes, now: float) -> bytes:
        """Take what was printed; give what passes: whole lines, or pieces of very long ones."""
        data = self._partial + data
        end = data.rfind(b"\n") + 1
        if len(data) - end > LONGEST_LINE:
            end = len(data)
        self._partial = data[end:]
        return self._pass(data[:end], now)

    def close(self, now: float) -> bytes:
        """It prints no more; give the rest."""
        rest, self._partial = self._partial, b""
        passed = self._pass(rest + b"\n" if rest else b"", now)
        return passed + self._notice(now)

    def _pass(self, data: bytes, now: float) -> bytes:
        own, everybody = self._own, self._everybody
        own.refill(now)
        everybody.refill(now)
        allowed = int(min(own.left, everybody.left))
        passed = data
        if len(data) > allowed:
            passed = data[: data.rfind(b"\n", 0, allowed) + 1]
            self._left_out += len(data) - len(passed)
        own.left -= len(passed)
        everybody.left -= len(passed)
        if self._left_out and now - self._noticed_at >= NOTICE_EVERY:
            passed += self._notice(now)
        return passed

    def _notice(self, now: float) -> bytes:
        if not self._left_out:
            return b""
        left_out, self._left_out = self._left_out, 0
        self._noticed_at = now
        return (
            f"{self.name}: {left_out} bytes of what it printed are left out "
            f"({BURST // 1024} KB at once and {PER_SECOND // 1024} KB a second may pass)\n"
        ).encode()


class Output:
    """Reads what worker processes print and writes what passes, without ever waiting for either.

    Args:
        poll: of the one who serves it; it hands events of descriptors in `self` to `act`.
        to: the descriptor that is written to.

    Attributes:
        to: likewise.
    """

    def __init__(self, poll: select.poll, to: int = 2) -> None:
        self._poll = poll
        self.to = to
        self._printers: dict[int, Printer] = {}
        self._everybody = Allowance(ALL_BURST, ALL_PER_SECOND, time.monotonic())
        self._pending = bytearray()

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._printers or (descriptor == self.to and bool(self._pending))

    def open(self, name: str) -> tuple[int, int]:
        """Make a pipe; give the end to read, which is served from now on, and the one to print to."""
        to_read, to_print = os.pipe()
        os.set_blocking(to_read, False)
        self._printers[to_read] = Printer(name, self._everybody, time.monotonic())
        self._poll.register(to_read, select.POLLIN)
        return to_read, to_print

    def name(self, descriptor: int, name: str) -> None:
        """Say who prints there, for people."""
        self._printers[descriptor].name = name

    def act(self, descriptor: int, events: int) -> None:
        """Serve a descriptor that the poll found ready."""
        if descriptor == self.to:
            self._write(events)
        elif descriptor in self._printers:
            self._read(descriptor)

    def forget(self, descriptor: int) -> None:
        """Close the end to read of a process that was never started."""
        del self._printers[descriptor]
        self._poll.unregister(descriptor)
        os.close(descriptor)

    def close_in_child(self) -> None:
        """Close what a forked process must not hold."""
        for descriptor in self._printers:
            os.close(descriptor)
        self._printers.clear()

    def finish(self) -> None:
        """Nobody prints any more, but for what jobs left behind: pass the rest on, and wait half a second at the most.

        What can be written at once is, however late it is: a machine may have been busy with others meanwhile.
        """
        end = time.monotonic() + _LAST_WORDS
        for descriptor in list(self._printers):
            while descriptor in self._printers and self._read(descriptor) and time.monotonic() < end:
                pass
            if descriptor in self._printers:
                self._close(descriptor)
        while self._pending:
            left = max(0.0, end - time.monotonic())
            events = dict(self._poll.poll(left * 1000)).get(self.to)
            if events is not None:
                self._write(events)
            elif not left:
                break

    def _read(self, descriptor: int) -> bool:
        """Take what is there; tell whether there was something."""
        try:
            data = os.read(descriptor, _READ)
        except BlockingIOError:
            return False
        if not data:
            self._close(descriptor)
            return False
        self._put(self._printers[descriptor].feed(data, time.monotonic()))
        return True

    def _close(self, descriptor: int) -> None:
        self._put(self._printers[descriptor].close(time.monotonic()))
        self.forget(descriptor)

    def _put(self, data: bytes) -> None:
        if data and len(self._pending) + len(data) <= MAX_PENDING + LONGEST_LINE:
            if not self._pending:
                with suppress(OSError):
                    self._poll.register(self.to, select.POLLOUT)
            self._pending += data

    def _write(self, events: int) -> None:
        try:
            if events & (select.POLLNVAL | select.POLLERR | select.POLLHUP):
                raise BrokenPipeError
            sent = os.write(self.to, self._pending[:_WRITE])
        except OSError:  # nobody reads it: what jobs print is of no interest
            sent = len(self._pending)
        del self._pending[:sent]
        if not self._pending:
            self._poll.unregister(self.to)
