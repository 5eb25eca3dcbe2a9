"""Who calls `on_discard`: what a call that cannot be made does, and who is there for what comes late."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
import trio
import trio.testing

from kathikon_actors.node.mourning import IDLE, LANES, Wake
from kathikon_actors.processes.frames import BadFrame, FrameTooLarge
from kathikon_actors.processes.handle import Zygote
from kathikon_actors.processes.messages import Mourn, Report
from kathikon_actors.store.table import Table
from tests.support.records import new_record


class Process:
    """Calls `on_discard` at once, unless it is to fail."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.asked: list[Mourn] = []

    def send(self, messages: list[Mourn]) -> None:
        self.place.calls += 1
        self.place.fail("send")
        self.asked += messages

    async def receive(self) -> list[Report]:
        await trio.lowlevel.checkpoint()
        self.place.fail("receive")
        return [Report(self.asked.pop().seq, "completed", 0.0)]

    async def stop(self, _grace: float) -> None:
        self.place.stopping += 1
        await self.place.stopped.wait()

    def kill(self) -> None:
        raise AssertionError("it did not time out")

    def close(self) -> None:
        self.place.closed += 1


class Place:
    """Where processes are forked."""

    def __init__(self, error: Exception | None = None, at: str = "") -> None:
        self.error = error
        self.at = at
        self.calls = self.closed = self.stopping = 0
        self.stopped = trio.Event()

    def fail(self, at: str) -> None:
        if self.error is not None and at == self.at:
            raise self.error

    async def fork(self, *_args: object) -> Process:
        await trio.lowlevel.checkpoint()
        return Process(self)


async def mourn(place: Place, do: Callable[[Wake], Awaitable[Any]]) -> None:
    wake = Wake(lambda _worker: "plain", Table())
    async with trio.open_nursery() as nursery:
        await nursery.start(wake.run, lambda: cast("Zygote", place))
        await do(wake)
        nursery.cancel_scope.cancel()


def take(wake: Wake) -> None:
    wake.take(new_record(), new_record())


@pytest.mark.parametrize(
    ("error", "at"),
    [
        (FrameTooLarge(70, 64, "a message"), "send"),
        (BufferError("it does not read"), "send"),
        (BadFrame("it wrote into the socket"), "receive"),
        (RuntimeError("nobody thought of it"), "receive"),
    ],
)
async def test_a_call_that_breaks_is_not_made_again_and_breaks_nothing_else(
    autojump_clock: object, error: Exception, at: str
) -> None:
    """The job ends without it, its process is killed unless nothing was sent to it, and the next one is called."""
    place = Place(error, at)
    place.stopped.set()

    async def work(wake: Wake) -> None:
        take(wake)
        await trio.testing.wait_all_tasks_blocked()
        assert (len(wake), place.calls) == (0, 1)
        assert place.closed == (0 if isinstance(error, FrameTooLarge) else 1)
        place.error = None
        take(wake)
        await trio.testing.wait_all_tasks_blocked()
        assert (len(wake), place.calls) == (0, 2)

    await mourn(place, work)


async def test_what_comes_while_idle_processes_stop_is_called_when_they_have(autojump_clock: object) -> None:
    """There was no place for a process of its own until then, and nothing else came that would have been noticed."""
    place = Place()

    async def work(wake: Wake) -> None:
        for _ in range(LANES):
            take(wake)
        await trio.sleep(IDLE + 1)
        assert (len(wake), place.stopping) == (0, LANES)
        take(wake)
        await trio.testing.wait_all_tasks_blocked()
        assert len(wake) == 1
        place.stopped.set()
        await trio.testing.wait_all_tasks_blocked()
        assert len(wake) == 0

    await mourn(place, work)
