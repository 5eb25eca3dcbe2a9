"""The control socket: live answers for this user only, whatever comes in."""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from kathikon_actors import open_node
from kathikon_actors.cli import node_socket
from kathikon_actors.jobs.errors import NoNode
from kathikon_actors.node import control
from kathikon_actors.node.control_place import UnsafeDirectory, make_control_directory, sockets_of
from kathikon_actors.store.urls import parse_store_url
from tests.node.workers import app
from tests.support.waiting import eventually

MEMORY = parse_store_url("memory:")


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for the sockets of one test; short, for addresses of sockets are."""
    place = Path("/tmp") / f"kt-{os.getpid()}-{os.urandom(3).hex()}"
    monkeypatch.setenv("KATHIKON_RUNTIME_DIR", str(place))
    yield place
    if place.exists():
        assert list(place.iterdir()) == []
        place.rmdir()


def mode_of(place: Path) -> int:
    return stat.S_IMODE(place.stat().st_mode)


def open_to_all(place: Path) -> None:
    place.mkdir()
    place.chmod(0o755)


async def ask(what: str) -> object:
    return (await trio.to_thread.run_sync(node_socket.ask_all, MEMORY, what))[0]


async def send(raw: bytes) -> object:
    (place,) = sockets_of(MEMORY)

    def talk() -> object:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10)
            sock.connect(str(place))
            try:
                sock.sendall(raw)
                sock.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
            except (BrokenPipeError, ConnectionResetError):
                return None
            return json.loads(answer) if answer else None

    return await trio.to_thread.run_sync(talk)


async def test_a_node_answers_from_its_memory(run_directory: Path) -> None:
    """Its tree, a report, its health, figures; the socket is this user's alone and goes with the node."""
    async with open_node(app, name="n1"):
        assert mode_of(run_directory) == 0o700
        (place,) = sockets_of(MEMORY)
        assert mode_of(place) == 0o600
        tree = await ask("tree")
        assert isinstance(tree, dict) and tree["node"] == "n1"
        assert "producer" in tree["text"] and tree["tree"]["children"][0]["id"] == "store"
        report = await ask("report")
        assert isinstance(report, dict) and report["scope"] == "n1"
        assert await ask("health") == {"status": "ok", "reasons": []}
        hello = await ask("hello")
        assert hello == {"node": "n1", "pid": os.getpid()}
        statistics = await ask("statistics")
        assert isinstance(statistics, dict) and statistics["jobs"] == 0
    assert sockets_of(MEMORY) == []
    with pytest.raises(NoNode, match="answers on this machine"):
        await ask("tree")


@pytest.mark.parametrize(
    "raw",
    [b"\n", b"{\n", b"[]\n", b'{"do": 7}\n', b'{"do": "tre"}\n', b"\x80\x04\x95.\n", b"x" * 5000 + b"\n",
     b'{"do":"tree"}', b"[" * 4000 + b"\n"],
)  # fmt: skip
async def test_what_is_no_request_is_refused_with_a_sentence(raw: bytes) -> None:
    """And the node goes on."""
    async with open_node(app, name="n1"):
        answer = await send(raw)
        assert isinstance(answer, dict) and list(answer) == ["error"]
        if b"tre" in raw and raw.endswith(b"\n"):
            assert 'Did you mean "tree"' in answer["error"]
        assert await ask("hello")


async def test_visitors_who_say_nothing_are_bounded_and_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while they have to go; more than there is room for are turned away at once, until one has left."""
    monkeypatch.setattr(control, "PATIENCE", 0.2)
    async with open_node(app, name="n1"):
        (place,) = sockets_of(MEMORY)
        assert await trio.to_thread.run_sync(turned_away, place, 20.0)
        monkeypatch.setattr(control, "PATIENCE", 600.0)
        with ExitStack() as stack:
            visitors = []
            for _ in range(control.VISITORS):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                sock.connect(str(place))
                visitors.append(sock)

            async def is_full() -> bool:
                return await trio.to_thread.run_sync(turned_away, place)

            async def has_room() -> bool:
                return not await is_full()

            await eventually(is_full, "it is full")
            visitors[0].close()
            await eventually(has_room, "there is room again")


def turned_away(place: Path, seconds: float = 0.2) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(seconds)
        sock.connect(str(place))
        try:
            return sock.recv(1) == b""
        except TimeoutError:
            return False


async def test_another_user_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel's word on who it is."""
    async with open_node(app, name="n1"):
        monkeypatch.setattr(control.os, "geteuid", lambda: 12345)
        monkeypatch.setattr(control.struct, "unpack", lambda _format, _raw: (1, 54321, 1))
        assert await send(b'{"do": "hello"}\n') is None
        monkeypatch.undo()


async def test_a_directory_that_others_may_enter_is_not_used(
    run_directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The node runs without a socket, and says why."""
    open_to_all(run_directory)
    with pytest.raises(UnsafeDirectory, match="chmod 700"):
        make_control_directory()
    async with open_node(app, name="n1") as node:
        assert node.supervisor.which_child("control").info == "no socket"
    assert "no control socket" in caplog.text


async def test_a_socket_that_a_dead_node_left_is_replaced(run_directory: Path) -> None:
    """The name is the node's own while its lease lives."""
    async with open_node(app, name="n1"):
        (place,) = sockets_of(MEMORY)
    left = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    left.bind(str(place))
    left.close()
    async with open_node(app, name="n1"):
        assert await ask("hello")
