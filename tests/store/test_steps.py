"""An asyncio coroutine that runs in the steps of a trio task ends as it would in a task of asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import trio
import trio.testing
import trio_asyncio  # type: ignore[import-untyped]

from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.steps import in_steps


@pytest.fixture(autouse=True)
async def loop() -> AsyncIterator[asyncio.AbstractEventLoop]:
    async with open_loop():
        running: asyncio.AbstractEventLoop = trio_asyncio.current_loop.get()
        yield running


async def test_it_gives_what_the_coroutine_returns(loop: asyncio.AbstractEventLoop) -> None:
    """Also when it waits several times, for what is done, for what comes later, and for nothing but its turn."""

    async def work() -> list[int]:
        done, later = loop.create_future(), loop.create_future()
        done.set_result(1)
        loop.call_later(0.001, later.set_result, 2)
        found = [await done, await later]
        await asyncio.sleep(0)
        return found

    assert await in_steps(work()) == [1, 2]


async def test_what_a_future_raises_is_raised_in_the_coroutine(loop: asyncio.AbstractEventLoop) -> None:
    """It may handle it; what it raises itself reaches the caller."""

    async def work() -> None:
        future = loop.create_future()
        loop.call_soon(future.set_exception, ValueError("one"))
        try:
            await future
        except ValueError as error:
            raise KeyError("two") from error

    with pytest.raises(KeyError, match="two") as caught:
        await in_steps(work())
    assert str(caught.value.__cause__) == "one"


async def test_a_cancelled_caller_waits_until_the_coroutine_has_cleaned_up(loop: asyncio.AbstractEventLoop) -> None:
    """The coroutine is told once; what it awaits after that is awaited to its end."""
    events: list[str] = []

    async def work() -> None:
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            events.append("told")
            later = loop.create_future()
            loop.call_later(0.001, later.set_result, None)
            await later
            events.append("clean")
            raise

    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_steps, work())
            await trio.testing.wait_all_tasks_blocked()
            assert events == []
            scope.cancel()
    assert scope.cancelled_caught
    assert events == ["told", "clean"]


async def test_a_coroutine_that_ends_all_the_same_gives_its_value(loop: asyncio.AbstractEventLoop) -> None:
    """The answer was there already, or it does not mind; the caller's cancellation strikes at its next wait."""

    async def work() -> str:
        with suppress(asyncio.CancelledError):
            await loop.create_future()
        return "done"

    with trio.CancelScope() as scope:
        scope.cancel()
        assert await in_steps(work()) == "done"
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught


async def test_a_future_that_was_cancelled_by_another_is_no_cancellation_of_the_caller(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """The error of asyncio reaches the caller unchanged."""

    async def work() -> None:
        future = loop.create_future()
        loop.call_soon(future.cancel)
        await future

    with pytest.raises(asyncio.CancelledError):
        await in_steps(work())
