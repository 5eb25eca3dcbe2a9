"""What a running node tells when it is asked, live from its memory: over its control socket, or through its store.

An answer is `{"ok": ...}` or `{"error": "..."}`, JSON values. No question changes anything.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

import trio

from kathikon_actors.jobs.errors import KathikonError, did_you_mean
from kathikon_actors.node.trees import plain_tree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kathikon_actors.node.node import Node

__all__ = ["answer"]

logger = logging.getLogger(__name__)


async def answer(node: Node, wanted: object) -> dict[str, Any]:
    """Answer a question, or say why not; never raises for what it says."""
    known = _ANSWERS.get(wanted) if isinstance(wanted, str) else None
    if known is None:
        names = ", ".join(_ANSWERS)
        return {"error": f'nothing is called "{wanted}" (known: {names}).{did_you_mean(str(wanted), _ANSWERS)}'}
    try:
        return {"ok": await known(node)}
    except KathikonError as error:
        return {"error": str(error)}
    except Exception as error:
        logger.exception("the node failed to answer %s", wanted)
        return {"error": f"{type(error).__name__}: {error}"}


async def _hello(node: Node) -> Any:
    await trio.lowlevel.checkpoint()
    return {"node": node.name, "pid": os.getpid()}


async def _tree(node: Node) -> Any:
    await trio.lowlevel.checkpoint()
    return {"node": node.name, "text": node.format_tree(), "tree": plain_tree(node.tree())}


async def _report(node: Node) -> Any:
    return (await node.report()).to_dict()


async def _health(node: Node) -> Any:
    return (await node.health()).to_dict()


async def _statistics(node: Node) -> Any:
    await trio.lowlevel.checkpoint()
    found = node.statistics()
    return {name: getattr(found, name) for name in type(found).__dataclass_fields__}


_ANSWERS: Final[Mapping[str, Callable[[Node], Awaitable[Any]]]] = {
    "hello": _hello,
    "tree": _tree,
    "report": _report,
    "health": _health,
    "statistics": _statistics,
}
