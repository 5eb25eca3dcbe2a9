"""`queues`: how many jobs of each queue are in each state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_store, run_async

if TYPE_CHECKING:
    from kathikon_actors.store.protocol import Counts

__all__ = ["queues"]


@click.command()
@common_options
@click.pass_obj
def queues(session: Session) -> None:
    """Count jobs by queue and state, as they are committed."""
    from kathikon_actors.jobs.states import STATES

    found = run_async(_counts, session)
    output = session.output
    rows = [(counts.queue, {state: counts.by_state.get(state, 0) for state in STATES}) for counts in found]
    if output.json:
        output.data([{"queue": name, "total": sum(by.values()), "states": by} for name, by in rows])
    elif rows:
        output.table(("queue", *STATES, "total"), [(name, *by.values(), sum(by.values())) for name, by in rows])
    else:
        output.say("no jobs")


async def _counts(session: Session) -> Sequence[Counts]:
    async with open_store(session.url) as store:
        return await store.counts()
