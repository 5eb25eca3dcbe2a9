"""What waits for an actor, and what a full mailbox does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from supervisors import ExitReason, InvalidSpec

if TYPE_CHECKING:
    from kathikon_actors.actors.replies import Reply

__all__ = ["CALL", "CAST", "INFO", "STOP", "Entry", "Mailbox"]

CALL, CAST, INFO, STOP = range(4)

Entry = tuple[int, Any, tuple[Any, ...], Mapping[str, Any], "Reply | None", float]
"""(kind, method or message or reason, args, kwargs, where the answer goes, `time.monotonic()` of its arrival)."""

_NONE: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A bound on the messages that may wait for an actor; without one there is none, as in OTP.

    Nobody ever waits for room: two actors that wait for room in each other's mailbox would wait for ever. A call to a
    full mailbox raises `MailboxFull`. Signals, monitors' `Down` and stop requests are never refused.

    Attributes:
        limit: how many messages may wait.
        on_full: what gives way to a cast or a `send`: "drop_newest" that one itself, "drop_oldest" the cast or `send`
            that has waited longest. Both are counted in `statistics().dropped`.

    Example:
        await system.start(Meter, mailbox=Mailbox(1000, on_full="drop_oldest"))
    """

    limit: int
    on_full: Literal["drop_newest", "drop_oldest"] = "drop_newest"

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or self.limit < 1:
            raise InvalidSpec("mailbox.limit", self.limit, "a whole number of messages, 1 or more")
        if self.on_full not in {"drop_newest", "drop_oldest"}:
            raise InvalidSpec("mailbox.on_full", self.on_full, "'drop_newest' or 'drop_oldest'")


def stop_entry(reason: ExitReason) -> Entry:
    """Give the entry that ends an actor in its turn."""
    return (STOP, reason, (), _NONE, None, 0.0)
