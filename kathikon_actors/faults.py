"""Named fault points: places in the code where a test may raise, wait, or kill the process. Off, they cost one look.

The code asks `if faults.armed:` and only then names its point, so a program that injects nothing pays nothing. What
is armed here is armed for this process; points of worker processes travel with the run that they are meant for (see
`order`), so that one count holds for all of them. Users arm a point with `kathikon_actors.testing.fault`.
"""

from __future__ import annotations

import difflib
import math
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = [
    "POINTS",
    "WORKER_POINTS",
    "Fault",
    "UnknownFaultPoint",
    "about",
    "arm",
    "armed",
    "disarm",
    "order",
    "reach",
    "strike",
    "touch",
]

POINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "store.before_commit": "a batch of the journal is about to be committed (lane, rows)",
        "store.after_commit": "a batch is committed and nobody was told yet (lane, rows)",
        "store.before_claim": "unowned rows are about to be claimed (queue)",
        "store.after_claim": "rows were claimed and are not in memory yet (queue, rows)",
        "membership.before_renew": "the lease is about to be renewed (node)",
        "producer.after_pop": "a job left the heap and was given to no process yet (queue, worker, job_id)",
        "scheduler.before_due": "a job that was due later becomes available (queue, worker, job_id)",
        "worker.before_perform": "in the worker process, before the job's code (queue, worker, job_id)",
        "worker.before_result": "in the worker process, after the job's code, before its report (the same)",
    }
)
"""Every point, with what stands there and, in parentheses, what `when` is given."""

WORKER_POINTS: Final = frozenset(name for name in POINTS if name.startswith("worker."))

armed: bool = False
"""Whether any fault is armed in this process: the one thing that the code looks at."""

_faults: dict[str, list[Fault]] = {}


class UnknownFaultPoint(ValueError):
    """There is no fault point of that name; the message names the nearest.

    Attributes:
        point: the name that was given.
    """

    def __init__(self, point: str) -> None:
        near = difflib.get_close_matches(point, POINTS, n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        super().__init__(f'no fault point "{point}" (known: {", ".join(POINTS)}).{hint}')
        self.point = point


@dataclass(eq=False)
class Fault:
    """One armed fault.

    Attributes:
        point: where.
        raises: what is raised there: an exception, or a class of one.
        kill: SIGKILL the process that arrives there.
        delay: seconds to wait there first.
        times: how often it strikes; after that it lets pass.
        when: strikes only if this is true of what the point tells (a dict).
        hits: how often it has struck.
    """

    point: str
    raises: BaseException | type[BaseException] | None = None
    kill: bool = False
    delay: float = 0.0
    times: float = math.inf
    when: Callable[[dict[str, Any]], bool] | None = None
    hits: int = field(default=0, init=False)

    def takes(self, told: dict[str, Any]) -> bool:
        """Tell whether it strikes now, and count that."""
        if self.hits >= self.times or (self.when is not None and not self.when(told)):
            return False
        self.hits += 1
        return True


def arm(fault: Fault) -> None:
    """Have `fault` strike from now on.

    Raises:
        UnknownFaultPoint: naming the nearest.
    """
    global armed
    if fault.point not in POINTS:
        raise UnknownFaultPoint(fault.point)
    _faults.setdefault(fault.point, []).append(fault)
    armed = True


def disarm(fault: Fault) -> None:
    """Have `fault` strike no more."""
    global armed
    there = _faults.get(fault.point, [])
    if fault in there:
        there.remove(fault)
        if not there:
            del _faults[fault.point]
    armed = bool(_faults)


async def reach(point: str, **told: Any) -> None:
    """The code has come to a point where it may wait: let what is armed there strike.

    Raises:
        BaseException: what the fault says.
    """
    import trio

    fault = _striking(point, told)
    if fault is not None:
        if fault.delay:
            await trio.sleep(fault.delay)
        strike(fault)


def touch(point: str, **told: Any) -> None:
    """The code has come to a point where it may not wait; a delay does not count there.

    Raises:
        BaseException: what the fault says.
    """
    fault = _striking(point, told)
    if fault is not None:
        strike(fault)


def about(record: Record) -> dict[str, Any]:
    """Give what a point tells of a job."""
    return {"queue": record.queue, "worker": record.worker, "job_id": UUID(bytes=record.id)}


def order(**told: Any) -> list[Fault]:
    """Give the faults that are to strike in a worker process during one run."""
    return [fault for point in sorted(WORKER_POINTS) if (fault := _striking(point, told)) is not None]


def strike(fault: Fault) -> None:
    """Kill this process, or raise, as the fault says."""
    if fault.kill:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.raises is not None:
        raise fault.raises


def _striking(point: str, told: dict[str, Any]) -> Fault | None:
    return next((fault for fault in _faults.get(point, ()) if fault.takes(told)), None)
