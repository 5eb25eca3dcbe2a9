"""Asking a running node of this machine through its control socket; plain sockets, nothing heavy is imported."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.errors import KathikonError, NoNode

if TYPE_CHECKING:
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["NodeRefused", "ask", "ask_all"]

TIMEOUT: Final = 10.0
"""Seconds that a node has to answer."""

LONGEST: Final = 64 * 2**20
"""Bytes of an answer."""


class NodeRefused(KathikonError):
    """The node answered with an error."""


class NoNodeHere(NoNode):
    """No node answers on this machine, for this user."""

    def __init__(self, url: StoreUrl, node: str | None) -> None:
        super().__init__(None)
        which = "no node" if node is None else f'no node named "{node}"'
        sentence = (
            f"{which} of {url.safe} answers on this machine for this user; start one "
            "(python -m kathikon_actors node APP), give its --store, or run this as the user that runs it"
        )
        self.args = (sentence,)


def ask_all(url: StoreUrl, what: str, node: str | None = None) -> list[Any]:
    """Ask every node of a store that runs on this machine, or one of them.

    Raises:
        NoNode: none answers.
        NodeRefused: one answers with an error.
    """
    from kathikon_actors.node.control_place import sockets_of

    answers = []
    for place in sockets_of(url, node):
        try:
            answers.append(ask(place, what))
        except (OSError, TimeoutError):
            continue  # of a node that died
    if not answers:
        raise NoNodeHere(url, node)
    return answers


def ask(place: Path, what: str) -> Any:
    """Ask one node."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        sock.connect(str(place))
        sock.sendall(json.dumps({"do": what}).encode() + b"\n")
        read = bytearray()
        while part := sock.recv(65_536):
            read += part
            if len(read) > LONGEST:
                raise NodeRefused(f"the answer of {place} is longer than {LONGEST} bytes")
    if not read:
        raise ConnectionResetError(f"{place} did not answer")
    answer = json.loads(read)
    if "ok" not in answer:
        raise NodeRefused(str(answer.get("error")))
    return answer["ok"]
