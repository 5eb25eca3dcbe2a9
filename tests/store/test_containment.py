"""What a filter's `args` mean is what Postgres' `jsonb @>` means."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kathikon_actors.jobs.filters import contains

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["a", "b", 1.5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.sampled_from("xyz"), values, max_size=3)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(objects, objects), min_size=40, max_size=40))
def test_containment_is_that_of_postgres(postgres_dsn: str, pairs: list[tuple[Any, Any]]) -> None:
    """Property: objects within objects, as `jsonb @>` says."""

    async def ask() -> list[bool]:
        connection = await asyncpg.connect(postgres_dsn)
        try:
            rows = await connection.fetch(
                "SELECT a::jsonb @> b::jsonb FROM unnest($1::text[], $2::text[]) AS p (a, b)",
                [json.dumps(a) for a, _ in pairs],
                [json.dumps(b) for _, b in pairs],
            )
            return [row[0] for row in rows]
        finally:
            await connection.close()

    assert [contains(a, b) for a, b in pairs] == asyncio.run(ask())
