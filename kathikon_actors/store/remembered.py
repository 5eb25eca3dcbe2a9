"""The records of the jobs that completed last, for those who ask for them next."""

from __future__ import annotations

from collections import deque
from typing import Final

from kathikon_actors.jobs.record import Record

__all__ = ["Remembered"]

GENERATION: Final = 1_000
"""Records that are forgotten at once: letting each one go by itself costs a job twice as much."""

GENERATIONS: Final = 10


class Remembered:
    """Keeps the last `GENERATION * GENERATIONS` records, or one generation less."""

    __slots__ = ("_generations", "_newest")

    def __init__(self) -> None:
        self._newest: dict[bytes, Record] = {}
        self._generations: deque[dict[bytes, Record]] = deque([self._newest], maxlen=GENERATIONS)

    def add(self, record: Record) -> None:
        """Remember one more."""
        self._newest[record.id] = record
        if len(self._newest) >= GENERATION:
            self._newest = {}
            self._generations.append(self._newest)

    def get(self, job_id: bytes) -> Record | None:
        """Give the newest record of a job, `None` when it is not remembered."""
        for generation in reversed(self._generations):
            record = generation.get(job_id)
            if record is not None:
                return record
        return None

    def forget(self, job_id: bytes) -> None:
        """It is not as it was."""
        for generation in self._generations:
            generation.pop(job_id, None)

    def __contains__(self, job_id: bytes) -> bool:
        return self.get(job_id) is not None
