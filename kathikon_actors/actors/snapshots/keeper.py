"""The snapshots of one life of an actor: restored at its start, taken between its messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import trio

from kathikon_actors.actors.snapshots.sink import StoredSnapshot
from kathikon_actors.actors.snapshots.state import Snapshot, SnapshotUnreadable, decode, encode, state_type
from kathikon_actors.actors.snapshots.writer import SnapshotEvent, SnapshotLost, SnapshotRejected
from supervisors import InvalidSpec

__all__ = ["Keeper", "NoSnapshotMethods", "SnapshotOutlet", "check_snapshot"]

A = TypeVar("A")

LAST_FLUSH: Final = 2.0
"""Seconds that an actor's end waits for its last state to be kept."""


class NoSnapshotMethods(TypeError):
    """An actor was started with `snapshot=` whose class does not say what its state is.

    Attributes:
        cls: the class' name.
        missing: the method that it lacks.
    """

    def __init__(self, cls: str, missing: str) -> None:
        self.cls = cls
        self.missing = missing
        super().__init__(cls, missing)

    def __str__(self) -> str:
        return f"{self.cls} was started with snapshot=, but has no method {self.missing}; see docs/stages.md, Snapshots"


def check_snapshot(cls: type, name: str | None, snapshot: Snapshot) -> None:
    """See that an actor's state can be kept.

    Raises:
        InvalidSpec: `snapshot` is none, or the actor has no name.
        NoSnapshotMethods: the class does not say what its state is.
    """
    if not isinstance(snapshot, Snapshot):
        raise InvalidSpec("snapshot", snapshot, "a Snapshot(every=, interval=) or None")
    if name is None:
        raise InvalidSpec("snapshot", snapshot, "None for an actor without a name=: its state is kept by it")
    if "\0" in name:
        raise InvalidSpec("name", name, "a string without NUL, for an actor whose state is kept by it")
    for method in ("take_snapshot", "restore_snapshot"):
        if not callable(getattr(cls, method, None)):
            raise NoSnapshotMethods(cls.__name__, method)


class SnapshotOutlet(Protocol):
    """Where snapshots and news of them go: the system's writer, or the way to it from another process."""

    async def load(self, actor: str) -> list[StoredSnapshot]:
        """Give an actor's last snapshots, the newest first."""
        ...

    def put(self, actor: str, snapshot: StoredSnapshot) -> None:
        """Have a snapshot kept, soon."""

    async def flush(self, actor: str) -> None:
        """Wait until what was put of this actor is kept."""

    def report(self, event: SnapshotEvent) -> None:
        """Tell what went wrong."""


class Keeper:
    """Decides when one actor's state is taken, and hands it on.

    Args:
        name: the actor's.
        options: when and how.
        outlet: where snapshots go.
        clock: gives seconds.
    """

    __slots__ = ("_clock", "_last", "_messages", "_outlet", "name", "options")

    def __init__(self, name: str, options: Snapshot, outlet: SnapshotOutlet, clock: Callable[[], float]) -> None:
        self.name = name
        self.options = options
        self._outlet = outlet
        self._clock = clock
        self._messages = 0
        self._last = clock()

    async def restore(self, actor: A, make_again: Callable[[], A]) -> A:
        """Give the actor with its last state, or as it is when there is none that it takes.

        A snapshot that cannot be read makes room for the one before it. One that `restore_snapshot` refuses means a
        start from scratch, with a new object: the old one may have taken half of it.
        """
        for snapshot in await self._outlet.load(self.name):
            try:
                state = decode(self.name, snapshot, self.options.codec, state_type(type(actor)))
            except SnapshotUnreadable as error:
                self._outlet.report(SnapshotRejected(self.name, error, snapshot.version))
                continue
            try:
                waiting = actor.restore_snapshot(state)  # type: ignore[attr-defined] # check_snapshot saw it
                if inspect.isawaitable(waiting):
                    await waiting
            except Exception as error:  # the user's own code: whatever it raises, the actor starts
                self._outlet.report(SnapshotRejected(self.name, error, snapshot.version))
                return make_again()
            return actor
        return actor

    def message_handled(self) -> bool:
        """Count a message; tell whether a snapshot is due."""
        self._messages += 1
        return self.options.is_due(self._messages, self._clock() - self._last)

    def due_in(self) -> float:
        """Give the seconds until one is due without another message; inf for never."""
        return self.options.due_in(self._messages, self._clock() - self._last)

    async def take(self, actor: Any) -> None:
        """Take the state now, if there was a message since the last time.

        A state that cannot be taken or written is reported and tried again when the next one is due.
        """
        if not self._messages:
            return
        self._messages = 0
        self._last = self._clock()
        try:
            state = actor.take_snapshot()
            if inspect.isawaitable(state):
                state = await state
            snapshot = encode(self.name, state, self.options.codec)
        except Exception as error:  # the user's own code: a state that cannot be taken does not end the actor
            self._outlet.report(SnapshotLost(self.name, error))
        else:
            self._outlet.put(self.name, snapshot)

    async def take_last(self, actor: Any) -> None:
        """Take the state of an actor that ended in order, and wait a little until it is kept."""
        await self.take(actor)
        with trio.move_on_after(LAST_FLUSH):
            await self._outlet.flush(self.name)
