"""From what a worker process reported to the state of the job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, assert_never

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sealing import SEALED_TEXT
from kathikon_actors.jobs.states import TERMINAL_STATES
from kathikon_actors.processes.messages import Report

__all__ = [
    "AttemptLost",
    "Backoffs",
    "Ending",
    "end_by_hand",
    "settle",
    "settle_crash",
    "settle_interrupted",
    "settle_memory",
]

Backoffs = Callable[[str, int, BaseException], float]
"""Gives the seconds until the next attempt, from the worker's name, the number of the attempt and its error."""


Ending = Literal["timeout", "cancel", "discard"]
"""Why a run is stopped: its time was up, or an operator does not want the job any more."""


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
    if verdict == "completed" and record.extra is not None and record.extra.opened:
        machine.wait(record, now, report.result)
        return
    if verdict == "completed":
        machine.complete(record, now, report.result, note=report.note)
        return
    if verdict == "snoozed":
        machine.snooze(record, now, report.delay or 0.0)
        return
    message = report.message or ""
    reason = None if message.startswith(SEALED_TEXT) else message  # the history is no place for what is sealed
    error = machine.quote_error(now, record.attempt, report.kind or verdict, message, report.traceback, node, pid)
    match verdict:
        case "failed":
            delay = report.delay
            if delay is None:
                delay = backoff(record.worker, record.attempt, AttemptLost(message))
            machine.fail(record, now, error, delay)
        case "discarded":
            machine.discard(record, now, reason, error=error)
        case "cancelled":
            machine.cancel(record, now, reason, error=error)
        case "interrupted" | "returned":
            raise AssertionError(f"{verdict} is for the runner to judge")
        case _:
            assert_never(verdict)


def end_by_hand(record: Record, why: Ending | None, now: int) -> None:
    """A job that an operator stopped ends where the operator wants it, unless it has ended already."""
    if record.state in TERMINAL_STATES:
        return
    if why == "cancel":
        machine.cancel(record, now, "while it ran" if record.state == "executing" else None)
    elif why == "discard":
        machine.discard(record, now, "while it ran" if record.state == "executing" else None)


def settle_interrupted(record: Record, why: Ending, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    """An executing record was stopped because its time was up, or by an operator."""
    if why != "timeout":
        end_by_hand(record, why, now)
        return
    _fail(record, "timeout", f"did not end within its timeout of {record.timeout:g} s", now, node, pid, backoff)


def settle_crash(record: Record, how: str, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    """An executing record killed its own process."""
    _fail(record, "crash", f"the worker process died: {how}", now, node, pid, backoff)


def settle_memory(record: Record, held: str, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    """An executing record drove its process beyond the queue's `max_memory`."""
    _fail(record, "memory", held, now, node, pid, backoff)


def _fail(record: Record, kind: str, message: str, now: int, node: str, pid: int, backoff: Backoffs) -> None:
    error = machine.quote_error(now, record.attempt, kind, message, None, node, pid)
    machine.fail(record, now, error, backoff(record.worker, record.attempt, AttemptLost(message)))
