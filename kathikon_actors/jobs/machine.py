"""Every change of a job's state, as functions on a `Record` and a time.

This is the only place that writes `state`, `attempt` and `history`. Each function checks the state table first and
changes nothing when the change is not legal. Times are microseconds since 1970 (UTC).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import msgspec

from kathikon_actors.jobs import json
from kathikon_actors.jobs.errors import InvalidState
from kathikon_actors.jobs.extra import Extra
from kathikon_actors.jobs.history import USUAL, whole_history
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.sealing import SEALED_TEXT
from kathikon_actors.jobs.states import CHANGEABLE_STATES, TERMINAL_STATES, State, check_transition

__all__ = [
    "Before",
    "Observer",
    "become",
    "before",
    "begin",
    "cancel",
    "complete",
    "discard",
    "end_waiting",
    "fail",
    "inserted",
    "never_began",
    "observe",
    "promote",
    "quote_error",
    "replaced",
    "rerun",
    "retried",
    "snooze",
    "take_back",
    "unobserve",
]

Observer = Callable[[Record, str, State, State, int, dict[str, Any] | None], None]
"""Told of a transition that was just made: the record, the event, old and new state, microseconds since 1970, meta."""

_EDGES: dict[tuple[str, State, State], bytes] = {}
"""The constant part of a line of history, for every change that was found legal once; empty for those of `USUAL`."""

_OBSERVERS: tuple[Observer, ...] = ()

_STATE_FIELDS = (
    "state",
    "attempt",
    "attempted_at",
    "finished_at",
    "scheduled_at",
    "history",
    "errors",
    "result",
    "progress",
)

_MAX_MESSAGE = 4_000
_MAX_TRACEBACK = 16_000


def observe(observer: Observer) -> None:
    """Tell `observer` of every transition in this process from now on; it must be quick and must not raise.

    The machine is the one place that all transitions pass, so an observer misses none. Nobody observes a node that
    nobody listens to.
    """
    global _OBSERVERS
    if observer not in _OBSERVERS:
        _OBSERVERS += (observer,)


def unobserve(observer: Observer) -> None:
    """Tell `observer` nothing more."""
    global _OBSERVERS
    _OBSERVERS = tuple(other for other in _OBSERVERS if other != observer)


def inserted(record: Record) -> None:
    """Write the first line of the history, unless the record is on the usual way."""
    if record.state != "available":
        record.history = whole_history(record)


def promote(record: Record, now: int) -> None:
    """A scheduled or retryable job is due: it becomes available."""
    _move(record, "available", "due", now)


def unblock(record: Record, now: int) -> None:
    """All that it waited for has ended: it is available, or scheduled when it is due later."""
    _move(record, "scheduled" if record.scheduled_at > now else "available", "unblocked", now)


def wait(record: Record, now: int, result: bytes | None) -> None:
    """`perform` has ended, the children of its batch have not: it ends with the last of them.

    Args:
        record: an executing job.
        now: microseconds since 1970.
        result: the value that `perform` returned, as JSON, kept unless the job says `result="discard"`.
    """
    _move(record, "waiting", "waiting", now)
    if record.keep_result:
        record.result = result


def end_waiting(record: Record, now: int, *, succeeded: bool) -> None:
    """The last child has ended."""
    if succeeded:
        _move(record, "completed", "completed", now)
        record.progress = 100
    else:
        _move(record, "discarded", "discarded", now, {"reason": "its batch failed"})


def replaced(record: Record, now: int, event: str) -> None:
    """An insert that met this job has overwritten some of it, `scheduled_at` maybe; it is not running."""
    if record.state not in CHANGEABLE_STATES:
        raise InvalidState(as_uuid(record.id), record.state, record.state)
    old, history = record.state, whole_history(record)
    if old != "blocked":
        later: State = "retryable" if old == "retryable" else "scheduled"
        record.state = later if record.scheduled_at > now else "available"
    line = b',[%d,"%s","%s","%s"]' % (now, event.encode(), old.encode(), record.state.encode())
    record.history = history + line
    for observer in _OBSERVERS:
        observer(record, event, old, record.state, now, None)


def begin(record: Record, now: int) -> None:
    """`perform` starts: the attempt counts from here."""
    if record.state == "available" and not record.history and not _OBSERVERS:
        record.state = "executing"  # what `_move` does on the usual way, when nobody looks
        record.attempt += 1
    else:
        _move(record, "executing", "started", now, attempts=1)
    record.attempted_at = now


Before: TypeAlias = tuple[State, int | None, bytes]
"""What `begin` changes, as it was: state, time of the last attempt, history."""


def before(record: Record) -> Before:
    """Remember what `begin` will change, for `never_began`."""
    return record.state, record.attempted_at, record.history


def never_began(record: Record, was: Before) -> None:
    """It was handed to a worker process that never started it: as if it had not been handed out."""
    old, attempted_at = record.state, record.attempted_at
    record.state, record.attempted_at, record.history = was
    record.attempt -= 1
    for observer in _OBSERVERS:
        observer(record, "never began", old, record.state, attempted_at or 0, None)


def become(record: Record, other: Record) -> None:
    """Take over what a copy of the same job has become; what the store has of it (`fence`, `dirty`) stays."""
    for name in _STATE_FIELDS:
        setattr(record, name, getattr(other, name))


def complete(record: Record, now: int, result: bytes | None, *, note: str | None = None) -> None:
    """`perform` returned a value.

    Args:
        record: an executing job.
        now: microseconds since 1970.
        result: the value as JSON, kept unless the job says `result="discard"`.
        note: what was wrong with the value, kept in the history: a success never turns into a failure.
    """
    if record.state == "executing" and not record.history and not note and not _OBSERVERS:
        record.state, record.finished_at = "completed", now  # likewise
    else:
        _move(record, "completed", "completed", now, {"note": note} if note else None)
    record.progress = 100
    if record.keep_result:
        record.result = result


def fail(record: Record, now: int, error: bytes, delay: float) -> None:
    """The attempt failed: retryable after `delay` seconds, or discarded when it was the last one.

    Args:
        record: an executing job.
        now: microseconds since 1970.
        error: from `quote_error`.
        delay: seconds until the next attempt.
    """
    last = record.attempt >= record.max_attempts
    due = now + int(delay * 1e6)
    _move(record, "discarded" if last else "retryable", "failed", now)
    _add_error(record, error)
    if not last:
        record.scheduled_at = due
        _rest(record)


def snooze(record: Record, now: int, seconds: float) -> None:
    """Run again in `seconds`; the attempt is given back."""
    due = now + int(seconds * 1e6)
    _move(record, "scheduled", "snoozed", now, attempts=-1)
    record.scheduled_at = due
    _rest(record)


def take_back(record: Record, now: int, reason: str) -> None:
    """A worker that ran it was stopped or lost without its fault: available again, the attempt is given back."""
    _move(record, "available", "taken back", now, {"reason": reason}, attempts=-1)


def cancel(record: Record, now: int, reason: str | None = None, *, error: bytes | None = None) -> None:
    """It is not wanted any more."""
    _move(record, "cancelled", "cancelled", now, {"reason": reason} if reason else None)
    if error is not None:
        _add_error(record, error)


def discard(record: Record, now: int, reason: str | None = None, *, error: bytes | None = None) -> None:
    """Give up on it: a dead letter."""
    _move(record, "discarded", "discarded", now, {"reason": reason} if reason else None)
    if error is not None:
        _add_error(record, error)


def retried(record: Record, now: int, delay: float = 0.0) -> None:
    """An operator wants it to run again: attempts are kept, at least one more is allowed.

    Args:
        record: retryable, cancelled or discarded.
        now: microseconds since 1970.
        delay: seconds until it is due.
    """
    _move(record, "scheduled" if delay > 0 else "available", "retried", now)
    record.max_attempts = max(record.max_attempts, record.attempt + 1)
    record.scheduled_at = now + int(delay * 1e6)
    record.finished_at = None
    record.progress = 0


def rerun(record: Record, now: int, new_id: bytes) -> Record:
    """An operator wants the same work done anew: give the new job; the old one only gains a line of history.

    Args:
        record: in a terminal state.
        now: microseconds since 1970.
        new_id: 16 bytes.
    """
    if record.state not in TERMINAL_STATES:
        raise InvalidState(as_uuid(record.id), record.state, "available", action="rerun")
    meta = {"job": str(as_uuid(new_id))}
    entry = json.encode([now, "rerun", record.state, record.state, meta])
    record.history = whole_history(record) + b"," + entry
    for observer in _OBSERVERS:
        observer(record, "rerun", record.state, record.state, now, meta)
    new = Record(
        id=new_id,
        queue=record.queue,
        worker=record.worker,
        args=record.args,
        state="available",
        priority=record.priority,
        max_attempts=record.max_attempts,
        inserted_at=now,
        scheduled_at=now,
        timeout=record.timeout,
        meta=record.meta,
        tags=record.tags,
        keep_result=record.keep_result,
        rerun_of=record.id,
        original_id=record.original_id or record.id,
        durability=record.durability,
        extra=_like(record.extra),
    )
    inserted(new)
    return new


def _like(extra: Extra | None) -> Extra | None:
    """Give what a rerun has of this: its partition, and its key, which whoever stores it has to take for it."""
    if extra is None or (extra.unique_key is None and extra.partition_key is None):
        return None
    guarded = None if extra.guarded is None else 0
    return Extra(unique_key=extra.unique_key, guarded=guarded, partition_key=extra.partition_key)


def quote_error(
    now: int,
    attempt: int,
    kind: str,
    message: str,
    traceback: str | None = None,
    node: str | None = None,
    worker_pid: int | None = None,
) -> bytes:
    """Encode one entry of `Job.errors`; long texts keep their head and their tail."""
    return json.encode(
        {
            "at": now,
            "attempt": attempt,
            "kind": kind,
            "message": _shorten(message, _MAX_MESSAGE),
            "traceback": None if traceback is None else _shorten(traceback, _MAX_TRACEBACK),
            "node": node,
            "worker_pid": worker_pid,
        }
    )


def _move(
    record: Record, new: State, event: str, now: int, meta: dict[str, Any] | None = None, *, attempts: int = 0
) -> None:
    old = record.state
    edge = _EDGES.get((event, old, new))
    if edge is None:
        check_transition(as_uuid(record.id), old, new)
        edge = b"" if (event, old, new) in USUAL else _edge(event, old, new)
        _EDGES[event, old, new] = edge
    if record.history or edge or meta is not None:
        edge = edge or _edge(event, old, new)
        entry = b"[%d%b]" % (now, edge) if meta is None else b"[%d%b,%b]" % (now, edge, json.encode(meta))
        record.history = whole_history(record) + b"," + entry
    record.state = new
    record.attempt += attempts
    if new in TERMINAL_STATES:
        record.finished_at = now
    for observer in _OBSERVERS:
        observer(record, event, old, new, now, meta)


def _edge(event: str, old: State, new: State) -> bytes:
    return b',"%s","%s","%s"' % (event.encode(), old.encode(), new.encode())


def _rest(record: Record) -> None:
    """The run is over and another is to come: its start is committed anew, and it waits for its own batches only."""
    if record.extra is not None and (record.extra.begun or record.extra.opened):
        record.extra = msgspec.structs.replace(record.extra, begun=0, opened=False)


def _add_error(record: Record, error: bytes) -> None:
    record.errors = record.errors + b"," + error if record.errors else error


def _shorten(text: str, limit: int) -> str:
    # Lone surrogates (from undecodable bytes) cannot be written as UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= limit or text.startswith(SEALED_TEXT):  # what is sealed was cut before
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
