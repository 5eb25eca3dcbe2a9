"""Whether the store is open or cut off, and who waits for it."""

from __future__ import annotations

import trio

__all__ = ["Link"]


class Link:
    """The state of the connection to the store. The `database` child opens it; whoever meets a cut reports it here."""

    def __init__(self) -> None:
        self._open = trio.Event()
        self._cut = trio.Event()
        self._closed = False
        self.cuts = 0

    @property
    def is_open(self) -> bool:
        """Whether the store was open when somebody last looked."""
        return self._open.is_set()

    def opened(self) -> None:
        """The store is open (again)."""
        self._cut = trio.Event()
        self._closed = False
        self._open.set()

    def closed(self) -> None:
        """Nobody is there to open the store again, until `opened`."""
        self._closed = True
        self.report_cut()

    def report_cut(self) -> None:
        """The store did not answer."""
        if self._open.is_set():
            self._open = trio.Event()
            self.cuts += 1
        self._cut.set()

    @property
    def is_closed(self) -> bool:
        """Whether nobody is there to open the store."""
        return self._closed

    async def wait_cut(self) -> None:
        """Wait until somebody reports a cut."""
        await self._cut.wait()

    async def reopened(self) -> None:
        """Report a cut and wait until the store is open again."""
        self.report_cut()
        await self._open.wait()
