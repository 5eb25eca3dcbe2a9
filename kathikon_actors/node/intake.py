"""How rows come from the store into the table, and go back: the one way for a start, a claim and a rescue."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from copy import copy

from kathikon_actors import faults
from kathikon_actors.jobs import json, machine
from kathikon_actors.jobs.broadcast import is_delivery
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import DUE_STATES
from kathikon_actors.store.protocol import CLAIMABLE_STATES, DeadNode, Membership, Store, key_of
from kathikon_actors.store.table import Table

__all__ = ["POISON", "Intake"]

logger = logging.getLogger(__name__)

POISON = 3
"""A job that ran when its node died, so often, is discarded.

Every job that a dead node owned carries `orphaned + 1`, but one that only waited there is no suspect: three crashes
would discard a whole backlog for the fault of one job. That a job ran is known from its row, which says `executing`
(it ran for a second or longer, or was orphaned before, for then its start is written at once), and how often from its
history.
"""

_DIED = "its node died"

PAGE = 5_000
"""Rows of one page."""

SHED_AFTER = 5.0
"""Seconds: what is due sooner is not given back to make room."""


class Intake:
    """Moves rows between the store and the table of one node.

    The node's own jobs of broadcast queues are never given back: nobody else runs them. They stay in memory, also while
    the node does not run their queue.

    Args:
        table: where they go.
        store: where they come from.
        membership: under which they are owned.
        queues: those that the node runs; may change.
        clock: gives microseconds since 1970.
    """

    def __init__(
        self,
        table: Table,
        store: Store,
        membership: Membership,
        queues: Collection[str],
        clock: Callable[[], int],
    ) -> None:
        self._table = table
        self._store = store
        self._membership = membership
        self._queues = queues
        self._clock = clock
        self._strangers: list[Record] = []

    async def take_up(self) -> None:
        """Load the rows that an earlier life of the name left; what memory cannot hold is left to claims."""
        after: bytes | None = None
        async with self._table.moving:
            while page := await self._store.load_owned(self._membership, after, PAGE):
                await self._take_in(page)
                after = page[-1].id

    async def reconcile(self) -> int:
        """Find the rows that we own without knowing it, because the answer to a claim was lost; give how many."""
        table = self._table
        async with table.moving:
            known = table.begin_census()
            found: list[Record] = []
            after: bytes | None = None
            try:
                while page := await self._store.load_owned(self._membership, after, PAGE):
                    found += [record for record in page if record.id not in known]
                    after = page[-1].id
            finally:
                came = table.end_census()
            table.in_doubt = False
            await self._take_in([record for record in found if record.id not in came])
            if found:
                logger.info("%d jobs were ours after a cut without our knowing", len(found))
        return len(found)

    async def claim(self, queue: str, limit: int) -> int:
        """Claim due rows of a queue; give how many came."""
        table = self._table
        border = table.borders[queue]
        with border.expecting(limit):
            async with table.moving:
                border.begin_look()
                try:
                    if faults.armed:
                        await faults.reach("store.before_claim", queue=queue)
                    records = await self._store.claim(self._membership, [queue], limit, border.passing)
                    if faults.armed:
                        await faults.reach("store.after_claim", queue=queue, rows=len(records))
                except BaseException:
                    table.in_doubt = True
                    raise
                self._admit(records)
                border.outside = max(0, border.outside - len(records))
                border.end_look(key_of(records[-1]) if len(records) >= limit else None)
        return len(records)

    async def claim_each(self, queue: str, limit: int) -> int:
        """Claim one row of each partition that has none here; give how many came."""
        table = self._table
        border = table.borders[queue]
        with border.expecting(limit):
            async with table.moving:
                present = [partition for partition in border.partitions if partition is not None]
                try:
                    records = await self._store.claim_each(self._membership, queue, present, limit)
                except BaseException:
                    table.in_doubt = True
                    raise
                self._admit(records)
                border.outside = max(0, border.outside - len(records))
        return len(records)

    async def rescue(self, dead: DeadNode) -> int:
        """Take over what a dead node owned; give how many rows."""
        table = self._table
        after: bytes | None = None
        number = 0
        while True:
            async with table.moving:
                try:
                    page = await self._store.take_over(self._membership, dead, after, PAGE // 5)
                except BaseException:
                    table.in_doubt = True
                    raise
                if not page:
                    return number
                number += len(page)
                after = page[-1].id
                await self._take_in(page, died=dead.crashed)

    async def shed(self, queue: str, number: int) -> None:
        """Make room: give back up to `number` rows of a queue that are due last."""
        horizon = self._clock() + int(SHED_AFTER * 1e6)
        waiting = [
            record
            for record in self._table.records.values()
            if record.queue == queue
            and record.state in DUE_STATES
            and record.scheduled_at > horizon
            and not is_delivery(record)
        ]
        async with self._table.moving:
            await self._give_back(heapq.nlargest(number, waiting, key=lambda record: record.scheduled_at))

    async def give_strangers_back(self) -> None:
        """Give back rows of queues that this node does not run, once nothing of them is uncommitted."""
        if self._strangers:
            async with self._table.moving:
                gone = await self._give_back(self._strangers)
                ids = {record.id for record in gone}
                records = self._table.records
                self._strangers = [r for r in self._strangers if r.id not in ids and records.get(r.id) is r]

    async def give_queue_back(self, queue: str) -> bool:
        """Give back the rows of a queue that this node does not run any more; tell whether none is left."""

        def left() -> list[Record]:
            return [r for r in self._table.records.values() if r.queue == queue and not is_delivery(r)]

        async with self._table.moving:
            await self._give_back(left())
        return not left()

    async def _take_in(self, records: Sequence[Record], *, died: bool = False) -> None:
        """Admit what has a place here; let go of the rest, for whoever has.

        Args:
            records: that the store has as ours.
            died: they come from a node that died.
        """
        table = self._table
        held: dict[str, int] = {}
        mine, other = [], []
        for record in records:
            border = table.borders.get(record.queue)
            count = held.get(record.queue, 0)
            has_place = record.queue in self._queues and (border is None or count < border.room)
            if has_place or record.state not in CLAIMABLE_STATES or is_delivery(record):
                held[record.queue] = count + 1
                mine.append(record)
            elif record.id not in table.records:
                other.append(record)
        self._admit(mine, died=died)
        await self._release(other)

    def _admit(self, records: Iterable[Record], *, died: bool = False) -> None:
        """Put rows that the store has as ours into the table; nothing runs them but this node's processes."""
        table, now, node = self._table, self._clock(), self._membership.node
        fresh = [record for record in records if record.id not in table.records or table.is_old(record)]
        changed = []
        for record in fresh:
            if record.state != "executing":
                continue
            deaths = record.history.count(json.encode(_DIED)) + died
            if died and deaths >= POISON:
                message = f"{deaths} nodes died while it ran there"
                error = machine.quote_error(now, record.attempt, "orphaned", message, None, node)
                machine.discard(record, now, message, error=error)
                changed.append(record)
            else:
                machine.take_back(record, now, _DIED if died else "its node started again")
                if record.queue not in self._queues:
                    # Whoever runs its queue claims it once it is stored as available.
                    changed.append(record)
                    if not is_delivery(record):
                        self._strangers.append(record)
        table.adopt(fresh)
        table.changed(changed)
        if table.mourners is not None:
            for record in changed:
                if record.state == "discarded" and table.mourners.mourns(record.worker):
                    table.mourners.take(record, copy(record))

    async def _give_back(self, records: Iterable[Record]) -> list[Record]:
        gone = self._table.let_go(records)
        await self._release(gone)
        return gone

    async def _release(self, records: Sequence[Record]) -> None:
        if not records:
            return
        try:
            await self._store.release(self._membership, [record.id for record in records])
        except BaseException:
            self._table.in_doubt = True
            raise
        for record in records:
            border = self._table.borders.get(record.queue)
            if border is not None:
                border.left(record)
