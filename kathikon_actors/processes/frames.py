"""The wire format: a length of 4 bytes, big-endian, then a msgpack list of messages.

Many messages travel in one frame when many are there, one when there is one: the list is the batch. Pure: bytes in,
messages out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

__all__ = ["MAX_FRAME", "BadFrame", "FrameDecoder", "FrameTooLarge", "encode_frames"]

MAX_FRAME = 64 * 1024 * 1024
"""Bytes one frame may have, its length not counted; a batch that is larger is split."""

M = TypeVar("M")

_HEADER = 4
_encoder = msgspec.msgpack.Encoder()


class FrameTooLarge(ValueError):
    """One message alone is larger than a frame may be.

    Attributes:
        size: bytes it would take.
        limit: bytes a frame may have.
    """

    def __init__(self, size: int, limit: int, what: str) -> None:
        self.size = size
        self.limit = limit
        super().__init__(f"{what} has {size} bytes; a frame between processes may have {limit}")


class BadFrame(ValueError):
    """What arrived is not a frame of the expected messages: the other side is broken, the connection is of no use."""


def encode_frames(messages: Sequence[object], *, limit: int = MAX_FRAME) -> bytes:
    """Give `messages` as one frame, or as several when they do not fit in one.

    Raises:
        FrameTooLarge: a single message is larger than `limit` bytes.
    """
    body = _encoder.encode(messages)
    size = len(body)
    if size <= limit:
        return size.to_bytes(_HEADER, "big") + body
    if len(messages) <= 1:
        raise FrameTooLarge(size, limit, f"a message of type {type(messages[0]).__name__}")
    middle = len(messages) // 2
    return encode_frames(messages[:middle], limit=limit) + encode_frames(messages[middle:], limit=limit)


class FrameDecoder(Generic[M]):
    """Takes bytes as they arrive and gives the messages that are complete.

    Args:
        message_type: a msgspec type, usually a union of tagged structs.
        limit: bytes a frame may have; a longer one raises before it is buffered.
    """

    def __init__(self, message_type: Any, *, limit: int = MAX_FRAME) -> None:
        self._decode = msgspec.msgpack.Decoder(list[message_type]).decode
        self._limit = limit
        self._buffer = bytearray()
        self._needed = _HEADER

    @property
    def buffered(self) -> int:
        """Bytes of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[M]:
        """Take the next bytes; give every message they complete, in order.

        Raises:
            BadFrame: the bytes are no frame, or the frame is longer than the limit.
        """
        if not self._buffer and len(data) > _HEADER and int.from_bytes(data[:_HEADER], "big") == len(data) - _HEADER:
            return self._messages(memoryview(data)[_HEADER:])
        self._buffer += data
        if len(self._buffer) < self._needed:
            return []
        return self._complete()

    def _complete(self) -> list[M]:
        messages: list[M] = []
        buffer = self._buffer
        at = 0
        with memoryview(buffer) as view:
            while True:
                self._needed = _HEADER
                if len(buffer) - at < _HEADER:
                    break
                size = int.from_bytes(view[at : at + _HEADER], "big")
                if size > self._limit:
                    raise BadFrame(f"a frame of {size} bytes arrived; the limit is {self._limit}")
                self._needed += size
                if len(buffer) - at < self._needed:
                    break
                messages += self._messages(view[at + _HEADER : at + self._needed])
                at += self._needed
        del buffer[:at]
        return messages

    def _messages(self, body: memoryview) -> list[M]:
        try:
            messages: list[M] = self._decode(body)
        except msgspec.MsgspecError as error:
            raise BadFrame(f"a frame of {len(body)} bytes cannot be read: {error}") from error
        return messages
