"""The ready jobs of a queue some of whose jobs are limited: those that must wait stand aside until there is room.

A heap around another one. A job that finds no room at one of its gates is parked there, out of everybody's way; when
the gate opens, as many as may start go back into their order, the best first. Nothing is looked at twice without a
reason: a job is parked when its turn comes, and woken when there is room for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from kathikon_actors.queue.heap import Heap
from kathikon_actors.store.protocol import Key, key_of

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.queue.gatekeeper import Family, Gatekeeper
    from kathikon_actors.queue.gates import Gate

__all__ = ["LimitedHeap"]

AT_ONCE: Final = 512
"""Jobs that one look parks at the most, so that a long line of them does not hold up the loop."""


PATIENCE: Final = 0.5
"""Seconds that a woken job may take to its turn; then what waits elsewhere for the same room is asked first."""


class _Woken(NamedTuple):
    """A job that was sent back into its order because its gate had room, and since when it is there."""

    gate: Gate
    record: Record
    since: float


class LimitedHeap:
    """Ready jobs that may start now, best first; `len` counts those that wait, too.

    Args:
        order: makes a heap in the queue's order: one for those that may start, one for those that wait at each gate.
        queue: whose jobs they are.
        gatekeeper: of the node.
        records: the node's jobs: one that is not there any more is passed over.
        wake: lets the producer look again.
        may_start: tells of a job whose turn it is whether its start is committed; else that is done, and the job comes
            again. Until then the room it found is kept for it.

    Attributes:
        held_up: by worker: how many jobs wait at its own gates, those that were cancelled there included.
    """

    def __init__(
        self,
        order: Callable[[], Heap],
        queue: str,
        gatekeeper: Gatekeeper,
        records: Mapping[bytes, Record],
        wake: Callable[[], None],
        may_start: Callable[[Record], bool] = lambda _record: True,
    ) -> None:
        self._order = order
        self._base = order()
        self._queue = queue
        self._gatekeeper = gatekeeper
        self._records = records
        self._wake = wake
        self._may_start = may_start
        self._starting: dict[bytes, tuple[Record, list[Gate]]] = {}
        self._parked: dict[Gate, Heap] = {}
        self._woken: dict[bytes, _Woken] = {}
        # Parked again while they were on their way: what is left of them in the order is passed over.
        self._strays: dict[bytes, Record] = {}
        self._opened: dict[Gate, None] = {}
        self.held_up: Counter[str] = Counter()

    def push(self, record: Record) -> None:
        """Add an available job."""
        if self._strays:
            self._strays.pop(record.id, None)
        self._base.push(record)

    def pop(self) -> Record | None:
        """Take the best job that may start; it is counted against its limits from now on."""
        keeper, base, records = self._gatekeeper, self._base, self._records
        now = keeper.clock()
        if now >= keeper.valid_until:
            return None
        for _ in range(AT_ONCE):
            if self._opened:
                self._unpark(now)
            record = base.pop()
            if record is None:
                if not self._woken:
                    return None
                self._forget_woken()
                continue
            if self._strays and self._strays.pop(record.id, None) is record:
                continue
            came_from = self._woken.pop(record.id, None) if self._woken else None
            if came_from is not None:
                came_from.gate.woken -= 1
            if records.get(record.id) is not record:  # another node has it now
                continue
            rules = keeper.rules(self._queue, record.worker)
            gate = None
            if record.extra is not None and record.extra.guarded is not None:
                if self._starting:
                    self._end_start(record)
                gate = keeper.obstacle(record, rules, now)
                if gate is None and not self._may_start(record):
                    self._keep_room(record, [family.gate(record, now) for family in rules])
                    continue
            if gate is None and rules:
                gate = keeper.admit(record, rules, now)
            if gate is None:
                if self._woken and rules:
                    self._make_up(record, rules, now)
                return record
            self._park(record, gate, now)
            if came_from is not None and came_from.gate is not gate:
                came_from.gate.open()  # its room is for another one
        self._wake()
        return None

    def first(self) -> Record | None:
        """Give the job that `pop` would take."""
        keeper, base = self._gatekeeper, self._base
        now = keeper.clock()
        if now >= keeper.valid_until:
            return None
        for _ in range(AT_ONCE):
            if self._opened:
                self._unpark(now)
            record = base.first()
            if record is None:
                if not self._woken:
                    return None
                self._forget_woken()
                continue
            if self._strays and self._strays.get(record.id) is record:
                base.pop()
                self._strays.pop(record.id, None)
                continue
            gate = None
            if self._records.get(record.id) is record:
                if self._starting:
                    self._end_start(record)
                gate = keeper.obstacle(record, keeper.rules(self._queue, record.worker), now)
                if gate is None:
                    return record
            base.pop()
            came_from = self._woken.pop(record.id, None)
            if came_from is not None:
                came_from.gate.woken -= 1
                came_from.gate.open()
            if gate is not None:
                self._park(record, gate, now)
        self._wake()
        return None

    def best(self) -> Key | None:
        """Give the place of the job that `pop` would take, or `None`."""
        record = self.first()
        return None if record is None else key_of(record)

    def __len__(self) -> int:
        return len(self._base) + sum(map(len, self._parked.values())) if self._parked else len(self._base)

    def opened(self, gate: Gate) -> None:
        """A gate may have room for those that wait for it here."""
        if gate in self._parked:
            self._opened[gate] = None
            self._wake()

    def parked(self, gate: Gate) -> int:
        """Give how many jobs wait for a gate."""
        parked = self._parked.get(gate)
        return 0 if parked is None else len(parked)

    def audit(self, now: float) -> set[Gate]:
        """Forget jobs on their way that will not come: cancelled, or another node's by now. Others have their room.

        Those whose turn does not come wait again when others wait elsewhere for their room: gives at which gates.
        """
        gave_way = set()
        for woken in list(self._woken.values()):
            gate = woken.gate
            if self._is_gone(woken.record):
                del self._woken[woken.record.id]
                gate.woken -= 1
                gate.open()
            elif now - woken.since >= PATIENCE and any(heap is not self for heap in gate.heaps):
                self._park_again(woken)
                gave_way.add(gate)
        for record in [record for record in self._strays.values() if self._is_gone(record)]:
            del self._strays[record.id]
        for record in [record for record, _ in self._starting.values()]:
            is_back = record.extra is not None and record.extra.begun == 2  # and its turn has not come since
            for gate in self._end_start(record) if is_back or self._is_gone(record) else ():
                gate.open()
        return gave_way

    def _is_gone(self, record: Record) -> bool:
        return record.state != "available" or self._records.get(record.id) is not record

    def _keep_room(self, record: Record, gates: list[Gate]) -> None:
        """Its start is being committed: what it found is not for others meanwhile."""
        if gates:
            self._starting[record.id] = record, gates
            self._gatekeeper.heaps[self] = None
            for gate in gates:
                gate.starting += 1

    def _end_start(self, record: Record) -> list[Gate]:
        """It is here again, or gone."""
        _, gates = self._starting.pop(record.id, (None, []))
        for gate in gates:
            gate.starting -= 1
        return gates

    def _make_up(self, record: Record, rules: Iterable[Family], now: float) -> None:
        """It has taken the room for which others were woken: one of them less is on its way."""
        for family in rules:
            gate = family.gate(record, now)
            if gate.woken > max(gate.room(now) - gate.starting, 0):
                for woken in reversed(self._woken.values()):  # the least is the last
                    if woken.gate is gate:
                        self._park_again(woken)
                        break

    def _park_again(self, woken: _Woken) -> None:
        record, gate = woken.record, woken.gate
        del self._woken[record.id]
        gate.woken -= 1
        self._strays[record.id] = record
        self._set_aside(record, gate)
        self._gatekeeper.tell(gate, self._queue, "held")

    def close(self) -> None:
        """The producer ends: nothing waits here any more."""
        self._gatekeeper.heaps.pop(self, None)
        for woken in self._woken.values():
            woken.gate.woken -= 1
        for record, _ in list(self._starting.values()):
            self._end_start(record)
        for gate in self._parked:
            gate.heaps.pop(self, None)
        self._woken.clear()
        self._strays.clear()
        self._parked.clear()
        self.held_up.clear()
        self._opened.clear()

    def _unpark(self, now: float) -> None:
        """Send back as many as there is room for."""
        opened, self._opened = self._opened, {}
        for gate in opened:
            parked = self._parked.get(gate)
            if parked is None:
                continue
            released, before = 0, len(parked)
            for _ in range(min(gate.room(now) - gate.woken - gate.starting, AT_ONCE)):
                record = parked.pop()
                if record is None:
                    break
                if self._records.get(record.id) is record and record.id not in self._woken:
                    self._woken[record.id] = _Woken(gate, record, now)
                    gate.woken += 1
                    released += 1
                    if self._strays.pop(record.id, None) is not record:
                        self._base.push(record)
            self._count(gate, len(parked) - before)
            if released:
                self._gatekeeper.heaps[self] = None
                self._gatekeeper.tell(gate, self._queue, "released", released)
            if not len(parked):
                del self._parked[gate]
                del gate.heaps[self]
            elif gate.room(now) > gate.woken + gate.starting:
                self._opened[gate] = None

    def _count(self, gate: Gate, number: int) -> None:
        if gate.worker is not None:
            self.held_up[gate.worker] += number
            if not self.held_up[gate.worker]:
                del self.held_up[gate.worker]

    def _forget_woken(self) -> None:
        """All that were woken have come, or never will."""
        woken, self._woken = self._woken, {}
        for gate, _, _ in woken.values():
            gate.woken -= 1
            gate.open()

    def _park(self, record: Record, gate: Gate, now: float) -> None:
        self._set_aside(record, gate)
        self._gatekeeper.refused(gate, now)
        self._gatekeeper.tell(gate, self._queue, "held")

    def _set_aside(self, record: Record, gate: Gate) -> None:
        parked = self._parked.get(gate)
        if parked is None:
            parked = self._parked[gate] = self._order()
            gate.heaps[self] = None
        parked.push(record)
        self._count(gate, 1)
