"""The socket between the node and one of its actor processes: what both ends do alike.

Messages are tuples that begin with their kind. What is put within one turn of the loop travels in one frame; the frame
goes out when the tasks that are ready have run, so that a single call waits for nobody and many share a frame.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence
from itertools import count
from time import monotonic
from typing import Any

import trio

from kathikon_actors.actors.replies import Reply
from kathikon_actors.processes.frames import FrameDecoder, encode_frames

__all__ = [
    "ASKING",
    "CALL",
    "CAST",
    "DEMONITOR",
    "DIED",
    "DOWN",
    "ERROR",
    "EXITED",
    "IGNORED",
    "LIMIT",
    "MONITOR",
    "REPLY",
    "SEND",
    "SIGNAL",
    "START",
    "STOP",
    "UP",
    "Address",
    "Message",
    "Wire",
]

Address = int | str | None
"""A life's number, a name, or the system itself (0)."""

Message = tuple[Any, ...]

CALL = 0  # id, to, method, arguments
CAST = 1  # to, method, arguments
SEND = 2  # to, message
REPLY = 3  # id, result
ERROR = 4  # id, exception
DIED = 5  # id, reason
STOP = 6  # to, reason
SIGNAL = 7  # to, number of the sender, its name, linked, reason
MONITOR = 8  # id, to
DEMONITOR = 9  # id
DOWN = 10  # id, reason
START = 11  # what the process is to be
UP = 12  # number of the life
IGNORED = 13
EXITED = 14  # number of the life, reason

LIMIT = 128 * 1024 * 1024
"""Bytes of one frame, so of one message: 64 MB of arguments fit with room to spare."""

ASKING = 5.0
_READ = 262_144
_MAX_UNSENT = 256 * 1024 * 1024


class Wire:
    """One end. What is put before it has a socket waits for that.

    Attributes:
        replies: who waits for which answer.
        open: the other side is there, as far as is known.
    """

    _sock: socket.socket

    def __init__(self) -> None:
        self._out: list[Message] = []
        self._unsent = bytearray()
        self._sender: trio.lowlevel.Task | None = None
        self._sender_parked = False
        self._decoder: FrameDecoder[Any] = FrameDecoder(Any, limit=LIMIT)
        self._numbers = count(1)
        self.replies: dict[int, Reply] = {}
        self.open = True

    def attach(self, sock: socket.socket) -> None:
        """Give it its socket."""
        self._sock = sock

    def put(self, message: Message) -> None:
        """Send `message` soon, in order. Never waits; nothing happens when the other side is gone."""
        if self.open:
            self._out.append(message)
            if self._sender_parked:
                self._sender_parked = False
                assert self._sender is not None
                trio.lowlevel.reschedule(self._sender)

    def is_congested(self) -> bool:
        """Whether the other side has not read for so long that what can be dropped should be."""
        return len(self._unsent) > _MAX_UNSENT

    def expect(self, reply: Reply) -> int:
        """Note who waits for an answer, and give the number to ask with."""
        number = next(self._numbers)
        self.replies[number] = reply
        return number

    def next_number(self) -> int:
        """Give a number for a question or a monitor."""
        return next(self._numbers)

    def flush(self) -> None:
        """Hand what was put to the kernel, as far as it takes it now."""
        if self._out:
            out, self._out = self._out, []
            frame = encode_frames(out, limit=LIMIT)
            if self._unsent:
                self._unsent += frame
            else:
                sent = self._send(frame)
                if sent < len(frame):
                    self._unsent += memoryview(frame)[sent:]
        elif self._unsent:
            sent = self._send(self._unsent)
            del self._unsent[:sent]

    async def run_sender(self) -> None:
        """Send what is put, until cancelled."""
        self._sender = trio.lowlevel.current_task()
        while True:
            if self._out:
                self.flush()
            if self._unsent:
                await trio.lowlevel.wait_writable(self._sock)
                sent = self._send(self._unsent)
                del self._unsent[:sent]
            elif not self._out:
                self._sender_parked = True
                await trio.lowlevel.wait_task_rescheduled(self._unpark)

    async def run_reader(self, take: Callable[[Sequence[Message]], object]) -> None:
        """Give what arrives to `take`, until the other side is gone."""
        sock = self._sock
        feed = self._decoder.feed
        try:
            while True:
                await trio.lowlevel.wait_readable(sock)
                try:
                    data = sock.recv(_READ)
                except BlockingIOError:
                    continue
                except OSError:
                    return
                if not data:
                    return
                messages = feed(data)
                if messages:
                    take(messages)
        except trio.ClosedResourceError:
            return
        finally:
            self.open = False

    async def first(self) -> tuple[Message, list[Message]]:
        """Wait for the first message; give it and those that came with it.

        Raises:
            ConnectionError: the other side is gone.
        """
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionError("the node is gone")
            if messages := self._decoder.feed(data):
                return messages[0], messages[1:]

    def ask(self, message: Message, number: int, take: Callable[[Sequence[Message]], object]) -> Message:
        """Send `message` and block until its answer is here; what comes before it is given to `take`.

        Raises:
            TimeoutError: no answer within `ASKING` seconds.
            ConnectionError: the other side is gone.
        """
        self._out.append(message)
        end = monotonic() + ASKING
        poll = select.poll()
        while True:
            self.flush()
            poll.register(self._sock, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            left = end - monotonic()
            if left <= 0:
                raise TimeoutError(f"the node did not answer within {ASKING:g} s")
            poll.poll(left * 1000)
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                continue
            if not data:
                raise ConnectionError("the node is gone")
            messages = self._decoder.feed(data)
            for at, answer in enumerate(messages):
                if answer[0] in {REPLY, ERROR, DIED} and answer[1] == number:
                    take(messages[:at])
                    take(messages[at + 1 :])
                    return answer  # type: ignore[no-any-return]
            take(messages)

    async def drain(self, seconds: float) -> None:
        """Wait until the kernel has taken everything."""
        with trio.move_on_after(seconds):
            while self._out or self._unsent:
                self.flush()
                if self._unsent:
                    await trio.lowlevel.wait_writable(self._sock)

    def _send(self, data: bytes | bytearray) -> int:
        """Send what the kernel takes now; a broken socket swallows all, as the death is seen by the reader."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _unpark(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._sender_parked = False
        return trio.lowlevel.Abort.SUCCEEDED
