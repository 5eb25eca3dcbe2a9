"""What a node has done lately: jobs that ended, counted once that is committed, how long they took, and failures."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from kathikon_actors.jobs.durations import slot_of
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.store.figures import Cell, LastError

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.node.state import NodeState

__all__ = ["BUCKET", "WINDOW", "Figures"]

logger = logging.getLogger(__name__)

BUCKET: Final = 10.0
"""Seconds that are counted as one."""

WINDOW: Final = 300.0
"""Seconds that a node looks back from memory."""

SAMPLE: Final = 64
"""Jobs of one commit whose durations are noted: all of a small one, the first of a large one."""

_MESSAGE: Final = 500

Cells = dict[tuple[str, str], Cell]


class Figures:
    """Counts the jobs whose end the journal has committed, and the attempts that failed.

    Attributes:
        totals: of each queue and worker since the node was opened.
        errors: the newest failed attempt of each worker.
    """

    def __init__(self) -> None:
        self.totals: Cells = {}
        self.errors: dict[str, LastError] = {}
        self._buckets: deque[tuple[int, Cells]] = deque()
        self._current: Cells = {}
        self._since = _now()
        self._new_errors: dict[str, Record] = {}
        self._unkept: dict[str, LastError] = {}

    def failed(self, records: Sequence[Record]) -> None:
        """Count attempts that failed and are tried again."""
        for record in records:
            self._cell(record).failed += 1
            self._new_errors[record.worker] = record

    def _cell(self, record: Record) -> Cell:
        key = (record.queue, record.worker)
        cell = self._current.get(key)
        if cell is None:
            cell = self._current[key] = Cell()
        return cell

    def ended(self, records: Sequence[Record]) -> None:
        """Count jobs that ended; called once a commit."""
        for number, record in enumerate(records):
            cell = self._cell(record)
            match record.state:
                case "completed":
                    cell.completed += 1
                case "cancelled":
                    cell.cancelled += 1
                case _:
                    cell.discarded += 1
            if record.errors and record.state != "completed":
                self._new_errors[record.worker] = record
            if number < SAMPLE and record.attempted_at is not None and record.finished_at is not None:
                cell.waits[slot_of(record.attempted_at - record.scheduled_at)] += 1
                cell.runs[slot_of(record.finished_at - record.attempted_at)] += 1

    def window(self, seconds: float = WINDOW) -> tuple[Cells, float]:
        """Give the sums of the last seconds, and how many seconds that are."""
        now = _now()
        since = now - int(seconds * 1e6)
        found: Cells = {}
        first = self._since
        for at, cells in [*self._buckets, (self._since, self._current)]:
            if at >= since:
                first = min(first, at)
                for key, cell in cells.items():
                    found.setdefault(key, Cell()).add(cell)
        return found, max((now - first) / 1e6, 1.0)

    def take_errors(self) -> dict[str, LastError]:
        """Give the errors that came since the last call, decoded."""
        fresh, self._new_errors = self._new_errors, {}
        found = self._unkept
        self._unkept = {}
        for worker, record in fresh.items():
            try:
                last = msgspec.json.decode(b"[" + record.errors + b"]")[-1]
            except msgspec.DecodeError:
                continue
            message = str(last.get("message", "")).partition("\n")[0][:_MESSAGE]
            found[worker] = LastError(int(last["at"]), as_uuid(record.id), str(last["kind"]), message)
        self.errors.update(found)
        return found

    def note_errors(self) -> None:
        """Have `errors` hold what came until now; it is still to be kept in the store."""
        self._unkept = self.take_errors()

    async def run(self, state: NodeState, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep what was counted in the store, every few seconds, until cancelled."""
        task_status.started()
        while True:
            await trio.sleep(BUCKET)
            at, cells = self._turn()
            errors = self.take_errors()
            try:
                if cells:
                    await state.store.put_figures(state.the_membership(), at, cells)
                if errors:
                    await state.store.put_errors(errors)
            except StoreUnavailable as error:
                logger.info("figures of %g s are not kept: %s", BUCKET, error)

    def _turn(self) -> tuple[int, Cells]:
        at, cells = self._since, self._current
        self._buckets.append((at, cells))
        self._since, self._current = _now(), {}
        oldest = self._since - int(WINDOW * 1e6)
        while self._buckets and self._buckets[0][0] < oldest:
            self._buckets.popleft()
        for key, cell in cells.items():
            self.totals.setdefault(key, Cell()).add(cell)
        return at, cells

    def all_time(self) -> Cells:
        """Give the sums since the node was opened."""
        found = {key: Cell() for key in (*self.totals, *self._current)}
        for part in (self.totals, self._current):
            for key, cell in part.items():
                found[key].add(cell)
        return found


def _now() -> int:
    return time.time_ns() // 1000
