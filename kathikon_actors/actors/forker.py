"""Where an actor system gets its processes: a zygote of its own, started when first needed, or one it was given.

A forked process needs some milliseconds before its loop runs: the pages that it writes to are copied one by one. So
once a process was needed a spare one is kept, which waits for its orders; whoever takes it has another one forked.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import trio

from kathikon_actors.processes.handle import ProgramProcess, Zygote, ZygoteDied

__all__ = ["Forker"]

ENTRY = "kathikon_actors.actors.child:run"
WORDS = 8
_PRELOADED = ("kathikon_actors.actors.child", "cloudpickle")


class Forker:
    """Forks processes for actors.

    Args:
        nursery: reads what the zygote tells.
        zygote: one to use that somebody else started, and serves and closes.
        preload: modules to import before forking.
        spares: how many processes are kept that wait for their orders.
    """

    def __init__(self, nursery: trio.Nursery, zygote: Zygote | None, preload: Sequence[str], spares: int) -> None:
        self._nursery = nursery
        self._zygote = zygote
        self._preload = tuple(preload)
        self._wanted = spares
        self._spares: list[ProgramProcess] = []
        self._taken: trio.Event | None = None
        self._lock = trio.Lock()

    async def fork(self, title: str, module: str) -> ProgramProcess:
        """Give a process that waits for its orders.

        Args:
            title: of what it will be, for errors.
            module: of what it will run; imported beforehand if the zygote is yet to be started.

        Raises:
            ZygoteFailed: the zygote cannot start, a module cannot be imported.
            ZygoteDied: the zygote died at this very moment.
            OSError: the system cannot start another process.
        """
        if self._zygote is None:
            async with self._lock:
                if self._zygote is None:
                    await self._start(module)
        zygote = self._zygote
        assert zygote is not None
        spare = self._take_spare(zygote)
        return spare or await zygote.fork_program(ENTRY, title, WORDS)

    def _take_spare(self, zygote: Zygote) -> ProgramProcess | None:
        found = None
        while self._spares and found is None:
            spare = self._spares.pop(0)
            if spare.exit is None:
                found = spare
            else:
                spare.close()
        if self._taken is not None:
            self._taken.set()
        elif self._wanted:
            self._taken = trio.Event()
            self._taken.set()
            self._nursery.start_soon(self._keep_spares, zygote, name="actors' spare processes")
        return found

    async def _keep_spares(self, zygote: Zygote) -> None:
        try:
            while True:
                assert self._taken is not None
                await self._taken.wait()
                self._taken = trio.Event()
                while len(self._spares) < self._wanted:
                    self._spares.append(await zygote.fork_program(ENTRY, "actor", WORDS))
        except (ZygoteDied, OSError):
            pass  # whoever needs a process has the same trouble, and tells
        finally:
            self._taken = None
            for spare in self._spares:
                spare.close()
            self._spares.clear()

    async def _start(self, module: str) -> None:
        modules = dict.fromkeys((*_PRELOADED, *self._preload))
        if module != "__main__" and getattr(sys.modules.get(module), "__spec__", None) is not None:
            modules[module] = None
        zygote = await Zygote.start((), modules=tuple(modules))
        self._zygote = zygote
        self._nursery.start_soon(self._serve, zygote, name="actors' zygote")

    async def _serve(self, zygote: Zygote) -> None:
        try:
            await zygote.serve()
        except ZygoteDied:
            pass  # each process is gone with it, and says so by itself; the next start makes another zygote
        finally:
            if self._zygote is zygote:
                self._zygote = None
            await zygote.aclose()
