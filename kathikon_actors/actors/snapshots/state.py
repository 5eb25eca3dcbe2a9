"""How an actor's state becomes bytes and state again."""

from __future__ import annotations

import math
import pickle
import typing
from dataclasses import dataclass
from typing import Any

import msgspec

from kathikon_actors.actors.snapshots.sink import MAX_STATE, Codec, SnapshotTooLarge, StoredSnapshot

__all__ = ["Snapshot", "SnapshotUnreadable", "StateNotEncodable", "decode", "encode", "state_type"]


@dataclass(frozen=True)
class Snapshot:
    """When an actor's state is kept, and how it is written.

    The actor says what its state is: `take_snapshot(self)` gives it, `restore_snapshot(self, state)` takes it back
    before `started()` runs. With the codec `msgpack` a state is JSON-like data, a dataclass or a `msgspec.Struct`, and
    whatever else msgspec writes; it comes back as the type that `restore_snapshot` (or the result of `take_snapshot`)
    is annotated with, and as plain dicts and lists where there is no annotation.

    Args:
        every: messages after which one is taken.
        interval: seconds after which one is taken if there was a message since the last; `math.inf` for never.
        codec: `msgpack`, or `pickle` for any object that can be pickled. **Unpickling runs code: with `pickle` whoever
            can write to the store's database can run code in this process.** Use it only where you trust the database
            as you trust your program.

    Raises:
        ValueError: a value that cannot be.

    Example:
        ```python
        class Counter(Actor):
            def __init__(self) -> None:
                self.value = 0

            async def add(self, by: int) -> int:
                self.value += by
                return self.value

            def take_snapshot(self) -> int:
                return self.value

            def restore_snapshot(self, state: int) -> None:
                self.value = state

        counter = await system.start(Counter, name="counter", snapshot=Snapshot(every=10, interval=5.0))
        ```
    """

    every: int = 100
    interval: float = 60.0
    codec: Codec = "msgpack"

    def __post_init__(self) -> None:
        if isinstance(self.every, bool) or not isinstance(self.every, int) or self.every < 1:
            raise ValueError(f"Snapshot.every is {self.every!r}; it is a whole number of messages, 1 or more")
        if isinstance(self.interval, bool) or not isinstance(self.interval, int | float) or not self.interval > 0:
            raise ValueError(
                f"Snapshot.interval is {self.interval!r}; it is seconds, above 0, or math.inf to count messages only"
            )
        if self.codec not in {"msgpack", "pickle"}:
            raise ValueError(f"Snapshot.codec is {self.codec!r}; it is 'msgpack' or 'pickle'")

    def is_due(self, messages: int, seconds: float) -> bool:
        """Tell whether one is to be taken, so many messages and seconds after the last."""
        return messages >= self.every or (messages > 0 and seconds >= self.interval)

    def due_in(self, messages: int, seconds: float) -> float:
        """Give the seconds until one is due if no message comes; `math.inf` for not before the next message."""
        return max(0.0, self.interval - seconds) if messages > 0 else math.inf


class StateNotEncodable(TypeError):
    """What `take_snapshot` gave cannot be written.

    Attributes:
        actor: whose state it is.
        problem: what is wrong with it.
    """

    def __init__(self, actor: str, codec: str, problem: str) -> None:
        self.actor = actor
        self.codec = codec
        self.problem = problem
        super().__init__(actor, codec, problem)

    def __str__(self) -> str:
        hint = "" if self.codec == "pickle" else "; give JSON-like data, a dataclass or a msgspec.Struct"
        return f"the snapshot of actor {self.actor} cannot be written as {self.codec}: {self.problem}{hint}"


class SnapshotUnreadable(ValueError):
    """A snapshot that is kept cannot be read back.

    Attributes:
        actor: whose.
        version: of the snapshot.
        problem: why not.
    """

    def __init__(self, actor: str, version: int, problem: str) -> None:
        self.actor = actor
        self.version = version
        self.problem = problem
        super().__init__(actor, version, problem)

    def __str__(self) -> str:
        return f"snapshot {self.version} of actor {self.actor} cannot be read: {self.problem}"


def encode(actor: str, state: object, codec: Codec) -> StoredSnapshot:
    """Write a state.

    Raises:
        StateNotEncodable: the codec cannot write it.
        SnapshotTooLarge: it takes more bytes than a snapshot may.
    """
    try:
        written = msgspec.msgpack.encode(state) if codec == "msgpack" else pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # whatever the state's own objects raise while they are written
        raise StateNotEncodable(actor, codec, f"{type(error).__name__}: {error}") from error
    if len(written) > MAX_STATE:
        raise SnapshotTooLarge(actor, len(written))
    return StoredSnapshot(codec, written)


def decode(actor: str, stored: StoredSnapshot, codec: Codec, type_: Any = Any) -> Any:
    """Read a state back. Never unpickles what the actor itself does not ask to be pickled, whatever the store says.

    Args:
        actor: whose it is, for errors.
        stored: as the sink gave it.
        codec: the actor's own.
        type_: what a msgpack state is read as.

    Raises:
        SnapshotUnreadable: it was written by another codec, or does not fit the type.
    """
    if stored.codec != codec:
        problem = f"it was written as {str(stored.codec)[:20]!r}, and the actor's Snapshot(codec=) says {codec!r}"
        raise SnapshotUnreadable(actor, stored.version, problem)
    try:
        if codec == "pickle":
            return pickle.loads(stored.state)  # noqa: S301 the user chose to trust the database with this codec
        return msgspec.msgpack.decode(stored.state, type=type_)
    except Exception as error:  # unpickling runs the user's own code
        raise SnapshotUnreadable(actor, stored.version, f"{type(error).__name__}: {error}") from error


def state_type(cls: type) -> Any:
    """Give the type that a class' state is annotated with, `Any` where there is none.

    It is the annotation of the parameter of `restore_snapshot`, else that of what `take_snapshot` gives.
    """
    for name in ("restore_snapshot", "take_snapshot"):
        method = getattr(cls, name, None)
        if method is None:
            continue
        try:
            hints = typing.get_type_hints(method)
        except Exception:  # noqa: S112 a name that exists only for type checkers: then there is no type to read it as
            continue
        if name == "take_snapshot":
            hints = {"return": hints["return"]} if "return" in hints else {}
        else:
            hints.pop("return", None)
        found = next(iter(hints.values()), object)
        if found not in (object, Any, type(None)):
            return found
    return Any
