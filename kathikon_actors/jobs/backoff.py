"""How long a failed job waits for its next attempt: plain functions of attempt and chance.

A backoff is any `(attempt, error) -> seconds`. `attempt` is the number of the attempt that failed, from 1.
"""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["MAX_DELAY", "BackoffFunction", "constant", "default_backoff", "exponential", "linear", "usable_delay"]

BackoffFunction = Callable[[int, BaseException], float]

MAX_DELAY = 30 * 86_400.0
"""Seconds; a longer delay is a mistake of the backoff and falls back to the default."""


def default_backoff(attempt: int, chance: float) -> float:
    """Give `min(attempt**4 + 30 * chance, 1800)` seconds, the rule of both predecessors.

    Args:
        attempt: the number of the failed attempt, from 1.
        chance: a number in [0, 1) that spreads jobs which failed together.
    """
    return min(float(min(attempt, 100) ** 4) + 30.0 * chance, 1800.0)


def constant(seconds: float) -> BackoffFunction:
    """Wait the same `seconds` each time."""
    return lambda _attempt, _error: seconds


def linear(step: float, *, maximum: float = 1800.0) -> BackoffFunction:
    """Wait `step * attempt` seconds, at most `maximum`."""
    return lambda attempt, _error: min(step * attempt, maximum)


def exponential(
    base: float = 1.0, *, factor: float = 2.0, maximum: float = 1800.0, jitter: float = 0.1
) -> BackoffFunction:
    """Wait `base * factor ** (attempt - 1)` seconds, at most `maximum`, plus up to `jitter` of it by chance."""

    def delay(attempt: int, _error: BaseException) -> float:
        exponent = min(attempt - 1, 64)
        return min(base * factor**exponent, maximum) * (1.0 + jitter * random.random())  # noqa: S311 spreads load

    return delay


def usable_delay(value: object) -> float | None:
    """Give `value` as seconds when a backoff may ask for it, else `None` (negative, not finite, not a number)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= MAX_DELAY else None  # an int may be too large for a float
