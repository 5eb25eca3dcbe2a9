"""Histograms of durations: a fixed number of slots, two an octave; a percentile is off by a fifth at the most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

__all__ = ["SLOTS", "percentile", "slot_of"]

SLOTS: Final = 84
"""From below a microsecond to more than three weeks."""


def slot_of(us: int) -> int:
    """Give the slot of a duration in microseconds."""
    if us < 2:
        return 0
    octave = us.bit_length() - 1
    return min(2 * octave + ((us >> (octave - 1)) & 1), SLOTS - 1)


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Give the duration in seconds below which `share` (0 to 1) of a histogram lies, `None` for an empty one."""
    total = sum(counts)
    if not total:
        return None
    wanted, seen = share * total, 0
    for slot, number in enumerate(counts):
        seen += number
        if number and seen >= wanted:
            octave, half = divmod(slot, 2)
            return (1 << octave) * (1.75 if half else 1.25) / 1e6
    return None
