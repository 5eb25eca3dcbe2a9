"""What a node tells: one frozen type for each kind of thing that happens.

`at` and `node` are filled in by the bus, so who emits gives only what it is about. Times are seconds since 1970 (UTC),
durations are seconds. No event carries arguments, results, keys or addresses.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal
from uuid import UUID

import msgspec

from kathikon_actors.jobs.states import State

__all__ = [
    "BatchChanged",
    "CronFired",
    "CronSkipped",
    "Event",
    "EventsMissed",
    "JobProgress",
    "JobTransition",
    "JobsChanged",
    "LimitDecision",
    "NodeChanged",
    "QueueChanged",
    "Recovered",
    "SnapshotReport",
    "StoreCut",
    "StoreFlushed",
    "StoreReopened",
    "SupervisorReport",
    "WorkerProcessChanged",
]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events.

    Attributes:
        at: seconds since 1970, when it was told.
        node: the name of the node that tells it.
    """

    at: float = 0.0
    node: str = ""

    @property
    def name(self) -> str:
        """What it is called in logs and metrics, such as `JobTransition`."""
        return type(self).__name__

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON values, with its name under `event` and `at` as ISO 8601.

        Example:
            ```python
            node.subscribe(lambda event: print(event.to_dict()))
            ```
        """
        values = msgspec.to_builtins(self)
        at = dt.datetime.fromtimestamp(self.at, dt.UTC).isoformat()
        if "event" in values:  # a transition of jobs has a word of its own for what happened
            values["transition"] = values.pop("event")
        return {"event": self.name, **values, "at": at}


class JobTransition(Event, frozen=True, kw_only=True):
    """A job went from one state to another. `old` is `None` when it was inserted, which is told once it is committed.

    What the database does itself, such as freeing a job that waited for another, is told by the node whose commit did
    it, after that commit. `new` is `None` when it was purged: it is not there any more.

    Attributes:
        event: as in the job's history: `inserted`, `due`, `started`, `completed`, `failed`, `snoozed`, `unblocked`,
            `waiting`, `cancelled`, `discarded`, `retried`, `rerun`, `taken back`, `replaced`, `put off`; besides
            `never began` (handed to a process that did not start it) and `purged`.
        attempt: after the transition.
        seconds: since the attempt was handed to a worker process; of transitions out of `executing`.
        waited: seconds from its due time until then; of transitions into `executing`.
        reason: why, where the history says so.
    """

    job_id: UUID
    worker: str
    queue: str
    event: str
    old: State | None
    new: State | None
    attempt: int
    seconds: float | None = None
    waited: float | None = None
    reason: str | None = None


class JobsChanged(Event, frozen=True, kw_only=True):
    """So many more jobs went through a transition in one transaction than are told one by one.

    Of a transaction that moves very many jobs (a bulk action, a parent of very many) the first 5,000 have a
    `JobTransition` each, the others are counted by kind. Told where `JobTransition` is wanted, too.

    Attributes:
        event: as of a `JobTransition`; `old` and `new` likewise.
        jobs: how many.
    """

    worker: str
    queue: str
    event: str
    old: State | None
    new: State | None
    jobs: int


class JobProgress(Event, frozen=True, kw_only=True):
    """A running job told how far it is, 0 to 100."""

    job_id: UUID
    worker: str
    queue: str
    percent: int


class QueueChanged(Event, frozen=True, kw_only=True):
    """A queue was changed, or its condition did.

    Attributes:
        action: `paused`, `resumed`, `scaled`, `added`, `removed`, `draining`, `drained`, `degraded`, `recovered`,
            `full`.
        value: the new figure of `scaled`.
        reason: why, if known.
    """

    queue: str
    action: str
    value: int | None = None
    reason: str | None = None


class LimitDecision(Event, frozen=True, kw_only=True):
    """A limit let jobs start, made them wait, or refused them.

    Attributes:
        limit: `concurrency`, `rate`, `breaker`, `depth`.
        decision: `held`, `released`, `refused`, `shed`; of a breaker `opened`, `half_open`, `closed`.
        worker: whose limit it is; `None` for a queue's.
        key: of a limit per key.
        jobs: how many it concerns.
        seconds: until they may be tried again, if known.
    """

    queue: str
    limit: str
    decision: str
    worker: str | None = None
    key: str | None = None
    jobs: int = 1
    seconds: float | None = None


class BatchChanged(Event, frozen=True, kw_only=True):
    """A batch went on. Told by the node whose transaction brought it on, after the commit.

    Attributes:
        action: `opened`; `sealed` (it takes no more children); `succeeded` or `failed`: it is resolved, once for each
            time that it is; `retried`: failed children were put back by `retry_failed`, or it was resolved and one was
            put back, so that it resolves again; `pruned`: it was deleted, long after its end.
        total: children so far, of `sealed`, `succeeded`, `failed` and `retried`.
        done: completed children, of `succeeded`, `failed` and `retried`.
        failed: children that were cancelled or discarded, likewise.
    """

    batch_id: UUID
    action: str
    total: int | None = None
    done: int | None = None
    failed: int | None = None


class CronFired(Event, frozen=True, kw_only=True):
    """A cron entry's time has come, and this node inserted its job.

    Attributes:
        entry: its name.
        tick: seconds since 1970 of the time that it names.
        job_id: the job it made; of a unique one that has its like, that one.
        late: seconds from the tick until then.
    """

    entry: str
    tick: float
    job_id: UUID
    late: float


class CronSkipped(Event, frozen=True, kw_only=True):
    """A tick of a cron entry made no job here.

    Attributes:
        reason: `missed` (it was not caught up), `invalid` (the entry cannot be used; `problem` says why).
    """

    entry: str
    reason: Literal["missed", "invalid"]
    tick: float | None = None
    problem: str | None = None


class SupervisorReport(Event, frozen=True, kw_only=True):
    """A supervisor of the node's tree tells of one of its children.

    Attributes:
        context: `progress`, `child_terminated`, `start_error`, `shutdown_error`, `shutdown`, `unkillable`.
        reason: the exit reason as text.
        restarts: of this child so far.
    """

    supervisor: str
    child: str
    context: str
    reason: str | None
    restarts: int


class WorkerProcessChanged(Event, frozen=True, kw_only=True):
    """A worker process came or went.

    Attributes:
        action: `started`, `died`, `stopped`.
        kind: `plain`, `async`.
        how: its exit in words.
        running: jobs that it was running when it died.
    """

    queue: str
    pid: int
    action: Literal["started", "died", "stopped"]
    kind: str
    how: str | None = None
    running: int = 0


class StoreFlushed(Event, frozen=True, kw_only=True):
    """The journal committed a batch.

    Attributes:
        lane: `inserts`, `outcomes`.
        seconds: that the commit took.
    """

    lane: str
    rows: int
    seconds: float


class StoreCut(Event, frozen=True, kw_only=True):
    """The store does not answer; what is not committed waits."""

    problem: str


class StoreReopened(Event, frozen=True, kw_only=True):
    """The store answers again.

    Attributes:
        seconds: that it did not.
    """

    seconds: float


class Recovered(Event, frozen=True, kw_only=True):
    """Jobs of an earlier life or of a dead node go on here.

    Attributes:
        source: `restart`, `rescue`, `reconcile`.
        of_node: whose they were.
    """

    source: Literal["restart", "rescue", "reconcile"]
    of_node: str
    jobs: int


class SnapshotReport(Event, frozen=True, kw_only=True):
    """The state of an actor was not kept, or what was kept could not be taken back.

    Attributes:
        action: `lost`: the state is not kept; `rejected`: the actor has begun from an older state or from scratch.
        actor: its name.
        problem: what is wrong.
        version: of the snapshot, when it was rejected.
    """

    action: Literal["lost", "rejected"]
    actor: str
    problem: str
    version: int | None = None


class NodeChanged(Event, frozen=True, kw_only=True):
    """The node itself.

    Attributes:
        action: `started`, `draining`, `stopped`, `lease_lost`, `leading`, `following`.
    """

    action: str


class EventsMissed(Event, frozen=True, kw_only=True):
    """A program that hears events from outside had lost its connection: what happened meanwhile it has not heard.

    No node tells this; `Client.events` gives it, to who wants it or wants all.

    Attributes:
        seconds: for how long nothing was heard, at the most.
    """

    seconds: float
