"""Sends the node's events to listeners outside while there are any; without one it holds no subscription.

Who listens stands in the store, and a notice tells of who comes and goes; leases tell of who died. One subscription
collects what any of them wants, within its bound, and goes out in notices, some dozen times a second at the most.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.store.event_post import LISTENERS, LONGEST_NOTICE
from kathikon_actors.telemetry.events import Event
from kathikon_actors.telemetry.forwarding import Packer, kinds_by_name

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.store.event_post import EventPost, Listener
    from kathikon_actors.telemetry.subscription import Subscription

__all__ = ["Forwarder"]

logger = logging.getLogger(__name__)

POLL: Final = 10.0
"""Seconds between two looks for listeners when no notice comes."""

PAUSE: Final = 0.025
"""Seconds between two sendings: what comes meanwhile goes together."""

AT_ONCE: Final = 500
"""Events of one sending; with `PAUSE` 20,000 a second, a few hundredths of a core."""

LAST_WORDS: Final = 1.0
"""Seconds to send what is left when the node stops."""


class Forwarder:
    """Sends until cancelled.

    Args:
        state: of the node.
        post: leads to the listeners.
    """

    def __init__(self, state: NodeState, post: EventPost) -> None:
        self._state = state
        self._post = post
        self._packer = Packer(state.name, LONGEST_NOTICE)
        self._greeted: set[str] = set()
        self._subscription: Subscription | None = None
        self._lost: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._wake = trio.Event()
        self._listened = trio.Event()
        self._sending = trio.CancelScope()
        self._until = math.inf

    async def run(self, *, task_status: trio.TaskStatus[Forwarder] = trio.TASK_STATUS_IGNORED) -> None:
        """Look for listeners and send them what they want."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_all)
                task_status.started(self)
                try:
                    await self._follow_all()
                finally:
                    self._until = self._sending.deadline = trio.current_time() + LAST_WORDS
        finally:
            with trio.CancelScope(deadline=self._until, shield=True):
                await self._end()

    async def _follow_all(self) -> None:
        while True:
            self._wake = trio.Event()
            try:
                await self._state.store.listen_control(LISTENERS, self._wake_up)
                found = await self._post.listeners()
                await self._follow(found)
            except StoreUnavailable:
                await self._state.link.reopened()
                continue
            patience = min((listener.lease_left for listener in found), default=POLL)
            with trio.move_on_after(self._state.backstop(min(POLL, max(patience, PAUSE)))):
                await self._wake.wait()

    def _wake_up(self) -> None:
        self._wake.set()

    async def _follow(self, listeners: Sequence[Listener]) -> None:
        """Collect what these want, and tell those who are new."""
        kinds = _kinds(listeners)
        subscription, bus = self._subscription, self._state.bus
        if not kinds:
            self._subscription = None
            if subscription is not None:
                subscription.close()
        elif subscription is None:
            self._subscription = bus.collect(*kinds)
            self._lost, self._told = Counter(), Counter()
            self._listened.set()
        else:
            bus.change(subscription, *kinds)
        ids = {listener.id for listener in listeners}
        if ids - self._greeted:
            await self._post.send(self._packer.greet(ids - self._greeted))
        self._greeted = ids

    async def _send_all(self) -> None:
        while True:
            subscription = self._subscription
            if subscription is None:
                self._listened = trio.Event()
                await self._listened.wait()
                continue
            events = await subscription.batch(AT_ONCE)
            if events:
                try:
                    # What is on its way when the node stops is sent: nobody could tell whether it had been.
                    with trio.CancelScope(deadline=self._until, shield=True) as self._sending:
                        await self._send(subscription, events)
                except StoreUnavailable:
                    await self._state.link.reopened()
                except Exception:  # what is told outside must not end what stands beside it in the tree
                    logger.exception("%d events could not be sent to who listens outside", len(events))
            await trio.sleep(PAUSE)

    async def _send(self, subscription: Subscription, events: Sequence[Event]) -> None:
        """Send these, and tell what was dropped since the last time; what is not sent is dropped."""
        lost = self._lost + subscription.lost
        try:
            await self._post.send(self._packer.pack(events, lost - self._told))
        except BaseException:
            self._lost.update(event.name for event in events)
            raise
        self._told = lost

    async def _end(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        events = subscription.take(AT_ONCE)
        subscription.close()
        with suppress(StoreUnavailable):
            await self._send(subscription, events)


def _kinds(listeners: Sequence[Listener]) -> tuple[type[Event], ...]:
    """Give what any of them wants, as far as this node knows it."""
    if any(listener.kinds is None for listener in listeners):
        return (Event,)
    known = kinds_by_name()
    names = sorted({name for listener in listeners for name in listener.kinds or ()})
    return tuple(known[name] for name in names if name in known)
