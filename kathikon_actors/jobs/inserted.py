"""What `insert_many` tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from kathikon_actors.jobs.errors import KathikonError

__all__ = ["InsertedMany"]


@dataclass(frozen=True)
class InsertedMany:
    """What `insert_many` stored.

    Attributes:
        inserted: how many.
        ids: of those, in input order.
        errors: `(index in the whole input, error)` of those that were refused.
        conflicts: `(index in the whole input, id)` of those that met a unique job, with the id of that one.
    """

    inserted: int
    ids: list[UUID]
    errors: list[tuple[int, KathikonError | TypeError]]
    conflicts: list[tuple[int, UUID]] = field(default_factory=list)
