"""Erlang's supervision and crash recovery for Python, with a durable job queue on top.

Names are loaded when first used: a worker process for plain functions, and the command line, never pay for trio or
asyncpg unless they need them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kathikon_actors.jobs.backoff import constant, exponential, linear
    from kathikon_actors.jobs.errors import (
        AlreadyExists,
        BadConfiguration,
        EmptyFilter,
        InvalidJob,
        InvalidState,
        JobNotFound,
        KathikonError,
        LeaseLost,
        NodeNameTaken,
        NodeStopping,
        OwnedElsewhere,
        QueueFull,
        QueuePaused,
        StoreUnavailable,
        UnknownOption,
        UnknownQueue,
        UnknownWorker,
        WaitTimeout,
    )
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.jobs.outcomes import Cancel, Discard, Fail, Retry, Snooze
    from kathikon_actors.jobs.record import Job
    from kathikon_actors.jobs.worker import Worker, WorkerFunction, worker
    from kathikon_actors.node.app import App, Queue
    from kathikon_actors.node.client import Client
    from kathikon_actors.node.listing import InsertedMany
    from kathikon_actors.node.node import Node, open_node
    from kathikon_actors.node.operations import ChangedMany
    from kathikon_actors.node.sync_client import SyncClient

_HOMES = {
    "jobs.backoff": ("constant", "exponential", "linear"),
    "jobs.errors": (
        "AlreadyExists",
        "BadConfiguration",
        "EmptyFilter",
        "InvalidJob",
        "InvalidState",
        "JobNotFound",
        "KathikonError",
        "LeaseLost",
        "NodeNameTaken",
        "NodeStopping",
        "OwnedElsewhere",
        "QueueFull",
        "QueuePaused",
        "StoreUnavailable",
        "UnknownOption",
        "UnknownQueue",
        "UnknownWorker",
        "WaitTimeout",
    ),
    "jobs.filters": ("Filter",),
    "jobs.new_job": ("NewJob",),
    "jobs.outcomes": ("Cancel", "Discard", "Fail", "Retry", "Snooze"),
    "jobs.record": ("Job",),
    "jobs.worker": ("Worker", "WorkerFunction", "worker"),
    "node.app": ("App", "Queue"),
    "node.client": ("Client",),
    "node.listing": ("InsertedMany",),
    "node.node": ("Node", "open_node"),
    "node.operations": ("ChangedMany",),
    "node.sync_client": ("SyncClient",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AlreadyExists",
    "App",
    "BadConfiguration",
    "Cancel",
    "ChangedMany",
    "Client",
    "Discard",
    "EmptyFilter",
    "Fail",
    "Filter",
    "InsertedMany",
    "InvalidJob",
    "InvalidState",
    "Job",
    "JobNotFound",
    "KathikonError",
    "LeaseLost",
    "NewJob",
    "Node",
    "NodeNameTaken",
    "NodeStopping",
    "OwnedElsewhere",
    "Queue",
    "QueueFull",
    "QueuePaused",
    "Retry",
    "Snooze",
    "StoreUnavailable",
    "SyncClient",
    "UnknownOption",
    "UnknownQueue",
    "UnknownWorker",
    "WaitTimeout",
    "Worker",
    "WorkerFunction",
    "constant",
    "exponential",
    "linear",
    "open_node",
    "worker",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
