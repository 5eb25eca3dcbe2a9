"""What waits for the journal: inserts with who waits for them, outcomes, and the batch in flight of each lane."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Generic, TypeVar

import msgspec
import trio

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.record import Record

__all__ = ["Batch", "Insert", "LaneQueue", "stays", "without_repeats"]

E = TypeVar("E")

MOST_BYTES = 64 * 2**20
"""Bytes of one batch, unless a single entry brings more: the server takes 1 GB of one statement, and not at once."""


def stays(_insert: Insert) -> None:
    """It cannot be taken back: it is in no lane, or stored already."""


class Insert(msgspec.Struct, eq=False):
    """One call of insert on its way into the store: its rows, and the task that waits for them.

    Attributes:
        may_conflict: some of the ids were given by the caller.
        deadline: of `trio.current_time`; `Table.expire` ends what is later. One look at all of them every now and then
            costs a tenth of a cancel scope for each.
        withdraw: takes back what is in no batch yet; called when the one who waits is cancelled.
        finished: the rows are committed or refused, or nobody knows and nobody will.
        existing: ids that the store had already; their rows are unchanged.
        error: why nothing was stored.
        unowned: ids of the rows that are stored for whoever claims them.
        composed: the store has to decide on some of them.
        answers: what it decided, by id.
    """

    records: list[Record]
    may_conflict: bool = False
    deadline: float = math.inf
    withdraw: Callable[[Insert], None] = stays
    finished: bool = False
    existing: AbstractSet[bytes] = frozenset()
    unowned: AbstractSet[bytes] = frozenset()
    error: BaseException | None = None
    composed: bool = False
    answers: dict[bytes, Answer] = {}
    _task: trio.lowlevel.Task | None = None

    def finish(self, error: BaseException | None = None) -> None:
        """Tell the one who waits; only the first call counts."""
        if self.finished:
            return
        self.finished = True
        self.error = error
        if self._task is not None:
            trio.lowlevel.reschedule(self._task)
            self._task = None

    async def wait(self) -> AbstractSet[bytes]:
        """Wait until it is finished; give `existing`, or raise `error`. One task at a time."""
        if self.finished:
            await trio.lowlevel.checkpoint()
        else:
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self.error is not None:
            raise self.error
        return self.existing

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        self.withdraw(self)
        return trio.lowlevel.Abort.SUCCEEDED


def without_repeats(inserts: list[Insert]) -> int:
    """Give how many of these, from the first one on, may be of one batch: no id is given by two of them.

    A store is told of ids only, so of two rows of one id in one batch nobody could say which was stored.
    """
    if sum([insert.may_conflict for insert in inserts]) < 2:
        return len(inserts)
    seen: set[bytes] = set()
    for number, insert in enumerate(inserts):
        if insert.may_conflict:
            ids = [record.id for record in insert.records]
            if not seen.isdisjoint(ids):
                return number
            seen.update(ids)
    return len(inserts)


class Batch(Generic[E]):
    """What one commit holds. It stays here while it is in doubt, also when the journal dies.

    Attributes:
        number: grows by one with every batch of the lane.
        in_doubt: a commit was begun and nothing is known of its end.
        attempts: of outcomes: each record's attempt as the commit writes it.
        fault: what the store had against one of its rows.
    """

    __slots__ = ("attempts", "entries", "fault", "in_doubt", "number", "rows")

    def __init__(self, number: int, entries: list[E], rows: int) -> None:
        self.number = number
        self.entries = entries
        self.rows = rows
        self.in_doubt = False
        self.attempts: list[int] = []
        self.fault: Exception | None = None


class LaneQueue(Generic[E]):
    """What waits for the journal in one lane.

    Args:
        rows_of: gives the rows of an entry.
        bytes_of: gives about how long it is.
        together: gives how many of these entries, from the first one on, may be of one batch; all if not said.
    """

    def __init__(
        self,
        rows_of: Callable[[E], int] = lambda _entry: 1,
        bytes_of: Callable[[E], int] = lambda _entry: 0,
        together: Callable[[list[E]], int] | None = None,
    ) -> None:
        self._rows_of = rows_of
        self._bytes_of = bytes_of
        self._together = together
        self.pending: list[E] = []
        self.pending_rows = 0
        self.batch: Batch[E] | None = None
        self._last_number = 0
        self._wake = trio.Event()
        self._room = trio.Event()
        self._closed = False

    def add(self, entry: E, rows: int) -> None:
        """Queue an entry for the next batch."""
        self.pending.append(entry)
        self.pending_rows += rows
        self._wake.set()

    def take(self, most: float = math.inf) -> Batch[E]:
        """Make what waits the batch in flight: all of it, or the first entries, of at most `most` rows in all.

        Nor is it longer than `MOST_BYTES`.
        """
        entries, rows = self.pending, self.pending_rows
        if rows > most:
            entries, rows = self._first(most)
        if sum(map(self._bytes_of, entries)) > MOST_BYTES:
            entries = self._short(entries)
            rows = sum(map(self._rows_of, entries))
        if self._together is not None and (number := self._together(entries)) < len(entries):
            entries = entries[:number]
            rows = sum(map(self._rows_of, entries))
        self.pending = self.pending[len(entries) :]
        self.pending_rows -= rows
        if not self.pending:
            self._wake = trio.Event()
        self._last_number += 1
        self.batch = Batch(self._last_number, entries, rows)
        return self.batch

    def _first(self, most: float) -> tuple[list[E], int]:
        """Give the first entry, and those after it that do not make it more than `most` rows."""
        rows = self._rows_of(self.pending[0])
        number = 1
        for entry in islice(self.pending, 1, None):
            more = self._rows_of(entry)
            if rows + more > most:
                break
            rows += more
            number += 1
        return self.pending[:number], rows

    def _short(self, entries: list[E]) -> list[E]:
        """Give the first of these, and those after it that do not make it longer than `MOST_BYTES`."""
        left = MOST_BYTES - self._bytes_of(entries[0])
        number = 1
        for entry in islice(entries, 1, None):
            left -= self._bytes_of(entry)
            if left < 0:
                break
            number += 1
        return entries[:number]

    def finished(self) -> None:
        """The batch in flight is committed or refused."""
        self.batch = None
        self.make_room()

    def make_room(self) -> None:
        """Let those who wait for room look again."""
        room, self._room = self._room, trio.Event()
        room.set()

    def close(self) -> None:
        """Let those who wait for room go: nothing is queued here any more."""
        self._closed = True
        self.make_room()

    def put_back(self, entries: list[E], rows: int) -> None:
        """Entries of a batch that was not committed go before everything that waits."""
        self.pending[:0] = entries
        self.pending_rows += rows
        self._wake.set()

    def remove(self, entry: E, rows: int) -> bool:
        """Take back an entry that is in no batch yet; tell whether it was."""
        try:
            self.pending.remove(entry)
        except ValueError:
            return False
        self.pending_rows -= rows
        if not self.pending:
            self._wake = trio.Event()
        self.make_room()
        return True

    def remove_all(self, unwanted: Callable[[E], bool]) -> list[E]:
        """Take back the entries that are in no batch yet and unwanted; give them."""
        gone = [entry for entry in self.pending if unwanted(entry)]
        if gone:
            self.pending = [entry for entry in self.pending if not unwanted(entry)]
            self.pending_rows -= sum(map(self._rows_of, gone))
            if not self.pending:
                self._wake = trio.Event()
            self.make_room()
        return gone

    @property
    def rows(self) -> int:
        """Rows that wait or are in flight."""
        return self.pending_rows + (self.batch.rows if self.batch is not None else 0)

    async def wait_pending(self) -> None:
        """Wait until there is something to commit."""
        while not self.pending:
            await self._wake.wait()

    async def wait_room(self, limit: int) -> None:
        """Wait until fewer than `limit` rows wait for a batch, or the lane is closed."""
        while self.pending_rows >= limit and not self._closed:
            await self._room.wait()
