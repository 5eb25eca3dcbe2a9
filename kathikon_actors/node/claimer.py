"""Claims rows that nobody owns: of clients without a node, of nodes that died, of what memory could not hold.

It claims when the jobs in memory run low, when the producer finds that what waits outside comes first, and when a row
outside is due. A notice of the store wakes it; a timer looks after notices that were lost.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import trio

from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.node.intake import Intake
from kathikon_actors.telemetry.events import Recovered

if TYPE_CHECKING:
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.queue.crew import Crew
    from kathikon_actors.store.border import Border

__all__ = ["Claimer"]

POLL = 1.0
"""Seconds between two looks at what nobody owns, when no notice comes."""

AHEAD = 0.25
"""Seconds of work that memory holds when it calls for more."""

FEWEST, MOST = 32, 5_000
"""Rows of one claim."""

PAUSE = 0.002
"""Seconds between two rounds at the least, so that single notices share a claim."""


class _Pace:
    """How fast a queue's jobs leave memory."""

    __slots__ = ("_ended", "_since", "rate")

    def __init__(self, ended: int, now: float) -> None:
        self.rate = 0.0
        self._ended = ended
        self._since = now

    def observe(self, ended: int, now: float) -> float:
        """Give jobs a second, over the last moments."""
        elapsed = now - self._since
        if elapsed > 0.05:
            self.rate = max((ended - self._ended) / elapsed, self.rate * math.exp(-elapsed))
            self._ended, self._since = ended, now
        return self.rate


class Claimer:
    """Keeps the queues of one node supplied.

    Args:
        state: of the node.
        intake: takes in what was claimed.
    """

    def __init__(self, state: NodeState, intake: Intake) -> None:
        self._state = state
        self._intake = intake
        self._table = state.the_table()
        self._told: set[str] = set()
        self._wake = trio.Event()
        self._next_look = -math.inf
        now = trio.current_time()
        self._paces = {name: _Pace(border.ended, now) for name, border in self._table.borders.items()}

    async def run(self, *, task_status: trio.TaskStatus[Claimer] = trio.TASK_STATUS_IGNORED) -> None:
        """Claim until cancelled."""
        borders = self._table.borders
        for border in borders.values():
            border.wake = self._wake_up
        task_status.started(self)
        while True:
            self._wake = trio.Event()
            try:
                pause = await self._round()
            except StoreUnavailable:
                await self._wait_out_the_cut()
                continue
            await trio.sleep(PAUSE)
            with trio.move_on_after(pause):
                await self._wake.wait()

    async def _wait_out_the_cut(self) -> None:
        borders = self._table.borders.values()
        try:
            # What is in memory goes on meanwhile: better late than a node that stands still.
            for border in borders:
                border.cut_off = True
            self._wake_producers()
            await self._state.link.reopened()
        finally:
            for border in borders:
                border.cut_off = False
        self._next_look = -math.inf

    def _wake_up(self) -> None:
        self._wake.set()

    def _hear(self, queues: frozenset[str]) -> None:
        """The store tells of rows that nobody owns."""
        borders = self._table.borders
        self._told |= borders.keys() if not queues else borders.keys() & queues
        if self._told:
            self._wake.set()

    def _wake_producers(self) -> None:
        for crew in self._state.crews.values():
            crew.wake()

    async def _round(self) -> float:
        """Look and claim as needed; give the seconds until there may be something to do without a notice."""
        state, table = self._state, self._table
        if table.in_doubt:
            found = await self._intake.reconcile()
            if found:
                state.bus.emit(Recovered(source="reconcile", of_node=state.name, jobs=found))
        await state.store.listen(self._hear)
        if state.draining:
            return math.inf
        told, self._told = self._told, set()
        look = trio.current_time() >= self._next_look
        for name, border in list(table.borders.items()):
            if name not in table.borders:  # removed meanwhile
                continue
            border.wake = self._wake_up  # it may be a queue that was added
            crew = state.crews.get(name)
            if crew is None or crew.ready is None or crew.paused or crew.draining:
                self._told |= told & {name}
                continue
            held_up = crew.held_up()
            look |= border.pass_over(held_up)
            wanted = self._wants(name, border, crew, held_up.total(), told=name in told)
            if wanted:
                if border.due is not None and border.due <= state.clock():
                    border.due, look = None, True
                look |= await self._intake.claim(name, wanted) < wanted
                crew.wake()
            if name in told and (border.fair or not wanted):
                look = True
        if look:
            await self._look()
        now, clock = trio.current_time(), state.clock()
        due = min((b.due for b in table.borders.values() if b.due is not None and b.room), default=None)
        pause = self._next_look - now
        return max(0.0, pause if due is None else min(pause, (due - clock) / 1e6))

    def _wants(self, name: str, border: Border, crew: Crew, held_up: int, *, told: bool) -> int:
        """Give how many rows to claim now; `held_up` of those in memory wait for a limit."""
        assert crew.ready is not None
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = _Pace(border.ended, trio.current_time())
        rate = pace.observe(border.ended, trio.current_time())
        border.low = int(min(max(crew.queue.concurrency, rate * AHEAD, FEWEST / 2), MOST / 2, border.limit / 4 + 1))
        runs_low = crew.ready() - held_up < border.low and (told or border.key is not None)
        is_due = border.due is not None and border.due <= self._state.clock()
        if not (border.asked or runs_low or (is_due and border.room)):
            return 0
        wanted = min(max(2 * border.low, FEWEST), MOST)
        if border.claimable:
            return min(wanted, border.claimable)
        # Full of jobs that do not run yet: the best outside come in all the same, a few at a time.
        places = crew.queue.concurrency
        return min(places, border.spare(places)) if crew.stands_still else 0

    async def _look(self) -> None:
        """Ask the store what waits outside, and make room where memory is full of jobs that are due later."""
        borders = dict(self._table.borders)
        for name, border in borders.items():
            border.begin_look()
            border.due = None
            if border.room < border.limit // 10:
                await self._intake.shed(name, max(border.limit // 5, 1))
        passing = {name: border.passing for name, border in borders.items() if border.passing}
        found = await self._state.store.look(list(borders), passing)
        clock = self._state.clock()
        for name, border in borders.items():
            unowned = found[name]
            border.end_look(unowned.best)
            if border.depth is not None:
                border.outside = await self._state.store.limits.waiting(name, border.depth)
            if border.fair and border.key is not None and border.room and name in self._state.crews:
                # Whoever has nothing here gets its turn, however many rows of others are better placed.
                await self._intake.claim_each(name, min(border.room, MOST))
            if unowned.due_in is not None:
                border.note_due(clock + int(unowned.due_in * 1e6))
        self._next_look = trio.current_time() + self._state.backstop(POLL) * random.uniform(0.8, 1.0)  # noqa: S311 spreads the nodes
        self._wake_producers()
