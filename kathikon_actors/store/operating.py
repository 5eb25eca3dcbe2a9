"""The part of the Postgres store that operators use; what each does is written where its function is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kathikon_actors.store import commanding, declaring, queue_rows, retaining
from kathikon_actors.store import figures as kept

if TYPE_CHECKING:
    from kathikon_actors.jobs.actions import Change
    from kathikon_actors.jobs.declaration import Declaration
    from kathikon_actors.jobs.filters import Filter
    from kathikon_actors.jobs.queue import Queue
    from kathikon_actors.jobs.retention import Retention
    from kathikon_actors.store.commands import Command, Question, Requested
    from kathikon_actors.store.connection import Pool
    from kathikon_actors.store.listening import Ear
    from kathikon_actors.store.protocol import Membership
    from kathikon_actors.store.queue_store import QueueChange, QueueSettings, RunningQueue

__all__ = ["PostgresOperations"]


class PostgresOperations(ABC):
    """`CommandStore` on the connections of a `PostgresStore`."""

    _readers: Pool
    _ear: Ear

    @abstractmethod
    def _check_open(self) -> None: ...

    async def ask(self, job_id: bytes, change: Change) -> int:
        """See `Store.ask`."""
        self._check_open()
        return await self._readers.run(commanding.ask, job_id, change)

    async def progress(self, job_id: bytes, percent: int) -> str | None:
        """See `Store.progress`."""
        self._check_open()
        return await self._readers.run(commanding.progress, job_id, percent)

    async def ask_progress(self, job_id: bytes, percent: int) -> int:
        """See `Store.ask_progress`."""
        self._check_open()
        return await self._readers.run(commanding.ask_progress, job_id, percent)

    async def request(self, wanted: Filter, change: Change) -> Requested:
        """See `Store.request`."""
        self._check_open()
        return await self._readers.run(commanding.request_change, wanted, change)

    async def open_commands(self, membership: Membership, after: int, limit: int) -> list[Command | Question]:
        """See `Store.open_commands`."""
        self._check_open()
        return await self._readers.run(commanding.open_commands, membership, after, limit)

    async def carry_out(self, number: int) -> bool:
        """See `Store.carry_out`."""
        self._check_open()
        return await self._readers.run(commanding.carry_out, number)

    async def give_answers(self, answers: Sequence[tuple[int, str]]) -> None:
        """See `Store.give_answers`."""
        self._check_open()
        await self._readers.run(commanding.give_answers, answers)

    async def read_answers(self, numbers: Sequence[int]) -> dict[int, str]:
        """See `Store.read_answers`."""
        self._check_open()
        return await self._readers.run(commanding.read_answers, numbers)

    async def ask_node(self, node: str, what: str, seconds: float) -> int | None:
        """See `Store.ask_node`."""
        self._check_open()
        return await self._readers.run(commanding.ask_node, node, what, seconds)

    async def take_answer(self, number: int) -> str | None:
        """See `Store.take_answer`."""
        self._check_open()
        return await self._readers.run(commanding.take_answer, number)

    async def withdraw(self, number: int) -> None:
        """See `Store.withdraw`."""
        self._check_open()
        await self._readers.run(commanding.withdraw, number)

    async def purge(self, ids: Sequence[bytes]) -> set[bytes]:
        """See `Store.purge`."""
        self._check_open()
        return await self._readers.run(commanding.purge_rows, ids)

    async def purge_meeting(self, wanted: Filter) -> int:
        """See `Store.purge_meeting`."""
        self._check_open()
        return await self._readers.run(commanding.purge_meeting, wanted)

    async def count_meeting(self, wanted: Filter) -> int:
        """See `Store.count_meeting`."""
        self._check_open()
        return await self._readers.run(commanding.count_meeting, wanted)

    async def queue_settings(self) -> dict[str, QueueSettings]:
        """See `Store.queue_settings`."""
        self._check_open()
        return await self._readers.run(queue_rows.queue_settings)

    async def change_queue(self, change: QueueChange) -> QueueSettings:
        """See `Store.change_queue`."""
        self._check_open()
        return await self._readers.run(queue_rows.change_queue, change)

    async def pause_new(self, queues: Sequence[str]) -> None:
        """See `Store.pause_new`."""
        self._check_open()
        await self._readers.run(queue_rows.pause_new, queues)

    async def publish_queues(self, membership: Membership, queues: Iterable[Queue]) -> bool:
        """See `Store.publish_queues`."""
        self._check_open()
        return await self._readers.run(queue_rows.publish_queues, membership, queues)

    async def running_queues(self) -> list[RunningQueue]:
        """See `Store.running_queues`."""
        self._check_open()
        return await self._readers.run(queue_rows.running_queues)

    async def is_due(self, queues: Sequence[str] | None) -> bool:
        """See `Store.is_due`."""
        self._check_open()
        return await self._readers.run(queue_rows.is_due, queues)

    async def declare_workers(
        self, membership: Membership, declarations: Sequence[Declaration], *, starts: bool
    ) -> None:
        """See `Store.declare_workers`."""
        self._check_open()
        await self._readers.run(declaring.declare_workers, membership, declarations, starts)

    async def declared_workers(self) -> list[Declaration]:
        """See `Store.declared_workers`."""
        self._check_open()
        return await self._readers.run(declaring.declared_workers)

    async def prune(self, retention: Retention) -> retaining.Pruned:
        """See `Store.prune`."""
        self._check_open()
        return await self._readers.run(retaining.prune, retention)

    async def tidy(self) -> None:
        """See `Store.tidy`."""
        self._check_open()
        await self._readers.run(retaining.tidy)

    async def promote(self) -> int:
        """See `Store.promote`."""
        self._check_open()
        return await self._readers.run(retaining.promote)

    async def put_figures(self, membership: Membership, at: int, cells: Mapping[tuple[str, str], kept.Cell]) -> None:
        """See `Store.put_figures`."""
        self._check_open()
        await self._readers.run(kept.put_figures, membership, at, cells)

    async def put_errors(self, errors: Mapping[str, kept.LastError]) -> None:
        """See `Store.put_errors`."""
        self._check_open()
        await self._readers.run(kept.put_errors, errors)

    async def figures(self, window: float) -> dict[tuple[str, str], kept.Cell]:
        """See `Store.figures`."""
        self._check_open()
        return await self._readers.run(kept.figures, window)

    async def last_errors(self) -> dict[str, kept.LastError]:
        """See `Store.last_errors`."""
        self._check_open()
        return await self._readers.run(kept.last_errors)

    async def oldest_waiting(self) -> dict[str, float]:
        """See `Store.oldest_waiting`."""
        self._check_open()
        return await self._readers.run(kept.oldest_waiting)

    async def worker_totals(self) -> dict[str, dict[str, int]]:
        """See `Store.worker_totals`."""
        self._check_open()
        return await self._readers.run(kept.worker_totals)

    async def known_nodes(self) -> list[kept.KnownNode]:
        """See `Store.known_nodes`."""
        self._check_open()
        return await self._readers.run(kept.known_nodes)

    async def listen_control(self, topic: str, wake: Callable[[], None]) -> None:
        """See `Store.listen_control`."""
        self._check_open()
        await self._ear.listen_control(topic, wake)
