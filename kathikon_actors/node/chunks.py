"""The chunks of one `insert_many` of a node: one is filled while earlier ones commit."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final
from uuid import UUID

import trio

from kathikon_actors.jobs.errors import AlreadyExists, KathikonError, QueueFull
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.node.listing import InsertedMany
from kathikon_actors.store.lane_queue import Insert

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.node.state import NodeState
    from kathikon_actors.store.table import Table


__all__ = ["CHUNK", "Chunks"]

CHUNK: Final = 1_000
"""Jobs of one chunk of `insert_many`."""

CHUNKS_IN_FLIGHT: Final = 4
"""Chunks that commit while the next one is filled."""


class Chunks:
    """Takes the jobs of the input one by one.

    Args:
        state: of the node.
        timeout: seconds that each chunk has to commit.
    """

    def __init__(self, state: NodeState, timeout: float) -> None:
        self._state = state
        self._timeout = timeout
        self._index = -1
        self._given: set[bytes] = set()
        self._may_conflict = False
        self._in_flight: deque[tuple[Table, Insert, list[Record], list[int]]] = deque()
        self._to_commit: list[Record] = []
        self._places: list[int] = []
        self._ids: list[UUID] = []
        self._errors: list[tuple[int, KathikonError | TypeError]] = []
        self._conflicts: list[tuple[int, UUID]] = []
        self.records: list[Record] = []

    def add(self, record: Record, *, given_id: bool) -> None:
        """Take the next job of the input."""
        self._index += 1
        if given_id:
            self._may_conflict = True
            if record.id in self._given:
                self._errors.append((self._index, AlreadyExists(as_uuid(record.id))))
                return
            self._given.add(record.id)
        try:
            if record.durability == "commit" or not self._state.the_table().admit(record):
                self._to_commit.append(record)
        except QueueFull as error:
            self._errors.append((self._index, error))
            return
        self.records.append(record)
        self._places.append(self._index)

    def refuse(self, error: KathikonError | TypeError) -> None:
        """The next job of the input does not fit."""
        self._index += 1
        self._errors.append((self._index, error))

    async def submit(self) -> None:
        """Queue what was filled; wait for the oldest chunk when many are under way."""
        if self.records:
            table = self._state.the_table()
            insert = Insert([], may_conflict=False)
            if self._to_commit:
                insert = await table.submit(self._to_commit, may_conflict=self._may_conflict, timeout=self._timeout)
            else:
                insert.finish()
            self._in_flight.append((table, insert, self.records, self._places))
            self.records, self._to_commit, self._places, self._may_conflict = [], [], [], False
        if len(self._in_flight) >= CHUNKS_IN_FLIGHT:
            await self._finish_one()
        else:
            # The journal begins with this chunk while the next one is made, and nobody waits for all of them.
            await trio.lowlevel.checkpoint()

    async def finish(self) -> InsertedMany:
        """Wait for all chunks; give what was stored."""
        await self.submit()
        while self._in_flight:
            await self._finish_one()
        self._errors.sort(key=lambda entry: entry[0])
        return InsertedMany(len(self._ids), self._ids, self._errors, self._conflicts)

    async def _finish_one(self) -> None:
        table, insert, records, places = self._in_flight.popleft()
        existing = await table.committed(insert)
        if not existing:
            self._ids += [as_uuid(record.id) for record in records]
            return
        for place, record in zip(places, records, strict=True):
            answer = insert.answers.get(record.id)
            if record.id not in existing:
                self._ids.append(as_uuid(record.id))
            elif answer is not None and answer.conflict and answer.record is not None:
                self._conflicts.append((place, as_uuid(answer.record.id)))
            else:
                error = answer.error if answer is not None else None
                self._errors.append((place, error or AlreadyExists(as_uuid(record.id))))
