"""Arm a named fault point for a while."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kathikon_actors.faults import POINTS, Fault, arm, disarm

__all__ = ["POINTS", "Fault", "fault"]


@contextmanager
def fault(
    point: str,
    *,
    raises: BaseException | type[BaseException] | None = None,
    kill: bool = False,
    delay: float = 0.0,
    times: float = math.inf,
    when: Callable[[dict[str, Any]], bool] | None = None,
) -> Iterator[Fault]:
    """Have something go wrong at a named point of the node while the block runs.

    Args:
        point: one of `POINTS`. Points named `worker...` strike in worker processes, the others in the node.
        raises: raise this there. `StoreUnavailable` at a store's point is a cut connection; any other exception ends
            the part of the node that it meets, which its supervisor then starts again.
        kill: SIGKILL the process that arrives there: for `worker...` the worker process, else the node itself, so
            only for a node in a process of its own. A job that runs in the node (`isolation="task"`, a test node) has
            no process to kill: its attempt fails and says so.
        delay: seconds to wait there first; for `worker...` real ones, in which nothing else in that process goes on.
        times: how often, in all processes together; default always.
        when: only if this is true of what the point tells, a dict: `POINTS` says what each one tells.

    Raises:
        UnknownFaultPoint: naming the nearest.
        ValueError: it would do nothing.

    Example:
        ```python
        with fault("store.after_commit", raises=StoreUnavailable("cut"), times=1) as cut:
            job = await node.insert(charge.new("INV-7"))    # the answer is lost; the node finds out
        assert cut.hits == 1
        ```
    """
    if raises is None and not kill and not delay:
        raise ValueError(f'fault("{point}") does nothing; give raises=, kill=True or delay=')
    if not delay >= 0 or not times >= 1:
        raise ValueError(f'fault("{point}"): delay is {delay!r} and times is {times!r}; give 0 or more, and 1 or more')
    one = Fault(point, raises=raises, kill=kill, delay=delay, times=times, when=when)
    arm(one)
    try:
        yield one
    finally:
        disarm(one)
