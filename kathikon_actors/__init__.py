"""Erlang's supervision and crash recovery for Python, with a durable job queue on top.

Names are loaded when first used: a worker process for plain functions, and the command line, never pay for trio or
asyncpg unless they need them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kathikon_actors.actors.actor import Actor
    from kathikon_actors.actors.blocking import BlockingActorRef, BlockingActorSystem, blocking_actor_system
    from kathikon_actors.actors.errors import (
        ActorDied,
        ActorError,
        ActorIgnored,
        BadReturnValue,
        CallingSelf,
        CallTimeout,
        MailboxFull,
        NoActorSystem,
        NoSuchActor,
        NotInACall,
        ProcessDied,
        RemoteError,
        UnknownMessage,
        Unpicklable,
    )
    from kathikon_actors.actors.job_system import actor_system
    from kathikon_actors.actors.mailbox import Mailbox
    from kathikon_actors.actors.many import CallResults, call_many
    from kathikon_actors.actors.messages import Down, ExitSignal, Timeout
    from kathikon_actors.actors.monitor import Monitor
    from kathikon_actors.actors.node_door import OutsideNode
    from kathikon_actors.actors.ref import ActorRef
    from kathikon_actors.actors.replies import ReplyTo, defer_reply
    from kathikon_actors.actors.snapshots.keeper import NoSnapshotMethods
    from kathikon_actors.actors.snapshots.sink import MemorySnapshots, SnapshotSink, SnapshotTooLarge, StoredSnapshot
    from kathikon_actors.actors.snapshots.state import Snapshot, SnapshotUnreadable, StateNotEncodable
    from kathikon_actors.actors.snapshots.writer import SnapshotEvent, SnapshotLost, SnapshotRejected
    from kathikon_actors.actors.spec import actor_spec
    from kathikon_actors.actors.stages.consumer import Consumer
    from kathikon_actors.actors.stages.consumer_supervisor import ConsumerSupervisor
    from kathikon_actors.actors.stages.dispatcher import Dispatcher, SubscriptionRefused
    from kathikon_actors.actors.stages.dispatchers import BroadcastDispatcher, DemandDispatcher, PartitionDispatcher
    from kathikon_actors.actors.stages.messages import Subscription
    from kathikon_actors.actors.stages.producer import Producer
    from kathikon_actors.actors.stages.producer_consumer import ProducerConsumer
    from kathikon_actors.actors.statistics import ActorStatistics
    from kathikon_actors.actors.subtree import Subtree, subtree_spec
    from kathikon_actors.actors.system import ActorSystem, open_actor_system
    from kathikon_actors.actors.timers import Timer
    from kathikon_actors.jobs.backoff import constant, exponential, linear
    from kathikon_actors.jobs.batch import Batch, at_least
    from kathikon_actors.jobs.batch_status import BatchStatus
    from kathikon_actors.jobs.breaker import Breaker
    from kathikon_actors.jobs.cron import Cron, CronEntry, CronExists, CronNotFound
    from kathikon_actors.jobs.errors import (
        AlreadyExists,
        BadConfiguration,
        BatchClosed,
        BatchNotFound,
        ClaimLost,
        DependenciesNotFound,
        EmptyFilter,
        InvalidJob,
        InvalidState,
        JobNotFound,
        KathikonError,
        LeaseLost,
        NodeNameTaken,
        NodeSilent,
        NodeStopping,
        NodeUnclear,
        NoNode,
        OwnedElsewhere,
        QueueFull,
        QueuePaused,
        QueueTimeout,
        StoreUnavailable,
        UniqueConflict,
        UnknownNode,
        UnknownOption,
        UnknownQueue,
        UnknownWorker,
        WaitTimeout,
        WorkflowCycle,
    )
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.limits import Limit, Rate
    from kathikon_actors.jobs.middleware import CallNext, Middleware
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.jobs.outcomes import Cancel, Discard, Fail, Retry, Snooze
    from kathikon_actors.jobs.record import Job
    from kathikon_actors.jobs.retention import Retention
    from kathikon_actors.jobs.rotation import Rotated
    from kathikon_actors.jobs.sealing import CannotOpen, generate_key
    from kathikon_actors.jobs.unique import Unique
    from kathikon_actors.jobs.worker import Worker, WorkerFunction, worker
    from kathikon_actors.jobs.workflow import Workflow
    from kathikon_actors.node.app import App, Queue
    from kathikon_actors.node.client import Client
    from kathikon_actors.node.composition import OpenBatch
    from kathikon_actors.node.listing import InsertedMany
    from kathikon_actors.node.node import Node
    from kathikon_actors.node.opening import open_node
    from kathikon_actors.node.operations import ChangedMany
    from kathikon_actors.node.queue_operations import QueueStatus
    from kathikon_actors.node.report import Health, Percentiles, QueueReport, Report, WorkerReport
    from kathikon_actors.node.sync_client import SyncClient
    from kathikon_actors.store.figures import KnownNode
    from kathikon_actors.store.retaining import Pruned
    from kathikon_actors.store.snapshot_sink import open_snapshot_store

_HOMES = {
    "store.figures": ("KnownNode",),
    "node.report": (
        "Health",
        "Percentiles",
        "QueueReport",
        "Report",
        "WorkerReport",
    ),
    "store.retaining": ("Pruned",),
    "jobs.retention": ("Retention",),
    "node.queue_operations": ("QueueStatus",),
    "actors.actor": ("Actor",),
    "actors.errors": (
        "ActorDied",
        "ActorError",
        "ActorIgnored",
        "BadReturnValue",
        "CallTimeout",
        "CallingSelf",
        "MailboxFull",
        "NoActorSystem",
        "NoSuchActor",
        "NotInACall",
        "ProcessDied",
        "RemoteError",
        "UnknownMessage",
        "Unpicklable",
    ),
    "actors.mailbox": ("Mailbox",),
    "actors.many": (
        "CallResults",
        "call_many",
    ),
    "actors.messages": (
        "Down",
        "ExitSignal",
        "Timeout",
    ),
    "actors.monitor": ("Monitor",),
    "actors.ref": ("ActorRef",),
    "actors.replies": (
        "ReplyTo",
        "defer_reply",
    ),
    "actors.snapshots.keeper": ("NoSnapshotMethods",),
    "actors.snapshots.sink": (
        "MemorySnapshots",
        "SnapshotSink",
        "SnapshotTooLarge",
        "StoredSnapshot",
    ),
    "actors.snapshots.state": (
        "Snapshot",
        "SnapshotUnreadable",
        "StateNotEncodable",
    ),
    "actors.snapshots.writer": (
        "SnapshotEvent",
        "SnapshotLost",
        "SnapshotRejected",
    ),
    "actors.stages.consumer": ("Consumer",),
    "actors.stages.consumer_supervisor": ("ConsumerSupervisor",),
    "actors.stages.dispatcher": (
        "Dispatcher",
        "SubscriptionRefused",
    ),
    "actors.stages.dispatchers": (
        "BroadcastDispatcher",
        "DemandDispatcher",
        "PartitionDispatcher",
    ),
    "actors.stages.messages": ("Subscription",),
    "actors.stages.producer": ("Producer",),
    "actors.stages.producer_consumer": ("ProducerConsumer",),
    "actors.blocking": (
        "BlockingActorRef",
        "BlockingActorSystem",
        "blocking_actor_system",
    ),
    "actors.job_system": ("actor_system",),
    "actors.node_door": ("OutsideNode",),
    "actors.spec": ("actor_spec",),
    "actors.statistics": ("ActorStatistics",),
    "actors.subtree": ("Subtree", "subtree_spec"),
    "actors.system": (
        "ActorSystem",
        "open_actor_system",
    ),
    "actors.timers": ("Timer",),
    "jobs.backoff": ("constant", "exponential", "linear"),
    "jobs.errors": (
        "AlreadyExists",
        "BadConfiguration",
        "BatchClosed",
        "BatchNotFound",
        "DependenciesNotFound",
        "EmptyFilter",
        "InvalidJob",
        "InvalidState",
        "JobNotFound",
        "KathikonError",
        "LeaseLost",
        "NodeNameTaken",
        "NodeSilent",
        "NodeStopping",
        "NodeUnclear",
        "OwnedElsewhere",
        "QueueFull",
        "QueuePaused",
        "StoreUnavailable",
        "UniqueConflict",
        "UnknownNode",
        "UnknownOption",
        "UnknownQueue",
        "UnknownWorker",
        "WaitTimeout",
        "WorkflowCycle",
        "NoNode",
        "QueueTimeout",
        "ClaimLost",
    ),
    "jobs.breaker": ("Breaker",),
    "jobs.limits": ("Limit", "Rate"),
    "jobs.filters": ("Filter",),
    "jobs.cron": ("Cron", "CronEntry", "CronExists", "CronNotFound"),
    "jobs.middleware": ("CallNext", "Middleware"),
    "jobs.batch": ("Batch", "at_least"),
    "jobs.batch_status": ("BatchStatus",),
    "jobs.unique": ("Unique",),
    "jobs.workflow": ("Workflow",),
    "node.composition": ("OpenBatch",),
    "jobs.new_job": ("NewJob",),
    "jobs.outcomes": ("Cancel", "Discard", "Fail", "Retry", "Snooze"),
    "jobs.record": ("Job",),
    "jobs.rotation": ("Rotated",),
    "jobs.sealing": ("CannotOpen", "generate_key"),
    "jobs.worker": ("Worker", "WorkerFunction", "worker"),
    "node.app": ("App", "Queue"),
    "node.client": ("Client",),
    "node.listing": ("InsertedMany",),
    "node.node": ("Node",),
    "node.opening": ("open_node",),
    "node.operations": ("ChangedMany",),
    "node.sync_client": ("SyncClient",),
    "store.snapshot_sink": ("open_snapshot_store",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Actor",
    "ActorDied",
    "ActorError",
    "ActorIgnored",
    "ActorRef",
    "ActorStatistics",
    "ActorSystem",
    "AlreadyExists",
    "App",
    "BadConfiguration",
    "BadReturnValue",
    "Batch",
    "BatchClosed",
    "BatchNotFound",
    "BatchStatus",
    "BlockingActorRef",
    "BlockingActorSystem",
    "Breaker",
    "BroadcastDispatcher",
    "CallNext",
    "CallResults",
    "CallTimeout",
    "CallingSelf",
    "Cancel",
    "CannotOpen",
    "ChangedMany",
    "ClaimLost",
    "Client",
    "Consumer",
    "ConsumerSupervisor",
    "Cron",
    "CronEntry",
    "CronExists",
    "CronNotFound",
    "DemandDispatcher",
    "DependenciesNotFound",
    "Discard",
    "Dispatcher",
    "Down",
    "EmptyFilter",
    "ExitSignal",
    "Fail",
    "Filter",
    "Health",
    "InsertedMany",
    "InvalidJob",
    "InvalidState",
    "Job",
    "JobNotFound",
    "KathikonError",
    "KnownNode",
    "LeaseLost",
    "Limit",
    "Mailbox",
    "MailboxFull",
    "MemorySnapshots",
    "Middleware",
    "Monitor",
    "NewJob",
    "NoActorSystem",
    "NoNode",
    "NoSnapshotMethods",
    "NoSuchActor",
    "Node",
    "NodeNameTaken",
    "NodeSilent",
    "NodeStopping",
    "NodeUnclear",
    "NotInACall",
    "OpenBatch",
    "OutsideNode",
    "OwnedElsewhere",
    "PartitionDispatcher",
    "Percentiles",
    "ProcessDied",
    "Producer",
    "ProducerConsumer",
    "Pruned",
    "Queue",
    "QueueFull",
    "QueuePaused",
    "QueueReport",
    "QueueStatus",
    "QueueTimeout",
    "Rate",
    "RemoteError",
    "ReplyTo",
    "Report",
    "Retention",
    "Retry",
    "Rotated",
    "Snapshot",
    "SnapshotEvent",
    "SnapshotLost",
    "SnapshotRejected",
    "SnapshotSink",
    "SnapshotTooLarge",
    "SnapshotUnreadable",
    "Snooze",
    "StateNotEncodable",
    "StoreUnavailable",
    "StoredSnapshot",
    "Subscription",
    "SubscriptionRefused",
    "Subtree",
    "SyncClient",
    "Timeout",
    "Timer",
    "Unique",
    "UniqueConflict",
    "UnknownMessage",
    "UnknownNode",
    "UnknownOption",
    "UnknownQueue",
    "UnknownWorker",
    "Unpicklable",
    "WaitTimeout",
    "Worker",
    "WorkerFunction",
    "WorkerReport",
    "Workflow",
    "WorkflowCycle",
    "actor_spec",
    "actor_system",
    "at_least",
    "blocking_actor_system",
    "call_many",
    "constant",
    "defer_reply",
    "exponential",
    "generate_key",
    "linear",
    "open_actor_system",
    "open_node",
    "open_snapshot_store",
    "subtree_spec",
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
