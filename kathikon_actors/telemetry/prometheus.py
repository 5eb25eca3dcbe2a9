"""Events as Prometheus metrics. Durations are seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.telemetry.events import (
    BatchChanged,
    CronFired,
    CronSkipped,
    Event,
    JobsChanged,
    JobTransition,
    LimitDecision,
    QueueChanged,
    Recovered,
    StoreCut,
    StoreFlushed,
    StoreReopened,
    SupervisorReport,
    WorkerProcessChanged,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Metrics"]

_RUN = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_COMMIT = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


GONE = "gone"
"""The state of a job that was purged."""


class Metrics:
    """A handler of events that counts them: `App(telemetry=[Metrics()])`. Serve the registry as you serve others.

    `kathikon_job_transitions_total{queue, worker, event, state}`, `kathikon_job_run_seconds{queue, worker, state}`,
    `kathikon_job_wait_seconds{queue}`, `kathikon_store_commit_seconds{lane}`, `kathikon_store_rows_total{lane}`,
    `kathikon_store_cuts_total`, `kathikon_store_cut_seconds_total`, `kathikon_cron_fired_total{entry}`,
    `kathikon_cron_late_seconds`, `kathikon_cron_skipped_total{entry, reason}`,
    `kathikon_worker_processes_total{queue, action}`, `kathikon_queue_changes_total{queue, action}`,
    `kathikon_limit_decisions_total{queue, limit, decision}`, `kathikon_batches_total{action}`,
    `kathikon_supervisor_reports_total{supervisor, context}`, `kathikon_recovered_jobs_total{source}`.

    Args:
        registry: where they are registered; default: prometheus_client's own.

    Raises:
        BadConfiguration: `prometheus-client` is not installed.

    Example:
        ```python
        from prometheus_client import start_http_server

        app = App([Queue("mail")], telemetry=[Metrics()])
        start_http_server(9000)
        ```
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        try:
            from prometheus_client import REGISTRY, Counter, Histogram, generate_latest
        except ImportError:
            raise BadConfiguration(
                "Metrics needs the package prometheus-client: pip install 'kathikon-actors[metrics]'"
            ) from None
        self.registry = where = REGISTRY if registry is None else registry
        self._generate = generate_latest

        def counter(name: str, help_text: str, *labels: str) -> Counter:
            return Counter(f"kathikon_{name}", help_text, labels, registry=where)

        self._transitions = counter("job_transitions", "Transitions of jobs", "queue", "worker", "event", "state")
        self._runs = Histogram(
            "kathikon_job_run_seconds", "Runs", ("queue", "worker", "state"), registry=where, buckets=_RUN
        )
        self._waits = Histogram(
            "kathikon_job_wait_seconds", "From due to started", ("queue",), registry=where, buckets=_RUN
        )
        self._commits = Histogram(
            "kathikon_store_commit_seconds", "Commits of the journal", ("lane",), registry=where, buckets=_COMMIT
        )
        self._rows = counter("store_rows", "Rows committed by the journal", "lane")
        self._cuts = counter("store_cuts", "How often the store did not answer")
        self._cut_seconds = counter("store_cut_seconds", "Seconds without the store")
        self._fired = counter("cron_fired", "Jobs made by cron entries", "entry")
        self._late = Histogram("kathikon_cron_late_seconds", "From tick to job", registry=where, buckets=_RUN)
        self._skipped = counter("cron_skipped", "Ticks and entries that made no job", "entry", "reason")
        self._processes = counter("worker_processes", "Worker processes that came or went", "queue", "action")
        self._queues = counter("queue_changes", "Changes of queues", "queue", "action")
        self._limits = counter("limit_decisions", "Jobs that limits decided on", "queue", "limit", "decision")
        self._batches = counter("batches", "Batches that went on", "action")
        self._reports = counter("supervisor_reports", "Reports of supervisors", "supervisor", "context")
        self._recovered = counter("recovered_jobs", "Jobs that went on after a restart or a death", "source")

    def text(self) -> bytes:
        """Give the registry in Prometheus' text format, for a page of your own."""
        text: bytes = self._generate(self.registry)
        return text

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case JobTransition():
                self._transition(event)
            case JobsChanged():
                state = event.new or GONE
                self._transitions.labels(event.queue, event.worker, event.event, state).inc(event.jobs)
            case StoreFlushed():
                self._commits.labels(event.lane).observe(event.seconds)
                self._rows.labels(event.lane).inc(event.rows)
            case StoreCut():
                self._cuts.inc()
            case StoreReopened():
                self._cut_seconds.inc(event.seconds)
            case CronFired():
                self._fired.labels(event.entry).inc()
                self._late.observe(event.late)
            case CronSkipped():
                self._skipped.labels(event.entry, event.reason).inc()
            case WorkerProcessChanged():
                self._processes.labels(event.queue, event.action).inc()
            case QueueChanged():
                self._queues.labels(event.queue, event.action).inc()
            case LimitDecision():
                self._limits.labels(event.queue, event.limit, event.decision).inc(event.jobs)
            case BatchChanged():
                self._batches.labels(event.action).inc()
            case SupervisorReport():
                self._reports.labels(event.supervisor, event.context).inc()
            case Recovered():
                self._recovered.labels(event.source).inc(event.jobs)
            case _:
                pass

    def _transition(self, event: JobTransition) -> None:
        state = event.new or GONE
        self._transitions.labels(event.queue, event.worker, event.event, state).inc()
        if event.seconds is not None:
            self._runs.labels(event.queue, event.worker, state).observe(event.seconds)
        if event.waited is not None:
            self._waits.labels(event.queue).observe(event.waited)

    def __repr__(self) -> str:
        return "<Metrics for Prometheus>"

    def __getstate__(self) -> Any:
        raise TypeError("metrics stay in the process that counts them")
