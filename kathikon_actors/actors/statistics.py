"""How busy an actor is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ActorStatistics"]


@dataclass(frozen=True, slots=True)
class ActorStatistics:
    """What `ref.statistics()` gives.

    Attributes:
        length: messages that wait, the one being handled not counted; for another process, on their way too.
        oldest: seconds that the first of them has waited; 0.0 when there is none.
        processed: messages handled since its last start.
        busy: the part of the time since its last start that it spent in handlers, 0.0 to 1.0; waiting inside a handler
            counts.
        dropped: messages that a bounded mailbox refused or pushed out.
    """

    length: int
    oldest: float
    processed: int
    busy: float
    dropped: int
