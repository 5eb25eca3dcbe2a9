"""`batches`: batches of jobs, and how far each is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["batches"]

_COLUMNS = ("id", "name", "state", "total", "completed", "cancelled", "discarded", "opened_at")


@click.command()
@click.option("--limit", type=click.IntRange(min=1, max=10_000), default=100, show_default=True)
@common_options
@click.pass_obj
def batches(session: Session, limit: int) -> None:
    """List the batches of a store, newest first, with their counts."""
    found = run_async(_list, session, limit)
    output = session.output
    if output.json:
        output.data([_plain(batch) for batch in found])
    elif found:
        output.table(_COLUMNS, [tuple(_text(getattr(batch, name, "")) for name in _COLUMNS) for batch in found])
    else:
        output.say("no batches")


async def _list(session: Session, limit: int) -> Sequence[Any]:
    async with open_client(session.url) as client:
        return await client.batches(limit=limit)


def _plain(batch: Any) -> dict[str, Any]:
    return {name: _text(getattr(batch, name)) for name in _fields(batch)}


def _fields(batch: Any) -> tuple[str, ...]:
    return tuple(type(batch).__dataclass_fields__)


def _text(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
