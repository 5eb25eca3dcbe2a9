"""A wire for actors inside another connection: the frames of a worker process that runs jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

import msgspec

from kathikon_actors.actors.codec import dump_error
from kathikon_actors.actors.errors import Unpicklable
from kathikon_actors.actors.wire import ASKING, DIED, ERROR, REPLY, Message, Wire
from kathikon_actors.processes.frames import FrameTooLarge

__all__ = ["FrameWire"]

logger = logging.getLogger("kathikon_actors")

_decode = msgspec.msgpack.Decoder(list[Any]).decode
_encode = msgspec.msgpack.encode


class FrameWire(Wire):
    """One end.

    Args:
        send: sends a frame of bytes, in order, without waiting. Raises `FrameTooLarge`, or `BufferError` when too much
            waits already.
        receive: blocks until frames arrive, at most so many seconds; only the end that asks has it.
        congested: whether so much waits that what can be dropped should be.
    """

    def __init__(
        self,
        send: Callable[[bytes], object],
        receive: Callable[[float], list[bytes]] | None = None,
        congested: Callable[[], bool] = bool,
    ) -> None:
        super().__init__()
        self._send_frame = send
        self._receive = receive
        self._congested = congested

    def is_congested(self) -> bool:
        """See `Wire.is_congested`."""
        return self._congested()

    def put(self, message: Message) -> None:
        """See `Wire.put`. A call or cast that is too large raises; an answer that is too large becomes an error."""
        if not self.open:
            return
        try:
            self._send_frame(_encode([message]))
        except FrameTooLarge as error:
            problem = Unpicklable("result" if message[0] == REPLY else "args", "message", str(error))
            if message[0] not in {REPLY, ERROR, DIED}:
                self.replies.pop(message[1], None)
                raise problem from None
            self._send_frame(_encode([(ERROR, message[1], dump_error(problem))]))
        except BufferError as error:
            logger.warning("a message to a worker process was dropped: %s", error)

    @staticmethod
    def messages(frame: bytes) -> list[Message]:
        """Give what a frame holds."""
        return _decode(frame)

    def ask(self, message: Message, number: int, take: Callable[[Sequence[Message]], object]) -> Message:
        """See `Wire.ask`."""
        assert self._receive is not None
        self.put(message)
        end = monotonic() + ASKING
        while True:
            left = end - monotonic()
            if left <= 0:
                raise TimeoutError(f"the node did not answer within {ASKING:g} s")
            answer: Message | None = None
            for frame in self._receive(left):
                for one in _decode(frame):
                    if one[0] in {REPLY, ERROR, DIED} and one[1] == number:
                        answer = one
                    else:
                        take((one,))
            if answer is not None:
                return answer
