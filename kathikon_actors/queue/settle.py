"""From what a worker process reported to the state of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.processes.messages import Report, Why

__all__ = ["AttemptLost", "Backoffs", "settle", "settle_crash", "settle_interrupted"]

Backoffs = Callable[[str, int, BaseException], float]
"""Gives the seconds until the next attempt, from the worker's name, the number of the attempt and its error."""


class AttemptLost(Exception):
    """What a worker's own backoff is given when its code could not fail by itself: a crash, a timeout."""


def settle(record: Record, report: Report, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    """Move an executing record to where its report says.

    Args:
        record: executing.
        report: any verdict but `interrupted` and `returned`, which only the one who asked for them can judge.
        now: microseconds since 1970.
        node: the node's name, for the error entry.
        pid: of the worker process, likewise.
        backoff: for a report that brings no delay of its own.
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
            delay = report.delay
            if delay is None:
                delay = backoff(record.worker, record.attempt, AttemptLost(message))
            machine.fail(record, now, error, delay)
        case "discarded":
            machine.discard(record, now, message, error=error)
        case "cancelled":
            machine.cancel(record, now, message, error=error)
        case "interrupted" | "returned":
            raise AssertionError(f"{verdict} is for the runner to judge")
        case _:
            assert_never(verdict)


def settle_interrupted(record: Record, why: Why, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    """An executing record was stopped because its time was up, or because it was cancelled."""
    if why == "cancel":
        machine.cancel(record, now, "cancelled while it ran")
        return
    _fail(record, "timeout", f"did not end within its timeout of {record.timeout:g} s", now, node, pid, backoff)


def settle_crash(record: Record, how: str, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    """An executing record killed its own process."""
    _fail(record, "crash", f"the worker process died: {how}", now, node, pid, backoff)


def _fail(record: Record, kind: str, message: str, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    error = machine.quote_error(now, record.attempt, kind, message, None, node, pid)
    machine.fail(record, now, error, backoff(record.worker, record.attempt, AttemptLost(message)))
