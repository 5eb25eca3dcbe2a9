"""`tree`: the supervision tree of running nodes, live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kathikon_actors.cli.exit_codes import ExitCode, exit_code_of
from kathikon_actors.cli.session import Session, common_options

if TYPE_CHECKING:
    from kathikon_actors.jobs.errors import KathikonError
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["is_reachable", "tree"]


@click.command()
@click.option("--node", metavar="NAME", help="Only of this node.")
@common_options
@click.pass_obj
def tree(session: Session, node: str | None) -> ExitCode:
    """Draw the supervision tree of the nodes of a store, as it is now.

    Those on this machine are asked directly, also while the store does not answer; the others through the store.
    """
    from kathikon_actors.cli.failures import sentence_of
    from kathikon_actors.cli.node_socket import ask_all
    from kathikon_actors.jobs.errors import KathikonError, NoNode
    from kathikon_actors.node.trees import plain_tree
    from supervisors import format_node

    output = session.output
    nowhere: NoNode | None = None
    trees: list[tuple[str, dict[str, Any], str]] = []
    failed: list[KathikonError] = []
    try:
        trees += [(here["node"], here["tree"], here["text"]) for here in ask_all(session.url, "tree", node)]
    except NoNode as error:
        nowhere = error
    if not (node is not None and trees) and is_reachable(session.url):
        from kathikon_actors.cli.store_session import run_async

        try:
            found, failed = run_async(_ask_others, session.url, node, {name for name, *_ in trees})
        except KathikonError as error:
            if not trees:
                raise
            output.say(f"nodes on other machines cannot be asked: {sentence_of(error)}")
        else:
            trees += [(name, plain_tree(given), format_node(given)) for name, given in found]
    elif nowhere is not None:
        raise nowhere
    if output.json:
        output.data([{"node": name, "tree": plain} for name, plain, _ in trees])
    else:
        output.text("\n".join(f"{printed(text)}\n" for *_, text in trees))
    for problem in failed:
        output.say(sentence_of(problem))
    if failed:
        return ExitCode.PARTLY_FAILED if trees else exit_code_of(failed[0])
    return ExitCode.OK


def printed(text: str) -> str:
    """Escape what is in a drawing, line by line."""
    from kathikon_actors.cli.output import printable

    return "\n".join(map(printable, text.splitlines()))


def is_reachable(url: StoreUrl) -> bool:
    """Whether nodes may be asked through the store; none lives on an embedded one whose server does not run."""
    if url.path is None:
        return url.kind == "postgresql"
    from kathikon_actors.store.embedded import find_running

    return find_running(url.path) is not None


async def _ask_others(url: StoreUrl, name: str | None, known: set[str]) -> tuple[list[Any], list[KathikonError]]:
    """Ask the one that is named, or each that lives and is not known yet, at the same time."""
    import trio

    from kathikon_actors.cli.store_session import open_client
    from kathikon_actors.jobs.errors import KathikonError, NoNode

    found: list[Any] = []
    failed: list[KathikonError] = []
    async with open_client(url) as client:
        if name is not None:
            return [(name, await client.tree(name))], []
        living = [node.name for node in await client.nodes() if node.alive]
        if not living and not known:
            raise NoNode(None)

        async def ask(name: str) -> None:
            try:
                found.append((name, await client.tree(name)))
            except KathikonError as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            for other in living:
                if other not in known:
                    nursery.start_soon(ask, other)
    return sorted(found, key=lambda entry: entry[0]), failed
