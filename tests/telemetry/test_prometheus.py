"""Events as Prometheus metrics."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prometheus_client import CollectorRegistry

from kathikon_actors.telemetry import (
    BatchChanged,
    CronFired,
    CronSkipped,
    JobsChanged,
    JobTransition,
    LimitDecision,
    Metrics,
    NodeChanged,
    QueueChanged,
    Recovered,
    StoreCut,
    StoreFlushed,
    StoreReopened,
    SupervisorReport,
    WorkerProcessChanged,
)


def test_every_kind_of_event_is_counted() -> None:
    """Durations in seconds, in the text that Prometheus reads."""
    metrics = Metrics(CollectorRegistry())
    job: dict[str, Any] = {"job_id": UUID(int=1), "worker": "w", "queue": "q", "attempt": 1}
    for event in (
        JobTransition(event="started", old="available", new="executing", waited=0.2, **job),
        JobTransition(event="completed", old="executing", new="completed", seconds=0.02, **job),
        JobsChanged(worker="w", queue="q", event="purged", old="completed", new=None, jobs=70),
        StoreFlushed(lane="inserts", rows=7, seconds=0.002),
        StoreCut(problem="gone"),
        StoreReopened(seconds=1.5),
        CronFired(entry="e", tick=1.0, job_id=UUID(int=2), late=0.01),
        CronSkipped(entry="e", reason="missed"),
        WorkerProcessChanged(queue="q", pid=1, action="died", kind="plain"),
        QueueChanged(queue="q", action="paused"),
        LimitDecision(queue="q", limit="rate", decision="held", jobs=3),
        BatchChanged(batch_id=UUID(int=3), action="sealed"),
        SupervisorReport(supervisor="s", child="c", context="child_terminated", reason=None, restarts=1),
        Recovered(source="rescue", of_node="n2", jobs=4),
        NodeChanged(action="started"),
    ):
        metrics(event)
    lines = metrics.text().decode().splitlines()
    for line in (
        'kathikon_job_transitions_total{event="completed",queue="q",state="completed",worker="w"} 1.0',
        'kathikon_job_transitions_total{event="purged",queue="q",state="gone",worker="w"} 70.0',
        'kathikon_job_run_seconds_sum{queue="q",state="completed",worker="w"} 0.02',
        'kathikon_job_wait_seconds_count{queue="q"} 1.0',
        'kathikon_store_rows_total{lane="inserts"} 7.0',
        "kathikon_store_cuts_total 1.0",
        "kathikon_store_cut_seconds_total 1.5",
        'kathikon_cron_fired_total{entry="e"} 1.0',
        'kathikon_cron_skipped_total{entry="e",reason="missed"} 1.0',
        'kathikon_worker_processes_total{action="died",queue="q"} 1.0',
        'kathikon_queue_changes_total{action="paused",queue="q"} 1.0',
        'kathikon_limit_decisions_total{decision="held",limit="rate",queue="q"} 3.0',
        'kathikon_batches_total{action="sealed"} 1.0',
        'kathikon_supervisor_reports_total{context="child_terminated",supervisor="s"} 1.0',
        'kathikon_recovered_jobs_total{source="rescue"} 4.0',
    ):
        assert line in lines, line
