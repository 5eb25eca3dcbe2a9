"""The supervision tree of a living node, from outside: the node is asked through the store, wherever it runs."""

from __future__ import annotations

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Final

import msgspec

from kathikon_actors.jobs.actions import check_seconds
from kathikon_actors.jobs.errors import KathikonError, NodeSilent, NodeUnclear, NoNode, StoreUnavailable, UnknownNode
from kathikon_actors.node.reporting import StoreReports
from supervisors import Crash, Killed, Normal, Shutdown, TreeNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kathikon_actors.node.remote import RemoteStore
    from kathikon_actors.store.figures import KnownNode
    from supervisors import ExitReason

__all__ = ["TREE_TIMEOUT", "RemoteTrees", "plain_tree", "tree_of"]

TREE_TIMEOUT: Final = 10.0
"""Seconds that a node has to answer."""

POLL: Final = (0.005, 0.2)
"""Seconds between two looks for the answer: the first, and the longest."""


class RemoteTrees(StoreReports):
    """The part of a `Client` that asks nodes for their trees."""

    @abstractmethod
    def _operator(self) -> RemoteStore: ...

    async def tree(self, node: str | None = None, timeout: float = TREE_TIMEOUT) -> TreeNode:
        """Give the supervision tree of a living node as plain data, as `Node.tree` does on the node itself.

        Ids of children are given as text. A crash as a child's last exit has the name and the words of what was
        raised, and is an exception of its own here. `supervisors.format_node` draws a tree.

        Args:
            node: its name; may be left out while one node lives.
            timeout: seconds that it has to answer.

        Raises:
            NoNode: none lives on this store.
            NodeUnclear: several do, and none was named.
            UnknownNode: none that lives has this name.
            NodeSilent: it did not answer in time.
            ValueError: `timeout` is not above 0, or above a day.
            StoreUnavailable: the store did not answer.

        Example:
            ```python
            tree = await client.tree()
            print(tree.state, [child.id for child in tree.children])
            ```
        """
        timeout = check_seconds("timeout", timeout, 86_400.0, "a day")
        name = _chosen(node, await self.nodes())
        answer = await self._ask_node(name, "tree", timeout)
        try:
            return tree_of(msgspec.convert(answer["tree"], type=_Plain))
        except (msgspec.ValidationError, KeyError, TypeError) as error:
            raise KathikonError(
                f'node "{name}" has answered with a tree that this program does not understand ({error}); '
                "run both with the same version"
            ) from error

    async def _ask_node(self, node: str, what: str, timeout: float) -> Any:
        """Ask a node; give what it answers.

        Raises:
            UnknownNode, NodeSilent: see `tree`.
            KathikonError: it answered that it cannot.
        """
        store = self._operator()
        end = time.monotonic() + timeout
        number = await store.ask_node(node, what, timeout)
        if number is None:
            raise UnknownNode(node, ())
        pause, longest = POLL
        while (text := await store.take_answer(number)) is None:
            left = end - time.monotonic()
            if left <= 0:
                await _forget(store, number)
                raise NodeSilent(node, timeout)
            await self._sleep(min(pause, left))
            pause = min(pause * 1.5, longest)
        answer = msgspec.json.decode(text)
        if "ok" not in answer:
            raise KathikonError(f'node "{node}": {answer.get("error")}')
        return answer["ok"]


async def _forget(store: RemoteStore, number: int) -> None:
    try:
        await store.withdraw(number)
    except StoreUnavailable:
        return  # the leader forgets it in an hour, and the node does not answer any more


def _chosen(name: str | None, known: Sequence[KnownNode]) -> str:
    """Give the name of the node that is meant."""
    living = [node.name for node in known if node.alive]
    if name is None:
        if not living:
            raise NoNode(None)
        if len(living) > 1:
            raise NodeUnclear("tree", living)
        return living[0]
    if name in living:
        return name
    dead = next((node for node in known if node.name == name), None)
    if dead is None:
        raise UnknownNode(name, living)
    raise UnknownNode(name, living, "it has left" if dead.left else f"its lease ran out {-dead.lease_left:.0f} s ago")


class _Plain(msgspec.Struct):
    """A tree as it is sent."""

    id: str
    type: Any
    state: Any
    strategy: str | None
    restarts_in_window: int | None
    max_restarts: int | None
    total_restarts: int
    uptime: float | None
    last_exit: str | None
    children: list[_Plain]


def plain_tree(node: TreeNode) -> dict[str, Any]:
    """Give a tree as JSON data."""
    return {
        "id": str(node.id),
        "type": node.type,
        "state": node.state,
        "strategy": node.strategy,
        "restarts_in_window": node.restarts_in_window,
        "max_restarts": node.max_restarts,
        "total_restarts": node.total_restarts,
        "uptime": node.uptime,
        "last_exit": None if node.last_exit is None else str(node.last_exit),
        "children": [plain_tree(child) for child in node.children],
    }


def tree_of(plain: _Plain) -> TreeNode:
    """Give the tree that was sent."""
    return TreeNode(
        plain.id,
        plain.type,
        plain.state,
        plain.strategy,
        plain.restarts_in_window,
        plain.max_restarts,
        plain.total_restarts,
        plain.uptime,
        None if plain.last_exit is None else _exit_of(plain.last_exit),
        tuple(map(tree_of, plain.children)),
    )


def _exit_of(text: str) -> ExitReason:
    """Give the exit reason that reads like this."""
    kind, _, detail = text.partition(": ")
    if kind == "normal":
        return Normal()
    if kind == "killed":
        return Killed()
    if kind == "shutdown":
        return Shutdown(detail or None)
    name, _, words = detail.partition(": ")
    # Named as what was raised there, whose class may not be known here.
    there = type(name or "Exception", (Exception,), {"__doc__": "Raised on another node."})
    return Crash(there(words) if words else there())
