"""What every dispatcher does: it shares a producer's events among its subscriptions.

A producer with many consumers needs a rule for who gets what, and one number: how many events it is asked for. That
rule is its dispatcher. Dispatchers are pure: keys in, deliveries out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Deliveries", "Dispatched", "Dispatcher", "SubscriptionRefused"]

Deliveries: TypeAlias = "list[tuple[Hashable, list[Any]]]"
"""Which events go to which subscription, in this order."""


class SubscriptionRefused(ValueError):
    """A dispatcher does not take this subscription; the text says why and what would fit."""


@dataclass
class Dispatched:
    """What came of handing events to a dispatcher.

    Attributes:
        deliveries: what goes out now.
        unwanted: events that a subscription's selector left out, by its key: it is owed as many others.
    """

    deliveries: Deliveries = field(default_factory=list)
    unwanted: dict[Hashable, int] = field(default_factory=dict)


class Dispatcher(ABC):
    """A rule for sharing events. One object serves one producer."""

    @abstractmethod
    def subscribe(self, key: Hashable, consumer: Hashable, options: Mapping[str, Any]) -> None:
        """Take a subscription in, with no demand yet.

        Args:
            key: names the subscription.
            consumer: who subscribes; the same consumer may subscribe more than once where the rule allows it.
            options: of the subscription, those that only dispatchers know.

        Raises:
            SubscriptionRefused: it cannot take part.
        """

    @abstractmethod
    def cancel(self, key: Hashable) -> None:
        """Forget a subscription, its demand, and what waits for it."""

    @abstractmethod
    def ask(self, key: Hashable, count: int) -> Deliveries:
        """Note that a subscription wants `count` more; give what is delivered to it at once."""

    @property
    @abstractmethod
    def room(self) -> int:
        """How many events can be dispatched now."""

    @abstractmethod
    def dispatch(self, events: list[Any]) -> Dispatched:
        """Share events, at most `room`, among those who asked for them."""
