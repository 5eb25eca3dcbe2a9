"""What `insert_many` is told about jobs that do not fit, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args
from uuid import UUID

from kathikon_actors.jobs.errors import KathikonError, did_you_mean

__all__ = ["InsertedMany", "OnError", "check_on_error"]

OnError = Literal["continue", "abort"]


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


def check_on_error(value: str) -> None:
    """Refuse what `on_error` cannot be.

    Raises:
        ValueError: naming what it can be.
    """
    legal = get_args(OnError)
    if value not in legal:
        raise ValueError(f'on_error is {value!r}; give "continue" or "abort".{did_you_mean(str(value), legal)}')
