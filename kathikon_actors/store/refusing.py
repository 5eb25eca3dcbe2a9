"""Errors of Postgres that speak against a row of a batch, and not against the server or the way to it.

Such a row is refused however often it is tried, by whatever server: the batch without it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from kathikon_actors.jobs.errors import KathikonError
from kathikon_actors.store.protocol import RowsRefused

__all__ = ["refusing"]

_OF_ROWS = (
    asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError,
    ValueError, TypeError, OverflowError,
)  # fmt: skip
"""The last three are asyncpg's own: a value that cannot be sent at all."""


@contextmanager
def refusing() -> Iterator[None]:
    """Raise `RowsRefused` for what a row of the batch is to blame for.

    Raises:
        RowsRefused: nothing of the batch is stored, or all of it: ask for the lane's last batch.
    """
    try:
        yield
    except KathikonError:
        raise
    except _OF_ROWS as error:
        raise RowsRefused(f"{type(error).__name__}: {error}") from error
