"""The generic cell rate algorithm (GCRA, ITU-T I.371), in whole nanoseconds, for slots that are handed out ahead.

The state of a limit is one number: the theoretical arrival time (TAT) of the next start. A start at `t` conforms when
`t >= TAT - tolerance`; then `TAT = max(t, TAT) + interval`. Slots that are reserved ahead of their time begin at the
earliest moment that conforms, so that whoever holds one may start then without asking again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["NS", "Pacing", "Slots", "reserve"]

NS: Final = 1_000_000_000
"""Nanoseconds of a second."""


@dataclass(frozen=True)
class Pacing:
    """How fast a limit lets starts through.

    Attributes:
        interval: nanoseconds between two starts, from 1.
        tolerance: nanoseconds that a start may come before its theoretical time: `(burst - 1) * interval`.
    """

    interval: int
    tolerance: int


@dataclass(frozen=True)
class Slots:
    """Starts that were reserved: number `i` may begin at `first + i * interval`, and not before `now`.

    Attributes:
        count: how many.
        first: nanoseconds; may lie before `now`, after a pause that allows a burst.
        tat: the state of the limit afterwards.
    """

    count: int
    first: int
    tat: int


def reserve(pacing: Pacing, tat: int, now: int, wanted: int, horizon: int) -> Slots:
    """Reserve up to `wanted` starts that may begin by `now + horizon`.

    Args:
        pacing: of the limit.
        tat: its state; anything in the past means that it rested.
        now: nanoseconds, by the clock that all who share the limit read.
        wanted: from 0.
        horizon: nanoseconds, from 0.
    """
    tat = max(tat, now)
    first = tat - pacing.tolerance
    count = max(0, min(wanted, (now + horizon - first) // pacing.interval + 1))
    return Slots(count, first, tat + count * pacing.interval)
