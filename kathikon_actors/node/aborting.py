"""`insert_many` that gives up at the first job that does not fit, as `on_error="abort"` says."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Final
from uuid import UUID

from kathikon_actors.jobs.composing import Answer
from kathikon_actors.jobs.errors import (
    AlreadyExists,
    InvalidJob,
    KathikonError,
    NodeStopping,
    StoreUnavailable,
)
from kathikon_actors.jobs.ids import as_uuid
from kathikon_actors.jobs.inserted import InsertedMany
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Record
from kathikon_actors.node.listing import new_jobs

__all__ = ["insert_or_abort"]

CHUNK: Final = 1_000
"""Jobs of one transaction."""


async def insert_or_abort(
    jobs: Iterable[NewJob] | AsyncIterable[NewJob],
    build: Callable[[object, Sequence[Record]], Record],
    store_whole: Callable[[Sequence[Record]], Awaitable[dict[bytes, Answer]]],
) -> InsertedMany:
    """Store chunk after chunk, each whole or not at all, up to the first job that does not fit.

    Args:
        jobs: the input; what comes after the chunk that failed is not asked for.
        build: makes a record of a job, given those that are to be stored with it.
        store_whole: stores a chunk, or nothing of it when one of its jobs is refused.

    Raises:
        NodeStopping, StoreUnavailable: chunks before are stored.
    """
    chunks = _WholeChunks(store_whole)
    async with aclosing(new_jobs(jobs)) as incoming:
        async for new in incoming:
            try:
                chunks.add(build(new, chunks.records))
            except (NodeStopping, StoreUnavailable):
                raise
            except (KathikonError, TypeError) as error:
                return chunks.given_up(error)
            if len(chunks.records) >= CHUNK and not await chunks.store():
                return chunks.stored()
    await chunks.store()
    return chunks.stored()


class _WholeChunks:
    """The jobs of the chunk that is filled, and what was stored before."""

    def __init__(self, store_whole: Callable[[Sequence[Record]], Awaitable[dict[bytes, Answer]]]) -> None:
        self._store_whole = store_whole
        self._before = 0
        self._ids: list[UUID] = []
        self._errors: list[tuple[int, KathikonError | TypeError]] = []
        self._conflicts: list[tuple[int, UUID]] = []
        self._chunk: set[bytes] = set()
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        if record.durability == "memory":
            problem = 'is "memory", which cannot be rolled back; give "commit", or on_error="continue"'
            raise InvalidJob(record.worker, "durability", problem)
        if record.id in self._chunk:
            raise AlreadyExists(as_uuid(record.id))
        record.durability = "commit"
        self._chunk.add(record.id)
        self.records.append(record)

    async def store(self) -> bool:
        """Store the chunk; tell whether every job of it fitted."""
        if not self.records:
            return True
        answers = await self._store_whole(self.records)
        answered = [answers.get(record.id, Answer(record)) for record in self.records]
        for place, answer in enumerate(answered, self._before):
            if answer.error is not None:
                self._errors.append((place, answer.error))
                return False
        for place, (record, answer) in enumerate(zip(self.records, answered, strict=True), self._before):
            if answer.conflict and answer.record is not None:
                self._conflicts.append((place, as_uuid(answer.record.id)))
            else:
                self._ids.append(as_uuid(record.id))
        self._before += len(self.records)
        self.records, self._chunk = [], set()
        return True

    def given_up(self, error: KathikonError | TypeError) -> InsertedMany:
        """The job behind those of the chunk does not fit, so nothing of the chunk is stored."""
        self._errors.append((self._before + len(self.records), error))
        return self.stored()

    def stored(self) -> InsertedMany:
        return InsertedMany(len(self._ids), self._ids, self._errors, self._conflicts)
