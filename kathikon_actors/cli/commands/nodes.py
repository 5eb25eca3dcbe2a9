"""`nodes`: who lives on the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kathikon_actors.cli.session import Session, common_options
from kathikon_actors.cli.store_session import open_client, run_async

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kathikon_actors.store.figures import KnownNode

__all__ = ["nodes"]


@click.command()
@common_options
@click.pass_obj
def nodes(session: Session) -> None:
    """List the nodes of a store: who lives, who leads, which queues each runs."""
    from dataclasses import asdict

    found = run_async(_nodes, session)
    output = session.output
    if output.json:
        output.data([asdict(node) for node in found])
    elif found:
        output.table(
            ("node", "state", "leads", "epoch", "up for", "lease", "queues"),
            [
                (
                    node.name,
                    "alive" if node.alive else "left" if node.left else "silent",
                    "yes" if node.leads else "",
                    node.epoch,
                    f"{node.up_for:.0f} s" if node.alive else "",
                    f"{node.lease_left:.0f} s" if node.alive else "",
                    ", ".join(node.queues),
                )
                for node in found
            ],
        )
    else:
        output.say("no node has ever lived on this store")


async def _nodes(session: Session) -> Sequence[KnownNode]:
    async with open_client(session.url) as client:
        return await client.nodes()
