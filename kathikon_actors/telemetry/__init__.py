"""What happens in a node, as typed events on one bus, and handlers that make log lines, metrics and spans of them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kathikon_actors.telemetry.bus import Bus
    from kathikon_actors.telemetry.events import (
        BatchChanged,
        CronFired,
        CronSkipped,
        Event,
        EventsMissed,
        JobProgress,
        JobsChanged,
        JobTransition,
        LimitDecision,
        NodeChanged,
        QueueChanged,
        Recovered,
        SnapshotReport,
        StoreCut,
        StoreFlushed,
        StoreReopened,
        SupervisorReport,
        WorkerProcessChanged,
    )
    from kathikon_actors.telemetry.lines import JobContext, JsonLines, LogLines, TextLines, configure_logging
    from kathikon_actors.telemetry.prometheus import Metrics
    from kathikon_actors.telemetry.subscription import EventStream, Subscription

_HOMES = {
    "bus": ("Bus",),
    "events": (
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
    ),
    "lines": ("JobContext", "JsonLines", "LogLines", "TextLines", "configure_logging"),
    "prometheus": ("Metrics",),
    "subscription": ("EventStream", "Subscription"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BatchChanged",
    "Bus",
    "CronFired",
    "CronSkipped",
    "Event",
    "EventStream",
    "EventsMissed",
    "JobContext",
    "JobProgress",
    "JobTransition",
    "JobsChanged",
    "JsonLines",
    "LimitDecision",
    "LogLines",
    "Metrics",
    "NodeChanged",
    "QueueChanged",
    "Recovered",
    "SnapshotReport",
    "StoreCut",
    "StoreFlushed",
    "StoreReopened",
    "Subscription",
    "SupervisorReport",
    "TextLines",
    "WorkerProcessChanged",
    "configure_logging",
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
