"""The producer of a queue: holds the heap of ready jobs and gives them to worker processes that have room.

It holds nothing that the table does not hold: when it crashes, its supervisor starts it again and it builds the heap
anew, while the worker processes go on with what they have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import trio

from kathikon_actors import faults
from kathikon_actors.queue.fair import FairHeap
from kathikon_actors.queue.heap import Heap, PriorityHeap
from kathikon_actors.queue.limited import LimitedHeap
from kathikon_actors.queue.pool import alone_specs, worker_specs
from kathikon_actors.queue.runner import Kind
from kathikon_actors.store.table import MAX_PENDING_OUTCOMES

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record
    from kathikon_actors.processes.handle import Zygote
    from kathikon_actors.queue.crew import Crew
    from kathikon_actors.store.border import Border

__all__ = ["Producer"]

CHUNK = 256
"""Jobs given between two checkpoints, so that a long heap does not hold up the loop."""


class Producer:
    """Dispatches the jobs of one queue by priority and credit.

    Args:
        crew: the worker processes, and the pool that starts more of them.
        zygote: gives the fork server.
    """

    def __init__(self, crew: Crew, zygote: Callable[[], Zygote]) -> None:
        self._crew = crew
        self._zygote = zygote
        self._heaps: dict[Kind, Heap] = {"plain": self._heap(), "async": self._heap()}
        self._alone: dict[Kind, Heap] = {"plain": self._heap(), "async": self._heap()}
        self._wake = trio.Event()
        self._wanted: set[tuple[Kind, bool]] = set()

    def _heap(self) -> Heap:
        crew = self._crew
        order: Callable[[], Heap] = FairHeap if crew.queue.fair else PriorityHeap
        if crew.gatekeeper is None:
            return order()
        table = crew.table
        return LimitedHeap(order, crew.queue.name, crew.gatekeeper, table.records, self._wake_up, table.may_start)

    @property
    def ready(self) -> int:
        """Jobs in the heap, those that were cancelled there included."""
        return sum(map(len, self._every_heap()))

    @property
    def held_up(self) -> Counter[str]:
        """Those of them that a limit of their worker holds up, by worker."""
        found: Counter[str] = Counter()
        for heap in self._every_heap():
            if isinstance(heap, LimitedHeap) and heap.held_up:
                found.update(heap.held_up)
        return found

    def _every_heap(self) -> Iterable[Heap]:
        return *self._heaps.values(), *self._alone.values()

    async def run(self, *, task_status: trio.TaskStatus[Producer] = trio.TASK_STATUS_IGNORED) -> None:
        """Take over the queue's ready jobs and dispatch until cancelled."""
        crew, table = self._crew, self._crew.table
        crew.wake = self._wake_up
        try:
            async with trio.open_nursery() as nursery:
                self.push(table.attach_producer(crew.queue.name, self.push))
                crew.ready, crew.held_up = lambda: self.ready, lambda: self.held_up
                task_status.started(self)
                while True:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    if crew.draining or crew.paused:
                        continue
                    if crew.rescaled:
                        crew.rescaled = False
                        self._wanted.clear()
                    while table.outcomes.rows >= MAX_PENDING_OUTCOMES:
                        # The store is cut off and results pile up; what runs goes on, nothing more is started.
                        await trio.sleep(0.05)
                    if self._pump():
                        self._wake.set()
                    for wanted in self._missing():
                        nursery.start_soon(self._start_processes, *wanted)
        finally:
            crew.ready, crew.held_up = None, Counter
            for heap in self._every_heap():
                if isinstance(heap, LimitedHeap):
                    heap.close()
            table.detach_producer(crew.queue.name, self.push)

    def push(self, records: list[Record]) -> None:
        """Take available jobs; they are dispatched when the producer's task runs next."""
        kind_of, quarantine, announce = self._crew.kind_of, self._crew.quarantine, self._crew.announce
        if announce is not None:
            records = [record for record in records if not announce(record)]
        for record in records:
            heaps = self._alone if record.id in quarantine else self._heaps
            heaps[kind_of(record.worker)].push(record)
        self._wake.set()

    def _wake_up(self) -> None:
        self._wake.set()

    def _pump(self) -> bool:
        """Give jobs to whoever has room; tell whether there may be more to give at once."""
        crew = self._crew
        at, now, given = crew.clock(), crew.monotonic(), 0
        for kind in ("plain", "async"):
            given += self._spread(kind, alone=True, at=at, now=now)
            given += self._spread(kind, alone=False, at=at, now=now)
        border = crew.table.borders.get(crew.queue.name)
        if border is not None and border.key is not None and self.ready - self.held_up.total() < border.low:
            border.ask()
        return given >= CHUNK

    def _spread(self, kind: Kind, *, alone: bool, at: int, now: float) -> int:
        """Deal the best jobs out evenly, a few to each process in turn."""
        heap = (self._alone if alone else self._heaps)[kind]
        if not len(heap):
            return 0
        behind = False
        crew, given = self._crew, 0
        table = crew.table
        border = table.borders.get(crew.queue.name)
        outside = None if border is None or border.cut_off or border.fair else border.key
        open_to = [r for r in crew.runners if r.kind == kind and r.alone == alone and r.has_room()]
        free = crew.queue.concurrency - crew.running
        while open_to and given < CHUNK:
            share = max(1, min(len(heap) // len(open_to), 16))
            still_open = []
            for runner in open_to:
                for _ in range(share):
                    starts_one_more = kind == "async" or runner.busy == 0
                    if starts_one_more and free <= 0:
                        break
                    if outside is not None and border is not None:
                        best = heap.best()
                        if best is None or (best > outside and not self._is_crammed(border)):
                            # What waits outside comes first; the claimer wakes us when it is here.
                            behind = True
                            break
                    record = heap.pop()
                    if record is None:
                        break
                    if table.records.get(record.id) is not record:  # another node has it now
                        continue
                    if record.extra is not None and not table.may_start(record):
                        continue
                    if faults.armed:
                        faults.touch("producer.after_pop", **faults.about(record))
                    has_room = runner.give(record, at, now)
                    given += 1
                    free -= starts_one_more
                    if not has_room:
                        break
                else:
                    still_open.append(runner)
                if behind:
                    break
            if behind or not len(heap):
                break
            open_to = still_open
        for runner in crew.runners:
            runner.send()
        if behind and border is not None:
            border.ask()
        return given

    def _is_crammed(self, border: Border) -> bool:
        """Whether what waits outside cannot come in before something of what is here has ended."""
        return self._crew.stands_still and not border.spare(self._crew.queue.concurrency)

    # -- processes ----------------------------------------------------------------------------------------------

    def _missing(self) -> list[tuple[Kind, bool]]:
        """Kinds of process that jobs wait for and that were not asked for yet."""
        missing = []
        for alone, heaps in ((False, self._heaps), (True, self._alone)):
            for kind, heap in heaps.items():
                if len(heap) and (kind, alone) not in self._wanted:
                    self._wanted.add((kind, alone))
                    missing.append((kind, alone))
        return missing

    async def _start_processes(self, kind: Kind, alone: bool) -> None:
        crew = self._crew
        pool = crew.pool
        assert pool is not None, "the pool is started before its producer"
        running = {child.id for child in pool.which_children()}
        specs = (alone_specs if alone else worker_specs)(crew, self._zygote, kind)
        for spec in specs:
            if spec.id not in running:
                await pool.start_child(spec)
