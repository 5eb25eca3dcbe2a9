"""A system for one test, with the zygote that all tests of this folder share, and a diary."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from kathikon_actors import ActorSystem, open_actor_system
from kathikon_actors.processes.handle import Zygote
from tests.actors.cast import Diary
from tests.support.waiting import eventually

__all__ = ["Stage", "end_zygote", "open_stage", "shared_zygote"]

_shared: list[Zygote] = []


async def shared_zygote() -> Zygote:
    """Start it once; it outlives the tests' loops."""
    if not _shared:
        modules = ("kathikon_actors.actors.child", "cloudpickle", "tests.actors.cast")
        _shared.append(await Zygote.start((), modules=modules))
    return _shared[0]


def end_zygote() -> None:
    """Kill it at the end of the tests, and leave nothing of it."""
    for zygote in _shared:
        zygote.kill()
        zygote._process.wait()
        zygote._control.close()
    _shared.clear()


class Stage:
    """A system with a diary."""

    def __init__(self, system: ActorSystem) -> None:
        self.system = system

    @property
    def diary(self) -> Diary:
        cell: Any = self.system.registry.whereis("diary")
        actor = cell.actor
        assert isinstance(actor, Diary)
        return actor

    @property
    def lines(self) -> list[Any]:
        return self.diary.lines

    async def until(self, *lines: Any) -> None:
        """Wait until these are in the diary."""
        await eventually(lambda: all(line in self.lines for line in lines), f"{lines} in {self.lines}")

    async def settle(self, seconds: float = 0.03) -> None:
        """Give what must not come the time to come."""
        await trio.sleep(seconds)


@asynccontextmanager
async def open_stage(**options: Any) -> AsyncIterator[Stage]:
    """Open a system that forgives many deaths."""
    options = {"max_restarts": 10_000, **options}
    zygote = await shared_zygote()
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(zygote.serve)
        try:
            async with open_actor_system(zygote=zygote, **options) as system:
                await system.start(Diary, name="diary")
                yield Stage(system)
        except GeneratorExit:
            raise
        except BaseException as error:  # out of the nursery bare
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


Condition = Callable[[], object]
