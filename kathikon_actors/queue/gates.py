"""What lets a job start or makes it wait: one gate for each limit and key, as one node sees it.

A gate knows how many jobs may pass now (`room`). Jobs that find none wait in the heaps of their producers; the gate
opens them when there is room again. Times are seconds of the monotonic clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Container
from typing import TYPE_CHECKING, ClassVar, Final

from kathikon_actors.jobs import json
from kathikon_actors.jobs.breaker import Breaker, Circuit, CircuitState
from kathikon_actors.jobs.gcra import NS, Pacing, Slots

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.queue.limited import LimitedHeap

__all__ = ["AHEAD", "HORIZON", "VALID", "CircuitGate", "Gate", "RateGate", "TokenGate"]

AHEAD: Final = 512
"""Tokens that a node asks for beyond those in use at the most: what its processes may be given ahead."""

HORIZON: Final = 0.25
"""Seconds: slots of a rate are reserved so far ahead."""

VALID: Final = 0.25
"""Seconds after its time in which a slot is used or lost: a start is never later than that against its slot."""

MOST_SLOTS: Final = 10_000
"""Slots of one request."""

_ENDLESS: Final = 1 << 30


class Gate(ABC):
    """One limit for one key.

    Attributes:
        name: of the limit, in the store.
        worker: whose limit it is; `None` for a queue's.
        kind: `concurrency`, `rate` or `breaker`.
        key: empty when the limit is one for all jobs.
        heaps: producers' heaps in which jobs wait for it.
        woken: jobs that were sent back to their heap because there is room, and that have not come here since.
        starting: jobs that found room, and whose start is committed before they take it.
        wants: it has something to ask the store.
        touched: when it last let a job pass, or was last given something.
        counts_runs: it is told when a run ends.
    """

    counts_runs: ClassVar[bool] = True

    kind: ClassVar[str] = ""

    __slots__ = ("heaps", "key", "name", "starting", "touched", "wants", "woken", "worker")

    def __init__(self, name: str, key: str, now: float) -> None:
        self.name = name
        self.key = key
        self.worker: str | None = None
        self.heaps: dict[LimitedHeap, None] = {}
        self.woken = 0
        self.starting = 0
        self.wants = False
        self.touched = now

    @property
    def waiting(self) -> int:
        """Jobs that wait for it."""
        return sum(heap.parked(self) for heap in self.heaps) + self.woken + self.starting

    @property
    def idle(self) -> bool:
        """Whether nothing runs under it and nothing waits."""
        return not (self.heaps or self.woken or self.starting)

    @abstractmethod
    def room(self, now: float) -> int:
        """Give how many jobs may start."""

    @abstractmethod
    def take(self, now: float) -> int:
        """A job starts, within the room there is; what is given is handed to `end`."""

    def end(self, record: Record, now: float, *, ticket: int) -> None:  # noqa: B027 most have nothing to do
        """The run of a job has ended, or never began."""

    @abstractmethod
    def refuse(self, now: float) -> float | None:
        """A job found no room: want more of the store; give the time when there will be some, if that is known."""

    def due(self, now: float) -> float | None:
        """Its time has come: open if there is room; give when to look again."""
        if self.heaps and self.room(now) > 0:
            self.open()
        return None

    def open(self, besides: Container[LimitedHeap] = ()) -> None:
        """There is room: let those who wait look."""
        for heap in self.heaps:
            if heap not in besides:
                heap.opened(self)


class TokenGate(Gate):
    """A limit of concurrency: as many jobs as this node holds tokens.

    Attributes:
        capacity: of the limit, on all nodes.
        held: tokens that this node has.
        share: those that it may go on using: fewer when other nodes wait. What it has just got it may use once in any
            case: else a token that everybody waits for would go round without being used.
        used: by runs.
        registered: the store knows that this node wants some: it may be given tokens at any time.
    """

    kind = "concurrency"

    __slots__ = ("_fresh", "_known", "capacity", "held", "registered", "share", "used")

    def __init__(self, name: str, key: str, now: float, capacity: int) -> None:
        super().__init__(name, key, now)
        self.capacity = capacity
        self.held = 0
        self.share = 0
        self.used = 0
        self.registered = False
        self._known = 0
        self._fresh = 0

    @property
    def idle(self) -> bool:
        """See `Gate`."""
        return not (self.used or self.registered) and super().idle

    def room(self, now: float) -> int:  # noqa: ARG002 other gates need it
        """See `Gate`."""
        return min(self.held, max(self.share, self.used + self._fresh)) - self.used

    def take(self, now: float) -> int:
        """See `Gate`."""
        self.used += 1
        self._fresh = max(0, self._fresh - 1)
        self.touched = now
        if self.held < self.capacity and self.held - self.used <= self.used // 4:
            self.wants = True
        return 0

    def end(self, record: Record, now: float, *, ticket: int) -> None:  # noqa: ARG002 other gates need it
        """See `Gate`."""
        self.used -= 1
        if self.held > self.share:
            self.wants = True  # others wait for it
        if self.heaps and self.room(now) > 0:
            self.open()

    def refuse(self, now: float) -> float | None:  # noqa: ARG002 other gates need it
        """See `Gate`."""
        if self.held < self.capacity:
            self.wants = True
        return None

    def bid(self) -> tuple[int, int, int]:
        """Give what this node knows of, keeps and wants; what it does not keep is not used from now on."""
        waiting = self.waiting
        wanted = min(self.capacity, self.used + min(max(waiting, self.used), AHEAD))
        self.held = max(self.used, min(self.held, max(self.share, self.used + self._fresh), wanted))
        self._fresh = min(self._fresh, self.held - self.used)
        wanted = max(wanted, self.held)
        self.registered = self.registered or wanted > 0
        return self._known, self.held, wanted

    def granted(self, held: int, share: int, wanted: int, now: float) -> None:
        """The store has answered a bid for `wanted` tokens."""
        self._fresh += max(0, held - self.held)
        self.held = self._known = held
        self.registered = held > 0 or wanted > 0
        self.share = share
        if self.heaps and self.room(now) > 0:
            self.open()


class RateGate(Gate):
    """A limit of the rate: as many jobs as this node has reserved slots whose time has come.

    Attributes:
        pacing: of the limit.
        again: when to ask for more, when the last answer gave less than was wanted.
    """

    counts_runs = False
    kind = "rate"

    __slots__ = ("_asked", "_hungry", "_taken", "again", "batches", "pacing")

    def __init__(self, name: str, key: str, now: float, pacing: Pacing) -> None:
        super().__init__(name, key, now)
        self.pacing = pacing
        self.again = 0.0
        self.batches: deque[_Batch] = deque()
        self._hungry = False
        self._taken = 0
        self._asked = 0

    @property
    def idle(self) -> bool:
        """See `Gate`."""
        return not self.batches and super().idle

    def room(self, now: float) -> int:
        """See `Gate`."""
        batches = self.batches
        if batches and batches[0].all_good(now):
            return batches[0].count
        at, room = int(now * NS), 0
        while batches:
            if batches[0].expire(at):
                # Those on their way could not use them: they ask again when they come here. Else nobody would.
                self._hungry = not (self.woken or self.starting)
            if batches[0].count:
                break
            batches.popleft()
        for batch in batches:
            ready = batch.ready(at)
            room += ready
            if ready < batch.count:
                break
        return room

    def take(self, now: float) -> int:
        """See `Gate`."""
        batch = self.batches[0]
        batch.first += batch.interval
        batch.count -= 1
        self._taken += 1
        self.touched = now
        if not batch.count:
            self.batches.popleft()
        if self._hungry and self.left * 2 < self._asked:
            self.wants = True
        return 0

    def refuse(self, now: float) -> float | None:
        """See `Gate`."""
        self._hungry = True
        return self.due(now)

    def due(self, now: float) -> float | None:
        """See `Gate`."""
        if self.heaps and self.room(now) > 0:
            self.open()
        if self._hungry and now >= self.again and self.left < self.waiting:
            self.wants = True
        return self.next_time(now)

    @property
    def left(self) -> int:
        """Slots that are reserved and not used, those of the next moments included."""
        return sum(batch.count for batch in self.batches)

    def next_time(self, now: float) -> float | None:
        """Give when the next slot begins, or when to look or ask again; `None` when nothing waits."""
        if not (self.heaps or self.woken or self.starting):
            return None
        for batch in self.batches:
            ready = batch.ready(int(now * NS))
            if ready < batch.count:
                return (batch.first + ready * batch.interval) / NS + 1e-6
        if self.batches:
            return now + VALID  # all have begun: they may be lost by then
        return self.again if self.again > now else None

    def bid(self) -> int:
        """Give how many slots this node wants."""
        wanted = max(self.waiting - self.left, min(2 * self._taken, MOST_SLOTS) - self.left, 0)
        self._taken = 0
        return min(wanted, MOST_SLOTS)

    def granted(self, slots: Slots, wanted: int, begin: float, end: float, now: float) -> None:
        """The store has answered a bid.

        Args:
            slots: with times of the store's clock, counted from the moment of the answer.
            wanted: what was asked for.
            begin: monotonic seconds when the request was sent, the earliest that the store's moment may have been.
            end: when its answer came, the latest: a slot is used no earlier than that allows.
            now: monotonic seconds.
        """
        self._asked = slots.count
        late, early = int(end * NS), int(begin * NS)
        if slots.count:
            self.touched = now
            unsure = min(late - early, int(VALID * NS) // 2)
            self.batches.append(_Batch(late + slots.first, slots.count, self.pacing.interval, unsure, late))
        if slots.count < wanted:
            self.again = end + (slots.tat - self.pacing.tolerance) / NS - HORIZON / 2
        else:
            self.again = 0.0
        if self.heaps and self.room(now) > 0:
            self.open()


class _Batch:
    """Slots that were reserved together: number `i` begins at `first + i * interval`, no earlier than at `floor`.

    Each is good for `VALID` seconds by the store's clock, which is `unsure` behind ours at the most.
    """

    __slots__ = ("_from", "_until", "count", "first", "floor", "interval", "unsure")

    def __init__(self, first: int, count: int, interval: int, unsure: int, floor: int) -> None:
        self.first = first
        self.count = count
        self.interval = interval
        self.unsure = unsure
        self.floor = floor
        self._from = (first + (count - 1) * interval) / NS + 1e-6
        self._until = floor / NS + VALID / 2

    def all_good(self, now: float) -> bool:
        """Tell quickly whether every slot has begun and none is over."""
        return self._from <= now < self._until

    def expire(self, at: int) -> bool:
        """Drop those whose time is over; tell whether there were any."""
        latest = at - int(VALID * NS) + self.unsure
        if latest <= self.floor or latest <= self.first:
            return False
        gone = min(self.count, (latest - self.first - 1) // self.interval + 1)
        self.first += gone * self.interval
        self.count -= gone
        return gone > 0

    def ready(self, at: int) -> int:
        """Give how many have begun."""
        return min(self.count, (at - self.first) // self.interval + 1) if at >= self.first else 0


class CircuitGate(Gate):
    """The circuit breaker of a worker.

    Attributes:
        told: its state as it was last told.
    """

    kind = "breaker"

    __slots__ = ("circuit", "told")

    def __init__(self, name: str, now: float, declared: Breaker) -> None:
        super().__init__(name, "", now)
        self.circuit = Circuit(declared)
        self.told: CircuitState = "closed"

    def room(self, now: float) -> int:
        """See `Gate`."""
        room = self.circuit.room(now)
        return _ENDLESS if room is None else room

    def take(self, now: float) -> int:  # noqa: ARG002 other gates need it
        """See `Gate`."""
        return self.circuit.start()

    def end(self, record: Record, now: float, *, ticket: int) -> None:
        """See `Gate`."""
        self.circuit.end(_outcome(record), now, probe=ticket)
        if self.heaps and self.room(now) > 0:
            self.open()

    def refuse(self, now: float) -> float | None:  # noqa: ARG002 other gates need it
        """See `Gate`."""
        return self.circuit.opens_at if self.circuit.state == "open" else None


def _outcome(record: Record) -> bool | None:
    """Tell what a run says of its worker: an attempt that failed, one that completed, or nothing."""
    if record.state in ("completed", "waiting"):  # the latter for its children: it has returned
        return True
    if record.state == "retryable":
        return False
    return False if record.state == "discarded" and _has_failed(record) else None


def _has_failed(record: Record) -> bool:
    """Tell whether it ended by a failure: an operator leaves no error, and `Discard` is none."""
    errors = json.decode(b"[" + record.errors + b"]")
    return bool(errors) and errors[-1]["at"] == record.finished_at and errors[-1]["kind"] != "discard"
