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
        output.data([batch.to_dict() for batch in found])
    elif found:
        rows = [batch.to_dict() for batch in found]
        output.table(_COLUMNS, [["" if row[name] is None else row[name] for name in _COLUMNS] for row in rows])
    else:
        output.say("no batches")


async def _list(session: Session, limit: int) -> Sequence[Any]:
    async with open_client(session.url) as client:
        return await client.batches(limit=limit)
