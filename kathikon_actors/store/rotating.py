"""Going through everything that is stored, and sealing it with the newest key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from kathikon_actors.jobs.rotation import Carried
from kathikon_actors.store.rows import pg_id
from kathikon_actors.store.statements import statement

if TYPE_CHECKING:
    from kathikon_actors.store.connection import Raw

__all__ = ["PAGE", "PostgresSealed", "SealedStore"]

PAGE: Final = 500
"""Jobs of one page."""


class SealedStore(Protocol):
    """The part of a store that a rotation of keys goes through."""

    async def page(self, after: bytes | None) -> list[Carried]:
        """Give what the next `PAGE` jobs carry, by id; an empty page is the last one."""
        ...

    async def replace(self, changes: Sequence[tuple[Carried, Carried]]) -> int:
        """Replace what jobs carry, old by new, where it is still the old; give how many."""
        ...


class PostgresSealed:
    """`SealedStore` on connections to Postgres.

    Args:
        run: runs one of the functions below on a connection, with its arguments.
    """

    def __init__(self, run: Callable[..., Awaitable[Any]]) -> None:
        self._run = run

    async def page(self, after: bytes | None) -> list[Carried]:
        """See `SealedStore.page`."""
        found: list[Carried] = await self._run(_page, after)
        return found

    async def replace(self, changes: Sequence[tuple[Carried, Carried]]) -> int:
        """See `SealedStore.replace`."""
        number: int = await self._run(_replace, changes)
        return number


async def _page(raw: Raw, after: bytes | None) -> list[Carried]:
    rows = await raw.fetch(statement("sealed_page"), None if after is None else pg_id(after), PAGE)
    return [Carried(_bytes(row[0]), _bytes(row[1]), *row[2:]) for row in rows]


async def _replace(raw: Raw, changes: Sequence[tuple[Carried, Carried]]) -> int:
    new = [fresh for _, fresh in changes]
    old = [before for before, _ in changes]
    number: int = await raw.fetchval(
        statement("reseal"),
        [pg_id(fresh.id) for fresh in new],
        [fresh.args for fresh in new],
        [fresh.meta for fresh in new],
        [fresh.result for fresh in new],
        [fresh.errors for fresh in new],
        [fresh.dependency_results for fresh in new],
        [before.args for before in old],
        [before.result for before in old],
        [before.errors for before in old],
    )
    return number


def _bytes(job_id: UUID) -> bytes:
    return job_id.bytes
