"""Unique jobs: which jobs count as the same, while in which states, for how long, and what a second insert does."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from kathikon_actors.jobs.errors import BadConfiguration, did_you_mean, shown
from kathikon_actors.jobs.json import is_text
from kathikon_actors.jobs.states import STATES, TERMINAL_STATES, State

__all__ = ["REPLACEABLE", "TRACE_CONTEXT", "UNIQUE_STATES", "Unique", "unique_key"]

UNIQUE_STATES: Final[tuple[State, ...]] = ("scheduled", "available", "executing", "retryable", "blocked")
"""The states in which a job keeps its key when nothing else is said."""

REPLACEABLE: Final = ("args", "meta", "priority", "max_attempts", "scheduled_at", "tags")
"""What an insert that meets its like may overwrite."""

TRACE_CONTEXT: Final = ("traceparent", "tracestate")
"""What `tracing=True` adds to the meta; it is another one for each insert, and makes no job another one."""

_KEYS: Final = ("worker", "queue", "args", "meta")
_ALWAYS_HELD: Final = frozenset({"scheduled", "available", "executing", "retryable"})
_ABSENT: Final = {"absent": True}
_WORKER_AND_ARGS: Final = ("worker", "args")

_encode = msgspec.json.Encoder(order="deterministic").encode


class Unique(msgspec.Struct, frozen=True, kw_only=True):
    """At most one job of a kind: an insert that meets its like gives that one, with `conflict` set.

    Attributes:
        keys: what makes two jobs the same: `worker`, `queue`, `args`, `meta`, or a part such as `args.invoice_id`.
        states: while a job is in one of these, it has no like.
        period: seconds from the insert after which it may have one all the same; `None` for no end.
        replace: what the insert overwrites of a job that is not running: `args`, `meta`, `priority`, `max_attempts`,
            `scheduled_at`, `tags`.
        debounce: seconds: the first insert is due so much later, each further one moves it to so much from now, and
            one that comes while the job runs schedules one more run, with what it replaces.

    Raises:
        BadConfiguration: naming what does not fit.

    Example:
        ```python
        @worker(unique=Unique(keys=("worker", "args.account_id"), debounce=5))
        def rebuild_index(account_id: int, reason: str) -> None: ...
        ```
    """

    keys: tuple[str, ...] = ("worker", "args")
    states: tuple[State, ...] = UNIQUE_STATES
    period: float | None = None
    replace: tuple[str, ...] = ()
    debounce: float | None = None

    def __post_init__(self) -> None:
        for field in ("keys", "states", "replace"):
            value: Any = getattr(self, field)
            names = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else None
            if names is None or not all(map(is_text, names)):
                raise BadConfiguration(f"Unique: {field} is {shown(value)}; give a tuple of names")
            # A list, as people write it, would make the policy unhashable and shared.
            msgspec.structs.force_setattr(self, field, names)
        for key in self.keys:
            name, *rest = key.split(".")
            if name not in _KEYS or (rest and name not in ("args", "meta")):
                raise _unknown("key", key, _KEYS)
            if not all(rest):
                raise BadConfiguration(f'Unique: the key "{key}" has an empty part; give "{name}" or "{name}.NAME"')
        for state in self.states:
            if state not in STATES:
                raise _unknown("state", state, STATES)
        for name in self.replace:
            if name not in REPLACEABLE:
                raise _unknown("field to replace", name, REPLACEABLE)
        if not self.keys or not self.states:
            raise BadConfiguration("Unique: keys and states need at least one name each")
        for field in ("period", "debounce"):
            seconds = getattr(self, field)
            if seconds is not None and (
                isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= 3_153_600_000
            ):
                raise BadConfiguration(f"Unique: {field} is {shown(seconds)}; give seconds above 0, at most 100 years")

    @property
    def is_guarded(self) -> bool:
        """Whether others may have to do with a job until it starts, so that its start must be committed first."""
        if self.is_simple:
            return False
        return bool(self.replace) or self.debounce is not None or not _ALWAYS_HELD.issubset(self.states)

    @property
    def is_simple(self) -> bool:
        """Whether a store need know nothing of it but the key: usual states, no period, nothing to change."""
        return self.states is UNIQUE_STATES and not self.replace and self.period is None and self.debounce is None

    @property
    def ends_with_job(self) -> bool:
        """Whether no job that has ended keeps its key."""
        return TERMINAL_STATES.isdisjoint(self.states)


def unique_key(policy: Unique, worker: str, queue: str, args: object, meta: object) -> bytes:
    """Give the 16 bytes that are equal for jobs that count as the same: a hash, no plain text.

    Args:
        policy: says which parts count.
        worker: its name.
        queue: its name.
        args: as JSON values; `meta` likewise.
        meta: see `args`.
    """
    if policy.keys == _WORKER_AND_ARGS:
        parts: list[Any] = ["worker", worker, "args", args]
    else:
        whole: dict[str, Any] = {"worker": worker, "queue": queue, "args": args, "meta": meta}
        parts = []
        for key in policy.keys:
            name, _, path = key.partition(".")
            value: Any = whole[name]
            for step in path.split(".") if path else ():
                value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
            if key == "meta" and isinstance(value, dict):
                value = {field: value[field] for field in value if field not in TRACE_CONTEXT}
            parts += (key, value)
    return blake2b(_encode(parts), digest_size=16).digest()


def _unknown(what: str, name: str, known: tuple[str, ...]) -> BadConfiguration:
    return BadConfiguration(f'Unique: no {what} "{name}" (known: {", ".join(known)}).{did_you_mean(name, known)}')
