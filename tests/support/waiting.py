"""Wait for a state with a deadline, never for a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import outcome
import trio

__all__ = ["eventually", "eventually_sync", "lines_of", "run_within"]

DEADLINE = 20.0


async def eventually(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Poll until `condition` (plain or async) is true."""
    with trio.move_on_after(deadline):
        while True:
            result = condition()
            if isinstance(result, Awaitable):
                result = await result
            if result:
                return
            await trio.sleep(0.005)
    raise AssertionError(f"not within {deadline:g} s: {what}")


def eventually_sync(condition: Callable[[], object], what: str, deadline: float = DEADLINE) -> None:
    """Poll until `condition` is true, without trio."""
    end = time.monotonic() + deadline
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline:g} s: {what}")
        time.sleep(0.005)


def run_within(seconds: float, function: Callable[..., Awaitable[object]], *args: object) -> None:
    """Run a trio program that may hang out of reach of every cancellation: then this fails, and leaves its thread."""
    ends: list[outcome.Outcome[object]] = []
    thread = threading.Thread(target=lambda: ends.append(outcome.capture(trio.run, function, *args)), daemon=True)
    thread.start()
    thread.join(seconds)
    if not ends:
        raise AssertionError(f"it hangs: not over within {seconds:g} s")
    ends[0].unwrap()


def lines_of(path: Path) -> list[str]:
    """Give the whole lines of a file that may not exist yet."""
    if not path.exists():
        return []
    text = path.read_text()
    return text[: text.rfind("\n") + 1].splitlines()
