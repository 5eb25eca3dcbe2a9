"""Where an actor system gets its processes: a zygote of its own, started when first needed, or one it was given."""

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
    """

    def __init__(self, nursery: trio.Nursery, zygote: Zygote | None, preload: Sequence[str]) -> None:
        self._nursery = nursery
        self._zygote = zygote
        self._preload = tuple(preload)
        self._lock = trio.Lock()

    async def fork(self, title: str, module: str) -> ProgramProcess:
        """Start a process.

        Args:
            title: shown by `ps`.
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
        return await zygote.fork_program(ENTRY, title, WORDS)

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
