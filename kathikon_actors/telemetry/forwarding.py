"""Events on their way from a node to listeners outside: packed into notices of limited size, and unpacked."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from kathikon_actors.telemetry.events import Event

__all__ = ["Notice", "Packer", "decode_event", "kinds_by_name", "names_of", "unpack"]

CUTS: Final = (500, 50)
"""Characters to which the texts of an event that is too big are cut: at first, and when that is not enough."""


class Notice(msgspec.Struct, array_like=True):
    """One message of a node to all listeners.

    Attributes:
        node: its name.
        number: grows with every one, so that no two are the same: Postgres sends what is the same only once.
        taken: ids of listeners to whom the node sends from now on.
        dropped: by kind, events that were lost on the way since the last one.
        events: by kind and as JSON.
    """

    node: str
    number: int
    taken: Sequence[str] = ()
    dropped: Mapping[str, int] = {}
    events: Sequence[tuple[str, msgspec.Raw]] = ()


class Packer:
    """Packs the events of one node.

    Args:
        node: its name.
        limit: bytes of one notice.
    """

    def __init__(self, node: str, limit: int) -> None:
        self._node = node
        self._limit = limit
        self._numbers = itertools.count()

    def greet(self, listeners: Iterable[str]) -> list[str]:
        """Give notices that say to whom is sent from now on."""
        ids = sorted(listeners)
        return [self._notice(taken=ids[at : at + 100]) for at in range(0, len(ids), 100)]

    def pack(self, events: Iterable[Event], dropped: Mapping[str, int]) -> list[str]:
        """Give the notices for these events, in order; the first one tells what was dropped before.

        An event that is too big for a notice has its texts cut; one that is too big without them is dropped.
        """
        room = self._limit - len(self._notice(dropped=dict.fromkeys([*dropped, "and another"], 10**12)).encode()) - 50
        fitting = [(event.name, _fit(event, room)) for event in events]
        dropped = Counter(dropped) + Counter(name for name, raw in fitting if not raw)
        notices: list[str] = []
        part: list[tuple[str, msgspec.Raw]] = []
        size = empty = self._limit - room
        for name, raw in fitting:
            if not raw:
                continue
            more = _size(name, raw)
            if part and size + more > self._limit:
                notices.append(self._notice(dropped=dropped if not notices else {}, events=part))
                part, size = [], empty
            part.append((name, msgspec.Raw(raw)))
            size += more
        if part or (dropped and not notices):
            notices.append(self._notice(dropped=dropped if not notices else {}, events=part))
        return notices

    def _notice(self, **fields: Any) -> str:
        return msgspec.json.encode(Notice(self._node, next(self._numbers), **fields)).decode()


def _fit(event: Event, room: int) -> bytes:
    """Encode an event, cut to fit; nothing when it cannot be."""
    try:
        raw = msgspec.json.encode(event)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError):  # of a program's own
        return b""
    for length in CUTS:
        if _size(event.name, raw) <= room:
            return raw
        raw = msgspec.json.encode(_cut(msgspec.to_builtins(event), length))
    return raw if _size(event.name, raw) <= room else b""


def _size(name: str, raw: bytes) -> int:
    return len(name) + len(raw) + 8


def _cut(fields: dict[str, Any], length: int) -> dict[str, Any]:
    return {
        name: f"{value[:length]}..." if isinstance(value, str) and len(value) > length else value
        for name, value in fields.items()
    }


def unpack(payload: str) -> Notice | None:
    """Give the notice; `None` when this version does not understand it."""
    try:
        return msgspec.json.decode(payload, type=Notice)
    except msgspec.DecodeError:
        return None


def decode_event(kind: type[Event], raw: msgspec.Raw) -> Event | None:
    """Give the event; `None` when a newer node has sent one of this name that is not understood here."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError:
        return None


def kinds_by_name(kinds: Iterable[type[Event]] = (Event,)) -> dict[str, type[Event]]:
    """Give these kinds and every one that is derived from them, as far as this program has imported it."""
    found: dict[str, type[Event]] = {}
    for kind in kinds:
        found |= {kind.__name__: kind} | kinds_by_name(kind.__subclasses__())
    return found


def names_of(kinds: Iterable[type[Event]]) -> list[str] | None:
    """Give the names under which nodes tell of these kinds; `None` when all are meant."""
    wanted = tuple(kinds)
    return None if not wanted or Event in wanted else sorted(kinds_by_name(wanted))
