"""Speaks with the store for the gatekeeper: bids for tokens and slots, answers, other nodes' notices, time.

It holds nothing: when it crashes its successor asks for everything that is held or waited for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.gcra import NS
from kathikon_actors.queue.gates import HORIZON, Gate, RateGate, TokenGate
from kathikon_actors.store.limits import SlotBid, TokenBid, tag_of

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.queue.gatekeeper import Gatekeeper

__all__ = ["Limiter"]

logger = logging.getLogger(__name__)

PER_BID: Final = 2_000
"""Gates of one bid at the most."""

PAUSE: Final = 0.001
"""Seconds between two bids at the least, so that single wishes share one."""

SWEEP_EVERY: Final = 60.0
"""Seconds between two looks for limits that nobody holds anything of."""


class Limiter:
    """Keeps the gates of one node supplied.

    Args:
        state: of the node.
        gatekeeper: whose gates they are.
    """

    def __init__(self, state: NodeState, gatekeeper: Gatekeeper) -> None:
        self._state = state
        self._gatekeeper = gatekeeper
        self._wake = trio.Event()
        self._next_sweep = trio.current_time() + SWEEP_EVERY

    async def run(self, *, task_status: trio.TaskStatus[Limiter] = trio.TASK_STATUS_IGNORED) -> None:
        """Bid until cancelled."""
        keeper, state = self._gatekeeper, self._state
        keeper.wake = self._wake_up
        state.store.limits.hear(self._hear)
        keeper.ask_all()
        task_status.started(self)
        while True:
            self._wake = trio.Event()
            due = keeper.tick(keeper.clock())
            wanting = keeper.wanting()
            try:
                for begin in range(0, len(wanting), PER_BID):
                    await self._bid(wanting[begin : begin + PER_BID])
                if trio.current_time() > self._next_sweep:
                    await self._sweep()
            except StoreUnavailable as error:
                logger.warning("no tokens while the store is cut off: %s", error)
                keeper.ask_again(wanting)
                await state.link.reopened()
                continue
            await trio.sleep(PAUSE)
            with trio.move_on_after(max(0.0, due - keeper.clock())):
                await self._wake.wait()

    def _wake_up(self) -> None:
        self._wake.set()

    def _hear(self, tags: frozenset[str]) -> None:
        """Other nodes did something to these limits, or to any."""
        self._gatekeeper.nudged(lambda name, key: not tags or tag_of(name, key) in tags)

    async def _bid(self, gates: Sequence[Gate]) -> None:
        keeper = self._gatekeeper
        token_gates = [gate for gate in gates if isinstance(gate, TokenGate)]
        wishes = [(gate, gate.bid()) for gate in gates if isinstance(gate, RateGate)]
        wishes = [(gate, wanted) for gate, wanted in wishes if wanted]
        if not token_gates and not wishes:
            return
        tokens = [TokenBid(gate.name, gate.key, gate.capacity, *gate.bid()) for gate in token_gates]
        slots = [SlotBid(gate.name, gate.key, gate.pacing, wanted, int(HORIZON * NS)) for gate, wanted in wishes]
        begun = keeper.clock()
        granted = await self._state.store.limits.bid(self._state.the_membership(), tokens, slots)
        now = keeper.clock()
        for token_gate, token_bid, (held, share) in zip(token_gates, tokens, granted.tokens, strict=True):
            token_gate.granted(held, share, token_bid.wanted, now)
        for (rate_gate, wanted), found in zip(wishes, granted.slots, strict=True):
            rate_gate.granted(found, wanted, begun, now, now)
        for gate in gates:
            keeper.answered(gate, now)

    async def _sweep(self) -> None:
        self._next_sweep = trio.current_time() + SWEEP_EVERY
        swept = await self._state.store.limits.sweep()
        if swept:
            logger.debug("%d limits are at rest", swept)
