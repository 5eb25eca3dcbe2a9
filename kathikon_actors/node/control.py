"""The control socket: what the command line asks a running node, live from its memory.

A request is one line of JSON, `{"do": "tree"}`, and so is the answer, `{"ok": ...}` or `{"error": "..."}`. Nothing that
comes from there is unpickled or run; the peer must be this user or root; lines, waiting and visitors are bounded.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio

from kathikon_actors.node.answers import answer
from kathikon_actors.node.control_place import make_control_directory, socket_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from kathikon_actors.node.node import Node
    from kathikon_actors.store.urls import StoreUrl

__all__ = ["ControlSocket"]

logger = logging.getLogger(__name__)

LONGEST_REQUEST: Final = 4_096
"""Bytes of a line."""

PATIENCE: Final = 10.0
"""Seconds that a visitor has for a request and for taking the answer."""

VISITORS: Final = 16
"""At the same time; who comes more is turned away."""

_CREDENTIALS: Final = "3i"


class ControlSocket:
    """Answers until cancelled. Without a place for its socket the node goes on without one.

    Args:
        url: of the node's store: the command line finds the node by it.
        node: gives the node, `None` until there is one.
        name: of the node.
    """

    def __init__(self, url: StoreUrl, name: str, node: Callable[[], Node | None]) -> None:
        self._url = url
        self._name = name
        self._node = node
        self._visitors = 0

    async def run(self, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and answer."""
        try:
            place, listener = self._listen()
        except OSError as error:
            logger.warning("the command line cannot ask this node, it has no control socket: %s", error)
            task_status.started("no socket")
            await trio.sleep_forever()
        try:
            async with trio.open_nursery() as nursery:
                task_status.started(str(place))
                await trio.serve_listeners(self._serve, [listener], handler_nursery=nursery)
        finally:
            listener.socket.close()
            with suppress(OSError):
                place.unlink()

    def _listen(self) -> tuple[Path, trio.SocketListener]:
        place = make_control_directory() / socket_name(self._url, self._name)
        # The name is this node's alone while its lease lives: what lies there is of a life that died.
        place.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.bind(str(place))
            place.chmod(0o600)
            sock.listen(VISITORS)
        except BaseException:
            sock.close()
            raise
        return place, trio.SocketListener(trio.socket.from_stdlib_socket(sock))

    async def _serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            if self._visitors >= VISITORS or not _is_ours(stream):
                return
            self._visitors += 1
            try:
                with trio.move_on_after(PATIENCE), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.send_all(json.dumps(await self._answer(await _line(stream))).encode() + b"\n")
            finally:
                self._visitors -= 1

    async def _answer(self, line: bytes | None) -> dict[str, Any]:
        try:
            request = json.loads(line or b"")
            wanted = request["do"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": 'a request is one line of JSON, such as {"do": "tree"}'}
        node = self._node()
        if node is None:
            return {"error": "the node is starting; ask again in a moment"}
        return await answer(node, wanted)


async def _line(stream: trio.SocketStream) -> bytes | None:
    """Read one line; `None` when it is too long."""
    read = bytearray()
    while b"\n" not in read and len(read) <= LONGEST_REQUEST:
        part = await stream.receive_some(LONGEST_REQUEST)
        if not part:
            break
        read += part
    line, end, _ = bytes(read).partition(b"\n")
    return line if end and len(line) <= LONGEST_REQUEST else None


def _is_ours(stream: trio.SocketStream) -> bool:
    """Whether the peer is this user or root, by the kernel's word."""
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(_CREDENTIALS))
    _, uid, _ = struct.unpack(_CREDENTIALS, raw)
    if uid in (os.geteuid(), 0):
        return True
    logger.warning("user %d was turned away from the control socket", uid)
    return False
