"""`tree`: the supervision tree of running nodes, live."""

from __future__ import annotations

import click

from kathikon_actors.cli.session import Session, common_options

__all__ = ["tree"]


@click.command()
@click.option("--node", metavar="NAME", help="Only of this node.")
@common_options
@click.pass_obj
def tree(session: Session, node: str | None) -> None:
    """Draw the supervision tree of the nodes that run on this machine, as it is now."""
    from kathikon_actors.cli.node_socket import ask_all

    found = ask_all(session.url, "tree", node)
    output = session.output
    if output.json:
        output.data([{"node": answer["node"], "tree": answer["tree"]} for answer in found])
        return
    for number, answer in enumerate(found):
        if number:
            output.line("")
        for line in answer["text"].splitlines():
            output.line(line)
