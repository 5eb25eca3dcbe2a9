"""The limits of one node's jobs: which gates a job must pass, who runs under them, what they want of the store.

They outlive producers and the task that speaks with the store, as the table outlives its users; they end with the
table, when the node joins anew and holds nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

from kathikon_actors.queue.gates import CircuitGate, Gate, RateGate, TokenGate
from kathikon_actors.telemetry.events import LimitDecision

if TYPE_CHECKING:
    from kathikon_actors.jobs.breaker import Breaker
    from kathikon_actors.jobs.keypath import KeyPath
    from kathikon_actors.jobs.limits import Limit, Rate
    from kathikon_actors.jobs.queue import Queue
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.jobs.worker import WorkerDefinition
    from kathikon_actors.queue.limited import LimitedHeap
    from kathikon_actors.telemetry.bus import Bus

__all__ = ["Family", "Gatekeeper"]

logger = logging.getLogger(__name__)

LINGER: Final = 1.0
"""Seconds that a node keeps what it does not use."""

BACKSTOP: Final = 1.0
"""Seconds between two looks at everything, for notices that were lost and nodes that died."""

SHORTEST: Final = 0.001
"""Seconds between two looks at one gate at the least."""


class Family:
    """One declared limit, and its gates by key.

    Args:
        name: in the store.
        path: what tells keys apart; `None` for one gate for all.
        make: makes the gate of a key.
        worker: whose limit it is; `None` for a queue's.
    """

    __slots__ = ("_make", "_path", "gates", "name", "worker")

    def __init__(
        self, name: str, path: KeyPath | None, make: Callable[[str, str, float], Gate], worker: str | None = None
    ) -> None:
        self.name = name
        self.worker = worker
        self._path = path
        self._make = make
        self.gates: dict[str, Gate] = {}

    def gate(self, record: Record, now: float) -> Gate:
        """Give the gate that a job must pass."""
        key = "" if self._path is None else self._path.read(record)
        gate = self.gates.get(key)
        if gate is None:
            gate = self.gates[key] = self._make(self.name, key, now)
            gate.worker = self.worker
        return gate


class Gatekeeper:
    """All limits of one node.

    Args:
        workers: of the app.
        clock: monotonic seconds.
        bus: what limits decide is told there.

    Attributes:
        valid_until: monotonic seconds: after that the node's lease may have ended, and others may have what it holds.
        wake: tells the task that speaks with the store that there is something to say.
        heaps: in which jobs are on their way to a gate.
    """

    def __init__(
        self,
        workers: Mapping[str, WorkerDefinition],
        clock: Callable[[], float] = time.monotonic,
        bus: Bus | None = None,
    ) -> None:
        self.clock = clock
        self.valid_until = float("inf")
        self.wake: Callable[[], None] = _nobody
        self.heaps: dict[LimitedHeap, None] = {}
        self._bus = bus
        self._queues: dict[str, tuple[Family, ...]] = {}
        self._workers = {name: families for name, worker in workers.items() if (families := _of_worker(worker))}
        self._rules: dict[tuple[str, str], tuple[Family, ...]] = {}
        self._running: dict[bytes, list[tuple[Gate, int]]] = {}
        self._wanting: dict[Gate, None] = {}
        self._timers: list[tuple[float, int, Gate]] = []
        self._timed: dict[Gate, float] = {}
        self._numbers = 0
        self._next_look = 0.0

    def concerns(self, queue: Queue) -> bool:
        """Tell whether any job of a queue may be limited; to be asked when a queue starts."""
        families = self._queues[queue.name] = _of_queue(queue)
        self._rules.clear()
        return bool(self._workers or families)

    def rules(self, queue: str, worker: str) -> tuple[Family, ...]:
        """Give the limits that a worker's jobs in a queue have to keep."""
        rules = self._rules.get((queue, worker))
        if rules is None:
            rules = self._rules[queue, worker] = (*self._workers.get(worker, ()), *self._queues.get(queue, ()))
        return rules

    # -- starts and ends ----------------------------------------------------------------------------------------

    def obstacle(self, record: Record, rules: Iterable[Family], now: float) -> Gate | None:
        """Give the first gate at which a job finds no room."""
        for family in rules:
            gate = family.gate(record, now)
            if gate.room(now) <= gate.starting:
                return gate
        return None

    def admit(self, record: Record, rules: Iterable[Family], now: float) -> Gate | None:
        """Count a job against its limits, if all have room for it; else give the gate at which it has to wait."""
        gates = []
        for family in rules:
            gate = family.gate(record, now)
            if gate.room(now) <= gate.starting:
                return gate
            gates.append(gate)
        runs = None
        for gate in gates:
            ticket = gate.take(now)
            if gate.wants:
                self._want(gate)
            if ticket:
                self._tell_circuit(gate, record.queue)
            if gate.counts_runs:
                if runs is None:
                    if record.id in self._running:  # it came back, and nobody told us of its end
                        self._end(record, now)
                    runs = self._running[record.id] = []
                runs.append((gate, ticket))
        return None

    def refused(self, gate: Gate, now: float) -> None:
        """A job waits at this gate from now on."""
        self._set_timer(gate, gate.refuse(now))
        if gate.wants:
            self._want(gate)

    def ended(self, records: Iterable[Record]) -> None:
        """Jobs that were admitted run no more, or never began."""
        running = self._running
        if not running:
            return
        now = self.clock()
        for record in records:
            if record.id in running:
                self._end(record, now)

    def _end(self, record: Record, now: float) -> None:
        for gate, ticket in self._running.pop(record.id, ()):
            gate.end(record, now, ticket=ticket)
            self._tell_circuit(gate, record.queue)
            if gate.wants:
                self._want(gate)

    def tell(self, gate: Gate, queue: str, decision: str, jobs: int = 1, seconds: float | None = None) -> None:
        """Tell what a gate decided about jobs of a queue."""
        if self._bus is not None and self._bus.wants(LimitDecision):
            self._bus.emit(
                LimitDecision(
                    queue=queue,
                    limit=gate.kind,
                    decision=decision,
                    worker=gate.worker,
                    key=gate.key or None,
                    jobs=jobs,
                    seconds=seconds,
                )
            )

    def _tell_circuit(self, gate: Gate, queue: str) -> None:
        if isinstance(gate, CircuitGate) and gate.told != gate.circuit.state:
            gate.told = state = gate.circuit.state
            logger.info("the circuit breaker of %s is %s", gate.name, state)
            words = {"open": "opened", "half open": "half_open", "closed": "closed"}
            self.tell(gate, queue, words[state], 0, gate.circuit.rest if state == "open" else None)

    # -- the store ----------------------------------------------------------------------------------------------

    def wanting(self) -> list[Gate]:
        """Give the gates that have something to ask the store, and count them as asked."""
        wanting, self._wanting = self._wanting, {}
        for gate in wanting:
            gate.wants = False
        return list(wanting)

    def ask_again(self, gates: Iterable[Gate]) -> None:
        """These were not answered."""
        for gate in gates:
            self._want(gate)

    def ask_all(self) -> None:
        """Ask for everything that is held or waited for: an answer may have been lost."""
        for gate in self._gates():
            if gate.heaps or (isinstance(gate, TokenGate) and gate.registered):
                self._want(gate)

    def nudged(self, concerns: Callable[[str, str], bool]) -> None:
        """Other nodes have done something to limits of ours.

        Args:
            concerns: tells of a name and a key whether it is one of them.
        """
        for gate in self._gates():
            if isinstance(gate, TokenGate) and (gate.registered or gate.heaps) and concerns(gate.name, gate.key):
                self._want(gate)

    def answered(self, gate: Gate, now: float) -> None:
        """What the store gave a gate is in it: look again when its time has come."""
        if gate.heaps:
            self._set_timer(gate, gate.due(now))
            if gate.wants:
                self._want(gate)

    def tick(self, now: float) -> float:
        """Open what has its time, look at everything now and then; give when to come again."""
        while self._timers and self._timers[0][0] <= now:
            at, _, gate = heappop(self._timers)
            if self._timed.get(gate) == at:
                del self._timed[gate]
                again = gate.due(now)
                self._set_timer(gate, None if again is None else max(again, now + SHORTEST))
                if gate.wants:
                    self._want(gate)
        if now >= self._next_look:
            number = self._look(now)
            self._next_look = now + BACKSTOP * max(1.0, number / 1000)
        return min(self._next_look, self._timers[0][0]) if self._timers else self._next_look

    def _look(self, now: float) -> int:
        number = 0
        gave_way = {(gate, heap) for heap in self.heaps for gate in heap.audit(now)}
        for family in {*(f for rules in self._workers.values() for f in rules), *self._flat_queues()}:
            for gate in list(family.gates.values()):
                number += 1
                if gate.heaps:
                    if gate.room(now) > 0:
                        gate.open(besides=[heap for heap in gate.heaps if (gate, heap) in gave_way] if gave_way else ())
                    self.refused(gate, now)
                if isinstance(gate, TokenGate) and (gate.registered or gate.heaps):
                    self._want(gate)
                elif gate.idle and now - gate.touched > LINGER and gate not in self._wanting:
                    if isinstance(gate, RateGate) and gate.room(now) + gate.left:
                        continue
                    if not isinstance(gate, CircuitGate):
                        del family.gates[gate.key]
        return number

    def _gates(self) -> list[Gate]:
        families = [*(family for rules in self._workers.values() for family in rules), *self._flat_queues()]
        return [gate for family in families for gate in family.gates.values()]

    def _flat_queues(self) -> list[Family]:
        return [family for rules in self._queues.values() for family in rules]

    def _want(self, gate: Gate) -> None:
        gate.wants = True
        if gate not in self._wanting and not isinstance(gate, CircuitGate):
            self._wanting[gate] = None
            self.wake()

    def _set_timer(self, gate: Gate, at: float | None) -> None:
        if at is None:
            return
        known = self._timed.get(gate)
        if known is None or at < known:
            self._timed[gate] = at
            self._numbers += 1
            heappush(self._timers, (at, self._numbers, gate))
            if self._timers[0][2] is gate:
                self.wake()


def _of_worker(worker: WorkerDefinition) -> tuple[Family, ...]:
    families = []
    if worker.breaker is not None:
        families.append(_circuit(f"worker {worker.name}", worker.breaker))
    if worker.concurrency is not None:
        families.append(_concurrency(f"worker {worker.name}", worker.concurrency))
    if worker.rate_limit is not None:
        families.append(_rate(f"worker {worker.name} rate", worker.rate_limit))
    for family in families:
        family.worker = worker.name
    return tuple(families)


def _of_queue(queue: Queue) -> tuple[Family, ...]:
    return () if queue.rate_limit is None else (_rate(f"queue {queue.name} rate", queue.rate_limit),)


def _circuit(name: str, breaker: Breaker) -> Family:
    return Family(name, None, lambda name, _key, now: CircuitGate(name, now, breaker))


def _concurrency(name: str, limit: Limit) -> Family:
    return Family(name, limit.path, lambda name, key, now: TokenGate(name, key, now, limit.n))


def _rate(name: str, rate: Rate) -> Family:
    return Family(name, rate.path, lambda name, key, now: RateGate(name, key, now, rate.pacing))


def _nobody() -> None:
    """The task that speaks with the store is being restarted; it asks for everything when it comes back."""
