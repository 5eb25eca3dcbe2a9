"""Which exceptions are worth another attempt: `retry_on` and `discard_on` of a worker, as plain data.

Both name exception types. The most specific one that fits decides; where both name the same, `discard_on` does. A
worker that says `retry_on` has every other exception discarded at once. Outcomes, timeouts and crashes are no
exceptions of the worker's code, and are not ruled here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from kathikon_actors.jobs.backoff import BackoffFunction, constant, usable_delay
from kathikon_actors.jobs.errors import BadConfiguration

__all__ = ["DiscardOn", "FailureRules", "RetryOn", "Ruling", "check_discard_on", "check_retry_on"]

RetryOn = Iterable[type[BaseException]] | Mapping[type[BaseException], float | BackoffFunction | None]
"""Types; or types with seconds, a backoff, or `None` for the worker's own backoff."""

DiscardOn = Iterable[type[BaseException]]


@dataclass(frozen=True)
class Ruling:
    """What is to become of a failed attempt.

    Attributes:
        verdict: `discard` at once, or `retry` as long as attempts are left.
        backoff: of this type of exception; `None` for the worker's own.
    """

    verdict: Literal["retry", "discard"]
    backoff: BackoffFunction | None = None


@dataclass(frozen=True)
class FailureRules:
    """The rules of one worker.

    Attributes:
        retry_on: by exception type, its backoff or `None`.
        discard_on: exception types.
    """

    retry_on: Mapping[type[BaseException], BackoffFunction | None]
    discard_on: frozenset[type[BaseException]]

    def __bool__(self) -> bool:
        return bool(self.retry_on or self.discard_on)

    def rule(self, error: BaseException) -> Ruling:
        """Decide on an exception that `perform` raised."""
        for kind in type(error).__mro__:
            if kind in self.discard_on:
                return Ruling("discard")
            if kind in self.retry_on:
                return Ruling("retry", self.retry_on[kind])
        return Ruling("discard" if self.retry_on else "retry")


def check_retry_on(worker: str, value: object) -> dict[type[BaseException], BackoffFunction | None]:
    """Give `retry_on` as it was declared, each type with its backoff.

    Raises:
        BadConfiguration: naming worker, option and what is legal.
    """
    delays: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}
    return {kind: _backoff(worker, kind, delays.get(kind)) for kind in _types(worker, "retry_on", value)}


def check_discard_on(worker: str, value: object) -> frozenset[type[BaseException]]:
    """Give `discard_on` as it was declared.

    Raises:
        BadConfiguration: naming worker, option and what is legal.
    """
    return frozenset(_types(worker, "discard_on", value))


def _types(worker: str, option: str, value: object) -> tuple[type[BaseException], ...]:
    if isinstance(value, type) and issubclass(value, BaseException):
        return (value,)
    types = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | type) else None
    if types is None or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):
        raise BadConfiguration(f"worker {worker}: {option} is {value!r}; give exception types")
    return types


def _backoff(worker: str, kind: type[BaseException], delay: object) -> BackoffFunction | None:
    if delay is None:
        return None
    seconds = usable_delay(delay)
    if seconds is not None:
        return constant(seconds)
    if not callable(delay):
        raise BadConfiguration(
            f"worker {worker}: retry_on gives {delay!r} for {kind.__name__}; give seconds or a function of "
            "(attempt, error)"
        )
    return cast("BackoffFunction", delay)
