"""Fires cron entries: one timer heap in the leader, and one look a second at whether an entry was changed.

Leadership only saves work. What makes each tick fire once is the store (see `kathikon_actors.store.cron_store`).
"""

from __future__ import annotations

import logging
from dataclasses import replace
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Final

import trio

from kathikon_actors.jobs.cron import StoredCron, due_ticks, job_of
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.cron_store import Firing
from kathikon_actors.telemetry.events import CronFired, CronSkipped

if TYPE_CHECKING:
    from kathikon_actors.jobs.ticks import Ticks
    from kathikon_actors.node.state import NodeState

__all__ = ["CronClock"]

logger = logging.getLogger(__name__)

IN_ONE_LOOP: Final = 60.0
"""Seconds between two looks under a virtual clock, where each one is a step."""

LOOK: Final = 1.0
"""Seconds between two looks at whether an entry was changed."""

AT_ONCE: Final = 200
"""Entries that fire in one transaction."""

TURN: Final = 50
"""Entries whose next tick is reckoned before others have their turn: each takes about 0.1 ms."""


class CronClock:
    """The cron entries of a store, as the leader fires them.

    Args:
        state: of the node.
    """

    def __init__(self, state: NodeState) -> None:
        self._state = state
        self._version = -1
        self._rows: dict[str, tuple[StoredCron, Ticks]] = {}
        self._heap: list[tuple[int, str]] = []
        self._stale = False
        self._told: set[tuple[str, int]] = set()

    async def run(self, *, task_status: trio.TaskStatus[CronClock] = trio.TASK_STATUS_IGNORED) -> None:
        """Store what the app declares, then fire what is due while this node leads, until cancelled."""
        state = self._state
        declared = state.declared_crons
        task_status.started(self)
        while True:
            try:
                if declared:
                    await state.store.crons.declare_crons(declared, state.clock())
                    declared = ()
                await state.leadership.wait()
                await self._round()
            except StoreUnavailable:
                self._version = -1
                await state.link.reopened()

    async def _round(self) -> None:
        """Look once, then fire what becomes due until the next look."""
        state = self._state
        if state.draining:
            await trio.sleep(LOOK)
            return
        version = await state.store.crons.cron_version()
        if version != self._version:
            await self._load()
            self._version = version
        until = trio.current_time() + (IN_ONE_LOOP if state.one_loop else LOOK)
        while state.leadership.leads and not state.draining:
            await self._fire_due()
            if self._stale:
                break
            wait = until - trio.current_time()
            if self._heap:
                wait = min(wait, (self._heap[0][0] - state.clock()) / 1e6)
            if wait > 0:
                await trio.sleep(wait)
            if trio.current_time() >= until:
                return
        self._version = -1  # another node may have led meanwhile

    async def _load(self) -> None:
        """Read every entry; one that cannot be used is told of and left out."""
        rows = await self._state.store.crons.load_crons()
        self._rows.clear()
        self._stale = False
        heap: list[tuple[int, str]] = []
        for number, row in enumerate(rows):
            if number % TURN == TURN - 1:
                await trio.lowlevel.checkpoint()
            if row.paused:
                continue
            try:
                ticks = row.ticks()
                following = ticks.after(row.last_tick)
            except Exception as error:  # whatever is stored there, the others go on
                self._skip(row, str(error))
                continue
            self._rows[row.name] = row, ticks
            if following is not None:
                heap.append((following, row.name))
        heapify(heap)
        self._heap = heap

    async def _fire_due(self) -> None:
        heap, state = self._heap, self._state
        while heap and heap[0][0] <= state.clock() and state.leadership.leads and not self._stale:
            now = state.clock()
            names: list[str] = []
            while heap and heap[0][0] <= now and len(names) < AT_ONCE:
                names.append(heappop(heap)[1])
            await self._fire(names, now)
            for number, name in enumerate(names):
                self._push(name)
                if number % TURN == TURN - 1:
                    await trio.lowlevel.checkpoint()

    async def _fire(self, names: list[str], now: int) -> None:
        """Settle what is due of these entries."""
        firings: dict[str, Firing] = {}
        fired: dict[str, list[int]] = {}
        missed: dict[str, int] = {}
        for name in names:
            row, ticks = self._rows[name]
            try:
                fired[name], missed[name] = due_ticks(ticks, row.last_tick, now, row.catch_up)
                firings[name] = self._firing(row, fired[name], now)
            except Exception as error:  # whatever is stored there, the others go on
                self._skip(row, str(error))
                del self._rows[name]
        settled = await self._settle(list(firings.values()))
        for name, firing in firings.items():
            if name not in self._rows:
                continue
            row, ticks = self._rows[name]
            if name in settled:
                self._rows[name] = replace(row, last_tick=firing.until), ticks
                self._tell(name, settled[name], fired[name], missed[name], now)
            else:  # somebody else has settled it, or changed it: read what is so
                del self._rows[name]
                self._stale = True

    def _firing(self, row: StoredCron, ticks: list[int], now: int) -> Firing:
        ids, keyring = self._state.ids, self._state.app.keyring
        jobs = tuple(job_of(row.template, row.name, tick, ids.next(now), now, keyring) for tick in ticks)
        return Firing(row.name, row.revision, row.last_tick, now, jobs)

    async def _settle(self, firings: list[Firing]) -> dict[str, tuple[bytes, ...]]:
        """Settle them together; when that fails, each by itself, so that one bad entry stops nothing."""
        if not firings:
            return {}
        store = self._state.store.crons
        try:
            return await store.fire_crons(firings)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(firings) == 1:
                name = firings[0].name
                self._skip(self._rows.pop(name)[0], str(error))
                return {}
        settled: dict[str, tuple[bytes, ...]] = {}
        for firing in firings:
            settled |= await self._settle([firing])
        return settled

    def _push(self, name: str) -> None:
        found = self._rows.get(name)
        if found is not None:
            row, ticks = found
            following = ticks.after(row.last_tick)
            if following is not None:
                heappush(self._heap, (following, name))

    def _tell(self, name: str, jobs: tuple[bytes, ...], ticks: list[int], missed: int, now: int) -> None:
        bus = self._state.bus
        if missed:
            logger.info("cron entry %s: %d ticks were missed and are not made up for", name, missed)
            bus.emit(CronSkipped(entry=name, reason="missed", problem=f"{missed} ticks"))
        if bus.wants(CronFired):
            for tick, job_id in zip(ticks, jobs, strict=True):
                bus.emit(CronFired(entry=name, tick=tick / 1e6, job_id=as_uuid(job_id), late=(now - tick) / 1e6))

    def _skip(self, row: StoredCron, problem: str) -> None:
        """Tell once of an entry that cannot be used."""
        if (row.name, row.revision) not in self._told:
            if len(self._told) > 10_000:
                self._told.clear()
            self._told.add((row.name, row.revision))
            logger.error("cron entry %s makes no jobs: %s", row.name, problem)
            self._state.bus.emit(CronSkipped(entry=row.name, reason="invalid", problem=problem))
