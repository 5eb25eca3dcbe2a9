"""The border of a queue between this node's memory and the rows that nobody owns.

Memory holds at most `limit` jobs of a queue; what comes beyond is stored unowned and claimed back later. `key` is the
best place that an unowned row may have, as far as this node knows: of what it stored so itself that is exact, of what
others did as new as the last look. The producer starts nothing behind it before the claimer has been asked.

Jobs that a limit holds up fill memory without an end, and would keep out all that could start: rows of a worker that
has much of memory so are passed over until it has less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from kathikon_actors.jobs.keypath import partition_of
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import DUE_STATES
from kathikon_actors.store.protocol import Key, key_of

__all__ = ["Border", "border_of"]


class Border:
    """What memory holds of one queue, and what is known of the rows outside.

    Args:
        limit: jobs of the queue in memory, those on their way into the store included.
        fair: partitions take turns: what waits outside is not behind what is inside by its place, but by its partition.
        depth: inserts are refused above so many jobs, inside and outside.

    Attributes:
        partitions: of a fair queue: how many jobs each has in memory.
        coming: places kept for the rows of a claim that is on its way.
        outside: rows that nobody owns, as last seen; counted only where there is a `depth`.
        held: how many there are.
        ended: how many have left, for the claimer to see the pace.
        key: the best place of an unowned ready row, `None` when there is none.
        due: microseconds since 1970 when the first unowned row that waits for its time is due, `None` for none.
        asked: the producer waits for a claim.
        low: fewer ready jobs in memory than this call for a claim.
        cut_off: the store does not answer: what is in memory goes on meanwhile.
        passing: workers whose rows stay outside, since so many of their jobs wait here for a limit.
    """

    __slots__ = (
        "_ordinary",
        "_seen",
        "asked",
        "coming",
        "cut_off",
        "depth",
        "due",
        "ended",
        "fair",
        "held",
        "key",
        "limit",
        "low",
        "outside",
        "partitions",
        "passing",
        "wake",
    )

    def __init__(self, limit: int, *, fair: bool = False, depth: int | None = None) -> None:
        self.limit = limit
        self.fair = fair
        self.depth = depth
        self.partitions: Counter[str | None] = Counter()
        self.outside = 0
        self.held = 0
        self.coming = 0
        self.ended = 0
        self.key: Key | None = None
        self.due: int | None = None
        self.asked = False
        self.low = 1
        self.cut_off = False
        self.passing: frozenset[str] = frozenset()
        self.wake: Callable[[], None] = _nobody
        self._ordinary = limit - limit // 10
        self._seen: Key | None = None

    @property
    def room(self) -> int:
        """How many more jobs memory may hold."""
        return max(0, self.limit - self.taken)

    @property
    def taken(self) -> int:
        """How many places are not free."""
        return self.held + self.coming

    def spare(self, concurrency: int) -> int:
        """How many rows may be claimed though memory is full, while nothing of what is here runs.

        At `0` nothing comes in from outside until something here has ended.
        """
        return max(0, self.limit + max(self.limit // 10, concurrency) - self.taken)

    @property
    def claimable(self) -> int:
        """How many more rows may be claimed; a fair queue keeps the last tenth for partitions that have none here."""
        return max(0, self._ordinary - self.taken) if self.fair else self.room

    @contextmanager
    def expecting(self, rows: int) -> Iterator[None]:
        """Keep places for rows that are being claimed: what is inserted or rescued meanwhile does not take them."""
        self.coming += rows
        try:
            yield
        finally:
            self.coming -= rows

    def admits(self, record: Record) -> bool:
        """Whether a new job goes into memory.

        The last tenth is kept for claims and for jobs that are better than all that wait outside, or whose partition
        has none here; what is due later may fill half. What waits for other jobs has no place here: whoever ends those
        makes it ready.
        """
        if record.state != "available":
            return record.state != "blocked" and self.taken < self.limit // 2
        if self.fair and not self.partitions[partition_of(record)]:
            return self.taken < self.limit
        if self.key is None:
            return self.taken < self._ordinary
        if self.fair:
            return False
        return self.taken < self.limit and key_of(record) < self.key

    def full_with(self, queue: str, coming: Sequence[Record]) -> int | None:
        """Give how many jobs there are, those on their way here included, when no more are to be inserted."""
        if self.depth is None or self.held + self.outside + len(coming) < self.depth:
            return None
        depth = self.held + self.outside + sum(record.queue == queue for record in coming)
        return depth if depth >= self.depth else None

    def count(self, record: Record, number: int) -> None:
        """A job of a fair queue comes into memory (1) or leaves it (-1); `held` is the caller's."""
        partition = partition_of(record)
        self.partitions[partition] += number
        if not self.partitions[partition]:
            del self.partitions[partition]

    def left(self, record: Record) -> None:
        """A row was stored unowned."""
        self.outside += 1
        if record.worker in self.passing:
            return
        if record.state == "available":
            self.note(key_of(record))
        elif record.state in DUE_STATES:
            self.note_due(record.scheduled_at)

    def note(self, key: Key) -> None:
        """There is an unowned ready row at this place."""
        if self.key is None or key < self.key:
            self.key = key
            self.wake()
        if self._seen is None or key < self._seen:
            self._seen = key

    def note_due(self, due: int) -> None:
        """There is an unowned row that is due then."""
        if self.due is None or due < self.due:
            self.due = due
            self.wake()

    def pass_over(self, parked: Mapping[str, int]) -> bool:
        """Choose whose rows stay outside; tell whether that has changed, so that `key` and `due` are of no use.

        Args:
            parked: by worker: jobs in memory that wait for a limit.
        """
        if not parked and not self.passing:
            return False
        half, quarter = self.limit // 2, self.limit // 4
        # When memory is full, nothing of those comes in; the limits differ so that few changes make many looks.
        if self.held >= self.limit or (self.passing and self.held > self._ordinary):
            half = quarter = 1
        passing = frozenset(w for w, number in parked.items() if number >= (quarter if w in self.passing else half))
        changed, self.passing = passing != self.passing, passing
        return changed

    def ask(self) -> None:
        """The best job in memory may stand behind a row outside."""
        if not self.asked:
            self.asked = True
            self.wake()

    def begin_look(self) -> None:
        """A claim or a look begins: what is noted from here on it may not have seen."""
        self._seen = None

    def end_look(self, best: Key | None) -> None:
        """It has ended: nothing outside is better than `best`, but for what was noted meanwhile."""
        seen = self._seen
        self.key = best if seen is None or (best is not None and best < seen) else seen
        self.asked = False


def border_of(queue: Queue) -> Border:
    """Give the border of a queue as it is declared."""
    return Border(queue.memory_bound, fair=queue.fair, depth=queue.refuses_above)


def _nobody() -> None:
    """The claimer is being restarted; it looks at everything when it comes back."""
