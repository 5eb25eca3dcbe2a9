"""OpenTelemetry spans: one where a job is inserted, one round each run of it, in one trace.

The context travels in the job's meta, as `traceparent`. Which provider and exporter the spans go to is set up by the
program, as for its other spans: in the app's own module, so that worker processes, which import it, have it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.unique import TRACE_CONTEXT

if TYPE_CHECKING:
    from kathikon_actors.jobs.middleware import CallNext
    from kathikon_actors.jobs.new_job import NewJob
    from kathikon_actors.jobs.record import Job

__all__ = ["check_tracing", "trace_job", "trace_without_words", "traced"]

_TRACER: Final = "kathikon_actors"


def check_tracing(whose: str, wanted: object) -> bool:
    """Give whether spans are made.

    Raises:
        BadConfiguration: they are wanted, and `opentelemetry-api` is not installed.
    """
    if not isinstance(wanted, bool):
        raise BadConfiguration(f"{whose}: tracing is {wanted!r}; give True or False")
    if wanted:
        try:
            import opentelemetry.trace  # noqa: F401 whether it is there
        except ImportError:
            raise BadConfiguration(
                f"{whose}: tracing needs the package opentelemetry-api: pip install 'kathikon-actors[otel]'"
            ) from None
    return wanted


def traced(new: NewJob) -> NewJob:
    """Give the job with the context of a producer's span in its meta."""
    from opentelemetry import propagate, trace

    meta = new.given.get("meta", {})
    if not isinstance(meta, dict):  # it will be refused when it is built
        return new
    carrier: dict[str, str] = {}
    tracer = trace.get_tracer(_TRACER)
    with tracer.start_as_current_span(f"insert {new.worker}", kind=trace.SpanKind.PRODUCER) as span:
        span.set_attribute("messaging.system", "kathikon")
        span.set_attribute("messaging.operation.name", "insert")
        span.set_attribute("kathikon.worker", new.worker)
        propagate.inject(carrier)
    kept = {key: carrier[key] for key in TRACE_CONTEXT if key in carrier}
    return new.options(meta={**meta, **kept}) if kept else new


async def trace_job(job: Job, call_next: CallNext) -> object:
    """Run a job within a consumer's span: a middleware, the first of the app's chain."""
    return await _trace(job, call_next, words=True)


async def trace_without_words(job: Job, call_next: CallNext) -> object:
    """Do as `trace_job`, for an app that encrypts: the span names the type of an error and nothing of what it says."""
    return await _trace(job, call_next, words=False)


async def _trace(job: Job, call_next: CallNext, *, words: bool) -> object:
    from opentelemetry import propagate, trace

    from kathikon_actors.jobs.outcomes import Discard, Fail, Retry

    meta = job.meta
    context = propagate.extract({key: meta[key] for key in TRACE_CONTEXT if isinstance(meta.get(key), str)})
    attributes: dict[str, Any] = {
        "messaging.system": "kathikon",
        "messaging.operation.name": "perform",
        "messaging.destination.name": job.queue,
        "messaging.message.id": str(job.id),
        "kathikon.worker": job.worker,
        "kathikon.attempt": job.attempt,
    }
    tracer = trace.get_tracer(_TRACER)
    with tracer.start_as_current_span(
        f"perform {job.worker}",
        context=context,
        kind=trace.SpanKind.CONSUMER,
        attributes=attributes,
        record_exception=words,
        set_status_on_exception=words,
    ) as span:
        try:
            value = await call_next(job)
        except Exception as error:
            if not words:
                span.set_status(trace.Status(trace.StatusCode.ERROR, type(error).__name__))
            raise
        if isinstance(value, Fail | Retry | Discard):
            span.set_status(trace.Status(trace.StatusCode.ERROR, type(value).__name__))
        return value
