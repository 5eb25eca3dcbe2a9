"""The consumer's side of one subscription: what it has asked for, and when it asks again.

The arithmetic is that of Elixir's GenStage (spec/supervision.md 2.8). Pure: no clock, no messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

__all__ = ["DEFAULT_MAX_DEMAND", "Batch", "Demand", "check_demand"]

DEFAULT_MAX_DEMAND: Final = 1000
"""Events that a consumer has on their way at most, when it does not say otherwise."""

E = TypeVar("E")


@dataclass(frozen=True)
class Batch(Generic[E]):
    """Events to be handled in one go.

    Attributes:
        events: in order, at most `max_demand - min_demand` of them.
        ask: how many events to ask for once they have been handled; 0 for none.
    """

    events: list[E]
    ask: int


def check_demand(max_demand: int, min_demand: int | None) -> tuple[int, int]:
    """Give `(max_demand, min_demand)`, with half of the first as the default of the second.

    Raises:
        ValueError: `max_demand` is below 1, or `min_demand` is not within 0 and `max_demand - 1`.
    """
    if isinstance(max_demand, bool) or not isinstance(max_demand, int) or max_demand < 1:
        raise ValueError(f"max_demand is {max_demand!r}; it is a whole number of events, 1 or more")
    if min_demand is None:
        return max_demand, max_demand // 2
    if isinstance(min_demand, bool) or not isinstance(min_demand, int) or not 0 <= min_demand < max_demand:
        raise ValueError(
            f"min_demand is {min_demand!r}; it is a whole number from 0 to max_demand - 1 ({max_demand - 1})"
        )
    return max_demand, min_demand


class Demand(Generic[E]):
    """What one subscription has asked for.

    It asks for `max_demand` events at first, handles what comes in batches of at most `max_demand - min_demand`, and
    asks for what is missing to `max_demand` after a batch that brings the outstanding events down to `min_demand`.

    Args:
        max_demand: events on their way at most.
        min_demand: how few may be on their way before more are asked for; half of `max_demand` by default.

    Attributes:
        outstanding: events asked for and not handled yet.

    Example:
        ```python
        demand = Demand[int](10, 2)
        demand.outstanding = demand.max_demand          # the first ask
        assert [len(batch.events) for batch in demand.receive(range(10))[0]] == [8, 2]
        ```
    """

    __slots__ = ("max_demand", "min_demand", "outstanding")

    def __init__(self, max_demand: int = DEFAULT_MAX_DEMAND, min_demand: int | None = None) -> None:
        self.max_demand, self.min_demand = check_demand(max_demand, min_demand)
        self.outstanding = 0

    def begin(self) -> int:
        """Give the first ask."""
        self.outstanding = self.max_demand
        return self.max_demand

    def receive(self, events: Sequence[E]) -> tuple[list[Batch[E]], int]:
        """Cut events into batches, each with the ask that follows it; give also how many were never asked for.

        Events in excess are handled all the same, but do not count as demand that was met.
        """
        size = self.max_demand - self.min_demand
        owed = left = self.outstanding
        batches = []
        excess = 0
        for start in range(0, len(events), size):
            events_now = list(events[start : start + size])
            met = min(len(events_now), owed)
            excess += len(events_now) - met
            owed -= met
            left -= met
            ask = 0
            if left <= self.min_demand:
                ask = self.max_demand - left
                left = self.max_demand
            batches.append(Batch(events_now, ask))
        self.outstanding = left
        return batches, excess
