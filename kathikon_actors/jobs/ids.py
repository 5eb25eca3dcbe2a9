"""Job ids: UUIDv7 (RFC 9562 section 5.7), made by the inserting process without a round trip.

Time comes as a parameter and randomness from the caller's `random.Random`, so that ids repeat under a seed.
"""

from __future__ import annotations

import os
import random
from uuid import UUID, SafeUUID

from kathikon_actors.jobs.errors import JobNotFound

__all__ = ["IdSource", "as_uuid", "raw_id"]

_VERSION_7 = 0x7 << 12
_VARIANT = 0x2 << 62
_HIGH_BITS = 12
_LOW_BITS = 62
_SEQUENCE_STEP_BITS = 32

_NOT_KNOWN = SafeUUID.unknown  # looked up in its enum each time it would cost as much as the rest of an id


def as_uuid(raw: bytes) -> UUID:
    """Give the UUID of 16 bytes. Four times as fast as `UUID(bytes=raw)`, which checks what is known here."""
    uuid = UUID.__new__(UUID)
    object.__setattr__(uuid, "int", int.from_bytes(raw, "big"))
    object.__setattr__(uuid, "is_safe", _NOT_KNOWN)
    return uuid


def raw_id(job_id: UUID | str) -> bytes:
    """Give the 16 bytes of an id as a user gives it.

    Raises:
        JobNotFound: it is no UUID, so there is no such job.
    """
    if isinstance(job_id, UUID):
        return job_id.bytes
    try:
        return UUID(job_id).bytes
    except (ValueError, AttributeError, TypeError):
        raise JobNotFound(job_id) from None


class IdSource:
    """Makes ids that sort in the order in which they were made, also within one millisecond.

    Within a millisecond the last 62 random bits are used as a counter with random steps (RFC 9562, method 2).
    """

    __slots__ = ("_given", "_given_at", "_head", "_last_ms", "_low", "_random")

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source if source is not None else random.Random(os.urandom(16))  # noqa: S311 ids are no secrets
        self._last_ms = -1
        self._head = b""
        self._low = 0
        self._given_at = -1
        self._given: dict[bytes, int] = {}

    def next(self, now_us: int) -> bytes:
        """Give the next id.

        Args:
            now_us: the time in microseconds since 1970, UTC. A clock that steps back does not disturb the order.
        """
        ms = now_us // 1000
        if ms > self._last_ms:
            self._begin(ms)
        else:
            self._low += 1 + self._random.getrandbits(_SEQUENCE_STEP_BITS)
            if self._low >> _LOW_BITS:
                self._begin(self._last_ms + 1)
        return self._head + (_VARIANT | self._low).to_bytes(8, "big")

    def given(self, job_id: bytes, now_us: int) -> int:
        """Note an id that a caller gives; give when its job counts as inserted, in microseconds.

        An insert that a store meets again is known by its id and that time. So each of several inserts of one id has a
        time of its own, also under a clock that stands still.
        """
        if now_us != self._given_at:
            self._given_at = now_us
            self._given.clear()
        before = self._given.get(job_id, 0)
        self._given[job_id] = before + 1
        return now_us + before

    def _begin(self, ms: int) -> None:
        """Begin to count in a later millisecond."""
        self._last_ms = ms
        self._head = (ms << 16 | _VERSION_7 | self._random.getrandbits(_HIGH_BITS)).to_bytes(8, "big")
        self._low = self._random.getrandbits(_LOW_BITS - 1)
