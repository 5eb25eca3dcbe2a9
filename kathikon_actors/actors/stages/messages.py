"""What stages say to each other, through their mailboxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kathikon_actors.actors.ref import ActorRef
    from supervisors import ExitReason

__all__ = ["Ask", "Cancel", "CancelMode", "Cancelled", "Events", "Subscribe", "Subscription"]

CancelMode = Literal["permanent", "transient", "temporary"]
"""What a consumer does when a subscription ends by its producer: ends with the producer's reason, even a normal one
(`permanent`); ends if the reason is abnormal (`transient`); stays (`temporary`)."""


@dataclass(frozen=True)
class Subscription:
    """One consumer's tie to one producer; what `Consumer.subscribe` gives.

    Attributes:
        id: tells it from every other.
        producer: who gives.
        consumer: who takes.
    """

    id: str
    producer: ActorRef[Any]
    consumer: ActorRef[Any]

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subscription) and self.id == other.id


@dataclass(frozen=True, slots=True)
class Subscribe:
    """To a producer: take me in."""

    subscription: Subscription
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Ask:
    """To a producer: I can take so many events more."""

    subscription: Subscription
    count: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """To a producer: no more for me."""

    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Events:
    """To a consumer: what it asked for."""

    subscription: Subscription
    events: list[Any]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """To a consumer: this subscription is over, or never was."""

    subscription: Subscription
    reason: ExitReason
