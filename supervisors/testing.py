"""Tools for tests of programs that use supervisors: crash a child from outside, and wait for what follows.

Every wait has a deadline, and its failure shows the tree. With a virtual clock, a test of restart windows, delays and
shutdown times takes no real time and gives the same result on any machine, as long as no thread, process or socket is
involved (the clock would jump while they work):

    from trio.testing import MockClock

    async def main():
        async with open_supervisor([ChildSpec("cache", cache, backoff=Backoff(1.0, 60.0))]) as tree:
            crash(tree, "cache", OSError("gone"))
            await wait_state(tree, "cache", "restarting")
            await wait_restarted(tree, "cache", timeout=90.0)    # virtual seconds

    trio.run(main, clock=MockClock(autojump_threshold=0))

With pytest-trio the fixture `autojump_clock` is that clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import trio

from supervisors._child import Child
from supervisors._dynamic import ChildRef
from supervisors._errors import ChildNotFound, SupervisionError
from supervisors._events import Event
from supervisors._facade import AnySupervisor
from supervisors._life import Life
from supervisors._specs import key_of
from supervisors._tree import ChildState

__all__ = ["InjectedCrash", "WaitTimeout", "crash", "wait_event", "wait_restarted", "wait_state"]

Path = object
"""A child: its id, a list of ids that leads down to it through inner supervisors, or a ChildRef."""


class InjectedCrash(Exception):
    """The default exception of `crash`."""


class WaitTimeout(SupervisionError):
    """What a test waited for did not come in time; the message holds the tree as it was."""


def _find(supervisor: AnySupervisor[Any], path: Path) -> Child:
    if isinstance(path, ChildRef):
        return path._child  # noqa: SLF001
    steps: Sequence[object] = path if isinstance(path, list) else [path]
    if not steps:
        raise ChildNotFound(path)
    at: object = supervisor
    child: Child | None = None
    for step in steps:
        if isinstance(step, ChildRef):
            child = step._child  # noqa: SLF001
        elif isinstance(at, AnySupervisor):
            wanted = key_of(step)
            records = at._engine.children()  # noqa: SLF001
            child = next((one for one in records if key_of(one.spec.id) == wanted), None)
        else:
            child = None
        if child is None:
            raise ChildNotFound(path)
        at = child.info
    assert child is not None
    return child


def crash(supervisor: AnySupervisor[Any], path: Path, exception: BaseException | None = None) -> None:
    """Make a running child end as if it had raised `exception`, at its next checkpoint.

    The child is cancelled, so that its `finally` blocks run; its exit reason is `Crash(exception)`, or `reason` for
    an `Exit(reason)`. A child that is an inner supervisor stops its own children in order first.

    Args:
        supervisor: where to start looking.
        path: the child's id, a list of ids through inner supervisors (`["pool", 2]`), or a ChildRef.
        exception: default is an `InjectedCrash`.

    Raises:
        ChildNotFound: there is no such child, or it does not run now.

    Example:
        crash(tree, ["pool", 2], OSError("disk on fire"))
        await wait_restarted(tree, ["pool", 2])
    """
    life: Life | None = _find(supervisor, path).life
    if life is None or life.finished:
        raise ChildNotFound(path)
    life.inject(InjectedCrash() if exception is None else exception)


async def _wait_until(supervisor: AnySupervisor[Any], reached: Callable[[], bool], what: str, timeout: float) -> None:
    changed = trio.Event()

    def on_event(_: Event) -> None:
        changed.set()

    unsubscribe = supervisor.subscribe(on_event)
    try:
        with trio.move_on_after(timeout):
            while not reached():
                # Not every change of state is an event (a transient child's normal end is none): look again soon.
                with trio.move_on_after(0.01):
                    await changed.wait()
                changed = trio.Event()
            return
    finally:
        unsubscribe()
    raise WaitTimeout(f"{what} did not come within {timeout} s:\n{supervisor.format_tree()}")


async def wait_state(supervisor: AnySupervisor[Any], path: Path, state: ChildState, timeout: float = 5.0) -> None:
    """Return once the child is in `state`; a child that was forgotten counts as "stopped".

    Raises:
        WaitTimeout: it is not after `timeout` seconds.
    """

    def reached() -> bool:
        try:
            return _find(supervisor, path).state == state
        except ChildNotFound:
            return state == "stopped"

    await _wait_until(supervisor, reached, f"state {state!r} of child {path!r}", timeout)


async def wait_restarted(
    supervisor: AnySupervisor[Any], path: Path, restarts: int | None = None, timeout: float = 5.0
) -> None:
    """Return once the child runs again after a crash that was injected, or happened, just before.

    Args:
        supervisor: where to start looking.
        path: as for `crash`.
        restarts: how often it must have been restarted in all; None means: once more than now, or anew because a
            supervisor above it was restarted.
        timeout: seconds.

    Raises:
        WaitTimeout: it has not been after `timeout` seconds.
    """
    before = _find(supervisor, path)
    wanted = before.restarts + 1 if restarts is None else restarts

    def reached() -> bool:
        try:
            child = _find(supervisor, path)
        except ChildNotFound:
            return False
        anew = restarts is None and child is not before
        return child.state == "running" and (anew or child.restarts >= wanted)

    await _wait_until(supervisor, reached, f"restart {wanted} of child {path!r}", timeout)


async def wait_event(
    supervisor: AnySupervisor[Any], wanted: Callable[[Event], bool], timeout: float = math.inf
) -> Event:
    """Return the next event for which `wanted` says yes.

    Raises:
        WaitTimeout: none came within `timeout` seconds.
    """
    found: list[Event] = []
    seen = trio.Event()

    def on_event(event: Event) -> None:
        if not found and wanted(event):
            found.append(event)
            seen.set()

    unsubscribe = supervisor.subscribe(on_event)
    try:
        with trio.move_on_after(timeout):
            await seen.wait()
    finally:
        unsubscribe()
    if not found:
        raise WaitTimeout(f"no such event within {timeout} s:\n{supervisor.format_tree()}")
    return found[0]
