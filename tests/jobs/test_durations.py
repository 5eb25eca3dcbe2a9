"""Histograms of durations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.durations import SLOTS, percentile, slot_of


def test_nothing_has_no_percentile() -> None:
    """Of no job at all."""
    assert percentile([0] * SLOTS, 0.5) is None


@given(st.lists(st.integers(2, 10**12), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_off_by_a_fifth_at_the_most(durations: list[int], share: float) -> None:
    """Of the value that a sorted list of all of them gives."""
    counts = [0] * SLOTS
    for us in durations:
        counts[slot_of(us)] += 1
    place = max(0, -int(-(share * len(durations)) // 1) - 1)
    exact = sorted(durations)[place] / 1e6
    found = percentile(counts, share)
    assert found is not None and 0.8 * exact <= found <= 1.26 * exact


def test_slots_grow_with_the_duration() -> None:
    """And end: what is longer than all of them is in the last one."""
    slots = [slot_of(us) for us in (-5, 0, 1, 2, 3, 4, 6, 8, 10**6, 10**12, 10**15)]
    assert slots == sorted(slots) and slots[0] == 0 and slots[-1] == SLOTS - 1
