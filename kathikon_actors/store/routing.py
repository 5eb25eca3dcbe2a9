"""How a record gets to whoever acts on its state next: the producer of its queue, or the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from kathikon_actors.jobs.record import Record
from kathikon_actors.jobs.states import DUE_STATES

__all__ = ["Routing"]


class Routing:
    """The part of a `Table` that its producers and its scheduler are attached to."""

    records: dict[bytes, Record]
    _producers: dict[str, Callable[[list[Record]], None]]
    _scheduler: Callable[[Record], None] | None

    def attach_producer(self, queue: str, push: Callable[[list[Record]], None]) -> list[Record]:
        """Send available records of `queue` to `push` from now on; give those that are here already."""
        self._producers[queue] = push
        return [record for record in self.records.values() if record.queue == queue and record.state == "available"]

    def detach_producer(self, queue: str, push: Callable[[list[Record]], None]) -> None:
        """Stop sending to `push`, unless another producer has taken its place."""
        if self._producers.get(queue) == push:
            del self._producers[queue]

    def attach_scheduler(self, push: Callable[[Record], None]) -> list[Record]:
        """Send records that are due later to `push` from now on; give those that are here already."""
        self._scheduler = push
        return [record for record in self.records.values() if record.state in DUE_STATES]

    def detach_scheduler(self, push: Callable[[Record], None]) -> None:
        """Stop sending to `push`, unless another scheduler has taken its place."""
        if self._scheduler == push:
            self._scheduler = None

    def route(self, records: Iterable[Record]) -> None:
        """Hand records to whoever acts on their state next."""
        by_queue: dict[str, list[Record]] = {}
        for record in records:
            if record.state == "available":
                by_queue.setdefault(record.queue, []).append(record)
            elif record.state in DUE_STATES and self._scheduler is not None:
                self._scheduler(record)
        for queue, group in by_queue.items():
            push = self._producers.get(queue)
            if push is not None:
                push(group)
