"""Log lines, as text or JSON, that say which job they are about; and events as log lines.

`configure_logging` is called by the app's own module: it holds for the node and, as they import the same module, for
every worker process.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final, Literal, TextIO

from kathikon_actors.jobs import runtime
from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.telemetry.events import (
    CronSkipped,
    Event,
    EventsMissed,
    JobProgress,
    JobTransition,
    LimitDecision,
    StoreCut,
    StoreFlushed,
    SupervisorReport,
    WorkerProcessChanged,
)

__all__ = ["JobContext", "JsonLines", "LogLines", "TextLines", "configure_logging"]

CONTEXT: Final = ("job_id", "worker", "queue", "attempt")
"""What a line says of its job."""

_QUIET: Final = (JobProgress, LimitDecision, StoreFlushed)


class JobContext(logging.Filter):
    """Adds job id, worker, queue and attempt of the running job to every record that is logged while it runs."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let everything pass; add what is known."""
        running = runtime.CURRENT.get()
        job = None if running is None else running.record
        if job is not None and not hasattr(record, "job_id"):
            record.job_id = str(as_uuid(job.id))
            record.worker, record.queue, record.attempt = job.worker, job.queue, job.attempt
        return True


class TextLines(logging.Formatter):
    """`2025-01-01 12:00:00,000 INFO shop: charged 5 cents [job_id=... worker=charge queue=billing attempt=1]`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 the base class names it
        """Give the line without its traceback."""
        text = super().formatMessage(record)
        context = _context(record)
        return f"{text} [{' '.join(f'{key}={value}' for key, value in context.items())}]" if context else text


class JsonLines(logging.Formatter):
    """One JSON object a line: `at`, `level`, `logger`, `message`, what is known of the job, the fields of an event."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat()
        line: dict[str, Any] = {"at": at, "level": record.levelname.lower(), "logger": record.name}
        line["message"] = record.getMessage()
        line |= _context(record)
        event = getattr(record, "telemetry", None)
        if isinstance(event, Event):
            line |= {key: value for key, value in event.to_dict().items() if key != "at"}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logging(
    format: Literal["text", "json"] = "text",  # noqa: A002 the field's own word
    *,
    level: str = "INFO",
    stream: TextIO | None = None,
) -> logging.Handler:
    """Log to a stream, each line with its job; give the handler. Called again it replaces what it made before.

    Args:
        format: `"text"` or `"json"`.
        level: the least that is logged.
        stream: default: standard error.

    Raises:
        BadConfiguration: there is no such format or level.

    Example:
        ```python
        configure_logging("json")
        ```
    """
    formatters: Mapping[str, type[logging.Formatter]] = {"text": TextLines, "json": JsonLines}
    if format not in formatters:
        raise BadConfiguration(f'log format {format!r}: give "text" or "json"')
    number = logging.getLevelNamesMapping().get(str(level).upper())
    if number is None:
        raise BadConfiguration(f"log level {level!r}: give DEBUG, INFO, WARNING or ERROR")
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(formatters[format]())
    handler.addFilter(JobContext())
    handler.set_name("kathikon")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "kathikon"]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(number)
    return handler


class LogLines:
    """A handler of events that logs each one, with its fields for `JsonLines`: `App(telemetry=[LogLines()])`.

    What went wrong is a warning or an error, progress and commits are debug.

    Args:
        logger: its name.
    """

    def __init__(self, logger: str = "kathikon_actors.events") -> None:
        self._logger = logging.getLogger(logger)

    def __call__(self, event: Event) -> None:
        """Log one event."""
        level = _level_of(event)
        if not self._logger.isEnabledFor(level):
            return
        extra: dict[str, Any] = {"telemetry": event}
        if isinstance(event, JobTransition):
            extra |= {"job_id": str(event.job_id), "worker": event.worker}
            extra |= {"queue": event.queue, "attempt": event.attempt}
        self._logger.log(level, "%s", sentence_of(event), extra=extra)


def sentence_of(event: Event) -> str:
    """Say an event in words."""
    if isinstance(event, JobTransition):
        took = "" if event.seconds is None else f" after {event.seconds:.3f} s"
        why = "" if event.reason is None else f": {event.reason}"
        return f"job {event.event}: {event.old or 'new'} -> {event.new or 'gone'}{took}{why}"
    fields = {key: value for key, value in event.to_dict().items() if key not in ("event", "at", "node")}
    return f"{event.name}: " + ", ".join(f"{key} {value}" for key, value in fields.items() if value is not None)


def _level_of(event: Event) -> int:
    match event:
        case JobTransition(new="discarded"):
            return logging.ERROR
        case JobTransition(event="failed"):
            return logging.WARNING
        case StoreCut() | EventsMissed():
            return logging.ERROR
        case CronSkipped() | WorkerProcessChanged(action="died"):
            return logging.WARNING
        case SupervisorReport():
            return logging.DEBUG if event.context == "progress" else logging.WARNING
        case _:
            return logging.DEBUG if isinstance(event, _QUIET) else logging.INFO


def _context(record: logging.LogRecord) -> dict[str, Any]:
    return {key: getattr(record, key) for key in CONTEXT if hasattr(record, key)}
