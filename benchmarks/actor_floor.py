"""What this machine and trio give for the bare operation: a deque as a mailbox, a socketpair, a fork."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import time
from collections import deque
from typing import Any

import msgspec
import outcome
import trio
from trio.testing import wait_all_tasks_blocked

__all__ = ["bare_forks", "bare_mailbox", "socket_calls", "socket_casts"]

HEADER = 4
READ = 262_144

_encode = msgspec.msgpack.encode
_decode = msgspec.msgpack.decode


async def bare_mailbox(calls: int) -> float:
    """Round trips per second of one task that takes from a deque and answers, and one that asks."""
    mailbox: deque[tuple[int, trio.lowlevel.Task]] = deque()
    server: trio.lowlevel.Task | None = None
    parked = False

    def abort(_: Any) -> trio.lowlevel.Abort:
        return trio.lowlevel.Abort.SUCCEEDED

    async def serve() -> None:
        nonlocal server, parked
        server = trio.lowlevel.current_task()
        while True:
            if not mailbox:
                parked = True
                await trio.lowlevel.wait_task_rescheduled(abort)
                continue
            value, caller = mailbox.popleft()
            trio.lowlevel.reschedule(caller, outcome.Value(value))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await wait_all_tasks_blocked()
        me = trio.lowlevel.current_task()
        began = time.perf_counter()
        for number in range(calls):
            mailbox.append((number, me))
            if parked:
                parked = False
                assert server is not None
                trio.lowlevel.reschedule(server)
            await trio.lowlevel.wait_task_rescheduled(abort)
        rate = calls / (time.perf_counter() - began)
        nursery.cancel_scope.cancel()
    return rate


def _frames(buffer: bytearray) -> list[bytes]:
    found = []
    at = 0
    while len(buffer) - at >= HEADER:
        size = int.from_bytes(buffer[at : at + HEADER], "big")
        if len(buffer) - at < HEADER + size:
            break
        found.append(bytes(buffer[at + HEADER : at + HEADER + size]))
        at += HEADER + size
    del buffer[:at]
    return found


def _frame(body: bytes) -> bytes:
    return len(body).to_bytes(HEADER, "big") + body


async def _send_all(sock: socket.socket, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            await trio.lowlevel.wait_writable(sock)


async def _receive(sock: socket.socket) -> bytes:
    while True:
        try:
            return sock.recv(READ)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


async def _echo(sock: socket.socket) -> None:
    """Answer every frame by itself what came in one read: the other process, on trio as an actor's is."""
    buffer = bytearray()
    while data := await _receive(sock):
        buffer += data
        await _send_all(sock, b"".join(_frame(_encode(_decode(body))) for body in _frames(buffer)))


async def _count(sock: socket.socket) -> None:
    """Take frames; answer the last one of a run, which says so."""
    buffer = bytearray()
    while data := await _receive(sock):
        buffer += data
        for body in _frames(buffer):
            if _decode(body) is None:
                await _send_all(sock, _frame(body))


def _fork(main: Any) -> tuple[socket.socket, int]:
    """Fork a process that runs `main` on trio; to be called outside of trio."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            theirs.setblocking(False)
            trio.run(main, theirs)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    ours.setblocking(False)
    return ours, pid


def _end(sock: socket.socket, pid: int) -> None:
    sock.close()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def socket_calls(calls: int, outstanding: int, value: Any) -> float:
    """Round trips per second over a socketpair to another process, msgpack, a frame each; `outstanding` on the way."""
    sock, pid = _fork(_echo)

    async def ask() -> float:
        body = _frame(_encode(value))
        buffer = bytearray()
        began = time.perf_counter()
        sent = got = 0
        while got < calls:
            count = min(outstanding - (sent - got), calls - sent)
            if count:
                await _send_all(sock, body * count)
                sent += count
            buffer += await _receive(sock)
            for answer in _frames(buffer):
                _decode(answer)
                got += 1
        return calls / (time.perf_counter() - began)

    try:
        return trio.run(ask)
    finally:
        _end(sock, pid)


def socket_casts(casts: int) -> float:
    """Messages per second one way over a socketpair, msgpack, a frame each, 64 a write."""
    sock, pid = _fork(_count)

    async def tell() -> float:
        buffer = bytearray()
        began = time.perf_counter()
        for start in range(0, casts, 64):
            data = b"".join(_frame(_encode(number)) for number in range(start, min(start + 64, casts)))
            await _send_all(sock, data)
        await _send_all(sock, _frame(_encode(None)))
        while not _frames(buffer):
            buffer += await _receive(sock)
        return casts / (time.perf_counter() - began)

    try:
        return trio.run(tell)
    finally:
        _end(sock, pid)


def bare_forks(times: int) -> float:
    """Milliseconds from `os.fork` of this process to the child's first byte, p50."""
    taken = []
    for _ in range(times):
        ours, theirs = socket.socketpair()
        began = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            theirs.send(b"x")
            os._exit(0)
        ours.recv(1)
        taken.append((time.perf_counter() - began) * 1e3)
        os.waitpid(pid, 0)
        ours.close()
        theirs.close()
    return statistics.median(taken)
