"""The values of a `Filter` for the statements that share its conditions."""

from __future__ import annotations

from typing import Any

from kathikon_actors.jobs import json
from kathikon_actors.jobs.filters import Filter
from kathikon_actors.store.rows import pg_time

__all__ = ["filter_values"]


def filter_values(wanted: Filter) -> tuple[Any, ...]:
    """Give parameters 1 to 8 of a statement that holds the conditions of `sql/meets.sql`."""
    before, after = wanted.before_us, wanted.after_us
    return (
        wanted.worker,
        wanted.queue,
        list(wanted.states) or None,
        list(wanted.tags) or None,
        json.encode(wanted.args_needs).decode() if wanted.args_needs else None,
        json.encode([[wanted.meta]]).decode() if wanted.meta else None,
        None if before is None else pg_time(before),
        None if after is None else pg_time(after),
    )
