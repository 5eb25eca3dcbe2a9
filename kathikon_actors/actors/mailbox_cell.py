"""The mailbox of an actor that runs in a task of this process: a deque, and one parked task."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import trio

from kathikon_actors.actors.cell import Cell
from kathikon_actors.actors.errors import MailboxFull
from kathikon_actors.actors.mailbox import CALL, CAST, INFO, Entry, Mailbox, stop_entry
from kathikon_actors.actors.replies import Reply
from kathikon_actors.actors.statistics import ActorStatistics
from supervisors import ExitReason

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["MailboxCell", "monotonic"]

_NO_KWARGS: Mapping[str, Any] = {}

monotonic = time.monotonic


class MailboxCell(Cell):
    """What waits for an actor, and how much it has done."""

    __slots__ = (
        "_bound",
        "_busy",
        "_busy_since",
        "_dropped",
        "_mailbox",
        "_parked",
        "_processed",
        "_since",
    )

    def __init__(self, system: ActorSystem, uid: int, name: str | None, kind: str, bound: Mailbox | None) -> None:
        super().__init__(system, uid, name, kind)
        self._bound = bound
        self._mailbox: deque[Entry] = deque()
        self._parked = False
        self._processed = 0
        self._dropped = 0
        self._busy = 0.0
        self._since = monotonic()
        self._busy_since = 0.0

    def call(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], reply: Reply) -> None:
        """Have it run a method and answer to `reply`."""
        if self._bound is not None and len(self._mailbox) >= self._bound.limit:
            self._dropped += 1
            raise MailboxFull(self.label, self._bound.limit)
        self._mailbox.append((CALL, method, args, kwargs, reply, monotonic()))
        if self._parked:
            self._wake()

    def cast(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Have it run a method."""
        if self.alive and (self._bound is None or self._make_room()):
            self._mailbox.append((CAST, method, args, kwargs, None, monotonic()))
            if self._parked:
                self._wake()

    def send(self, message: object) -> None:
        """Give `message` to its `handle_info`, or drop it where the mailbox is full."""
        if self.alive and (self._bound is None or self._make_room()):
            self.deliver(message)

    def deliver(self, message: object) -> None:
        """Give `message` to `handle_info` even if the mailbox is full."""
        if self.alive:
            self._mailbox.append((INFO, message, (), _NO_KWARGS, None, monotonic()))
            if self._parked:
                self._wake()

    def stop(self, reason: ExitReason) -> None:
        """Have it end with `reason` in its turn."""
        if self.alive:
            self._mailbox.append(stop_entry(reason))
            if self._parked:
                self._wake()

    def statistics(self) -> ActorStatistics:
        """How busy it is."""
        now = monotonic()
        mailbox = self._mailbox
        busy = self._busy + (now - self._busy_since if self._busy_since else 0.0)
        return ActorStatistics(
            length=len(mailbox),
            oldest=max(0.0, now - mailbox[0][5]) if mailbox and mailbox[0][5] else 0.0,
            processed=self._processed,
            busy=min(1.0, busy / max(now - self._since, 1e-9)),
            dropped=self._dropped,
        )

    def counts(self) -> tuple[int, float, int, float, float, float, int]:
        """Give length, arrival of the oldest, processed, busy seconds, busy since, start and dropped, as they are."""
        mailbox = self._mailbox
        oldest = mailbox[0][5] if mailbox else 0.0
        return len(mailbox), oldest, self._processed, self._busy, self._busy_since, self._since, self._dropped

    def forget_message(self, message: object) -> None:
        """Take a message for `handle_info` that waits out of the mailbox."""
        for at, entry in enumerate(self._mailbox):
            if entry[0] == INFO and entry[1] is message:
                del self._mailbox[at]
                return

    def _wake(self) -> None:
        self._parked = False
        assert self.task is not None
        trio.lowlevel.reschedule(self.task)

    def _unpark(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._parked = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _make_room(self) -> bool:
        bound = self._bound
        if bound is None or len(self._mailbox) < bound.limit:
            return True
        self._dropped += 1
        if bound.on_full == "drop_oldest":
            for at, entry in enumerate(self._mailbox):
                if entry[0] in {CAST, INFO}:
                    del self._mailbox[at]
                    return True
        return False
