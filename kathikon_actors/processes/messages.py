"""What the node and a worker process say to each other. Frames carry lists of these (see `frames`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.runtime import What
from kathikon_actors.jobs.wire import WireError

__all__ = [
    "ActorFrame",
    "Ask",
    "FaultOrder",
    "FromWorker",
    "Interrupt",
    "Mourn",
    "Progress",
    "Reply",
    "Report",
    "Run",
    "SabotagedRun",
    "Stop",
    "ToWorker",
    "Verdict",
    "Why",
]

Verdict = Literal["completed", "failed", "snoozed", "discarded", "cancelled", "interrupted", "returned"]
"""How a run ended. `interrupted`: the node asked for it (timeout, cancel) and the code gave way. `returned`: it never
started, because it was revoked or the process is stopping."""

Why = Literal["timeout", "cancel"]


class Run(msgspec.Struct, array_like=True, tag="run", gc=False):
    """Run this job. `seq` grows with every run sent to one process and names it from then on."""

    seq: int
    record: Record


class Mourn(msgspec.Struct, array_like=True, tag="mourn", gc=False):
    """Call the worker's `on_discard` for this job, which was discarded. Reported as a run is."""

    seq: int
    record: Record


class FaultOrder(msgspec.Struct, array_like=True, gc=False):
    """What a test wants to go wrong at a point of the worker process; `raises` is a pickled exception."""

    point: str
    kill: bool
    delay: float
    raises: bytes | None


class SabotagedRun(Run, array_like=True, tag="sabotaged", gc=False):
    """Run this job, and let these faults strike (see `faults`). Only a node under test sends it."""

    orders: list[FaultOrder]


class Interrupt(msgspec.Struct, array_like=True, tag="interrupt", gc=False):
    """Stop that run if it can be stopped; the node kills the process when it does not give way."""

    seq: int
    why: Why


class Stop(msgspec.Struct, array_like=True, tag="stop", gc=False):
    """Start nothing more, give back what has not started, finish what runs, then exit with status 0."""


class ActorFrame(msgspec.Struct, array_like=True, tag="actors", gc=False):
    """What a job and the node's actors say to each other, in either direction; its bytes are for the room of actors."""

    data: bytes


class Reply(msgspec.Struct, array_like=True, tag="reply", gc=False):
    """The answer to an `Ask`: what it gave, as msgpack, or why nothing came of it."""

    seq: int
    number: int
    body: bytes
    error: WireError | None = None


ToWorker = Run | SabotagedRun | Mourn | Interrupt | Stop | ActorFrame | Reply


class Report(msgspec.Struct, array_like=True, tag="report", gc=False):
    """How one run ended.

    Attributes:
        seconds: how long `perform` took.
        result: JSON, for `completed`.
        note: why a result could not be kept (it was not JSON).
        kind: of the error: `exception`, `fail`, `retry`, `invalid_snooze`, `exit`, `unknown_worker`, `arguments`, ...
        message: `ValueError: no such invoice`, or the reason given with an outcome.
        delay: seconds: of a snooze, a `Retry`, or what the worker's own backoff asked for.
    """

    seq: int
    verdict: Verdict
    seconds: float
    result: bytes | None = None
    note: str | None = None
    kind: str | None = None
    message: str | None = None
    traceback: str | None = None
    delay: float | None = None


class Progress(msgspec.Struct, array_like=True, tag="progress", gc=False):
    """The job reported how far it is, 0 to 100."""

    seq: int
    percent: int


class Ask(msgspec.Struct, array_like=True, tag="ask", gc=False):
    """A running job wants something of its node; `number` names it among those of its run. Answered by a `Reply`."""

    seq: int
    number: int
    what: What
    body: bytes


FromWorker = Report | Progress | ActorFrame | Ask
