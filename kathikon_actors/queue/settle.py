"""From what a worker process reported to the state of the job."""

from __future__ import annotations

from typing import assert_never

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.backoff import default_backoff
from kathikon_actors.jobs.record import Record
from kathikon_actors.processes.messages import Report, Why

__all__ = ["settle", "settle_crash", "settle_interrupted"]


def settle(record: Record, report: Report, now: int, node: str, pid: int, chance: float) -> None:
    """Move an executing record to where its report says.

    Args:
        record: executing.
        report: any verdict but `interrupted` and `returned`, which only the one who asked for them can judge.
        now: microseconds since 1970.
        node: the node's name, for the error entry.
        pid: of the worker process, likewise.
        chance: in [0, 1), spreads the default backoff.
    """
    verdict = report.verdict
    if verdict == "completed":
        machine.complete(record, now, report.result, note=report.note)
        return
    if verdict == "snoozed":
        machine.snooze(record, now, report.delay or 0.0)
        return
    message = report.message or ""
    error = machine.quote_error(now, record.attempt, report.kind or verdict, message, report.traceback, node, pid)
    match verdict:
        case "failed":
            delay = report.delay if report.delay is not None else default_backoff(record.attempt, chance)
            machine.fail(record, now, error, delay)
        case "discarded":
            machine.discard(record, now, message, error=error)
        case "cancelled":
            machine.cancel(record, now, message, error=error)
        case "interrupted" | "returned":
            raise AssertionError(f"{verdict} is for the runner to judge")
        case _:
            assert_never(verdict)


def settle_interrupted(record: Record, why: Why, now: int, node: str, pid: int, chance: float) -> None:
    """An executing record was stopped because its time was up, or because it was cancelled."""
    if why == "cancel":
        machine.cancel(record, now, "cancelled while it ran")
        return
    message = f"did not end within its timeout of {record.timeout:g} s"
    error = machine.quote_error(now, record.attempt, "timeout", message, None, node, pid)
    machine.fail(record, now, error, default_backoff(record.attempt, chance))


def settle_crash(record: Record, how: str, now: int, node: str, pid: int, chance: float) -> None:
    """An executing record killed its own process."""
    error = machine.quote_error(now, record.attempt, "crash", f"the worker process died: {how}", None, node, pid)
    machine.fail(record, now, error, default_backoff(record.attempt, chance))
