"""One life of an actor, seen from this process: what can be done to it, whether it runs here or elsewhere."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kathikon_actors.actors.errors import NoSuchActor
from supervisors import Crash, ExitReason

if TYPE_CHECKING:
    import trio

    from kathikon_actors.actors.ref import ActorRef
    from kathikon_actors.actors.replies import Reply
    from kathikon_actors.actors.statistics import ActorStatistics
    from kathikon_actors.actors.system import ActorSystem
    from kathikon_actors.actors.task_cell import TaskCell

__all__ = ["Cell", "current_cell", "link_cells", "nobody", "unlink_cells"]

current_cell: ContextVar[TaskCell] = ContextVar("current_cell")


def nobody(label: str) -> ExitReason:
    """Give the reason that stands for an actor which was dead before (OTP's noproc)."""
    return Crash(NoSuchActor(label))


class Cell(ABC):
    """One life of an actor.

    Attributes:
        system: where it is known.
        uid: its number, unique in the system; another life has another one.
        name: the name it holds while it lives, if it has one.
        kind: the name of its class, for people.
        task: the task that handles its messages, when that is in this process.
        alive: False from the moment its name is free.
        reason: how it ended.
    """

    __slots__ = ("_links", "_mourners", "_ref", "alive", "kind", "name", "reason", "system", "task", "uid")

    def __init__(self, system: ActorSystem, uid: int, name: str | None, kind: str) -> None:
        self.system = system
        self.uid = uid
        self.name = name
        self.kind = kind
        self.task: trio.lowlevel.Task | None = None
        self.alive = True
        self.reason: ExitReason | None = None
        self._links: set[Cell] | None = None
        self._mourners: dict[object, Callable[[ExitReason], object]] | None = None
        self._ref: ActorRef[Any] | None = None

    def __repr__(self) -> str:
        return f"<{self.label}{'' if self.alive else ' (dead)'}>"

    @property
    def label(self) -> str:
        """What errors call it."""
        return f'{self.kind} "{self.name}"' if self.name is not None else f"{self.kind} #{self.uid}"

    @property
    def ref(self) -> ActorRef[Any]:
        """The reference that others get: by name if it has one."""
        if self._ref is None:
            self._ref = self.system.ref_to(self)
        return self._ref

    @property
    def pid(self) -> int | None:
        """The operating system's number of the process it lives in."""
        return os.getpid()

    # What others send. None of these waits, none raises because the actor is gone.

    @abstractmethod
    def call(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], reply: Reply) -> None:
        """Have it run a method and answer to `reply`; what cannot be sent raises here."""

    @abstractmethod
    def cast(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Have it run a method."""

    @abstractmethod
    def send(self, message: object) -> None:
        """Give `message` to its `handle_info`."""

    @abstractmethod
    def stop(self, reason: ExitReason) -> None:
        """Have it end with `reason` once it has handled what was sent before."""

    @abstractmethod
    def signal(self, reason: ExitReason, sender: Cell | None, *, linked: bool) -> None:
        """Give it an exit signal; `linked` when a linked actor's end sends it."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, whatever it does."""

    @abstractmethod
    def statistics(self) -> ActorStatistics:
        """How busy it is."""

    # Its end.

    def when_dead(self, callback: Callable[[ExitReason], object]) -> Callable[[], None]:
        """Call `callback(reason)` at its end, in order of asking; at once if it has ended. Returns the way out."""
        if not self.alive:
            callback(self.reason or nobody(self.label))
            return lambda: None
        if self._mourners is None:
            self._mourners = {}
        key = object()
        mourners = self._mourners
        mourners[key] = callback

        def withdraw() -> None:
            mourners.pop(key, None)

        return withdraw

    def finish(self, reason: ExitReason) -> None:
        """Record its end: its name is free first, then monitors fire, then links."""
        if not self.alive:
            return
        self.alive = False
        self.reason = reason
        self.system.forget(self)
        mourners, self._mourners = self._mourners, None
        for callback in tuple(mourners.values()) if mourners else ():
            callback(reason)
        links, self._links = self._links, None
        for peer in links or ():
            peer.lose_link(self)
        for peer in links or ():
            peer.signal(reason, self, linked=True)

    def add_link(self, peer: Cell) -> None:
        """Note one side of a link."""
        if self._links is None:
            self._links = set()
        self._links.add(peer)

    def lose_link(self, peer: Cell) -> None:
        """Forget one side of a link."""
        if self._links is not None:
            self._links.discard(peer)

    def is_linked(self, peer: Cell) -> bool:
        """Whether there is a link to `peer`."""
        return self._links is not None and peer in self._links


def link_cells(one: Cell, other: Cell) -> None:
    """Tie two lives together; to a dead one the living gets the exit signal of nobody."""
    if one is other:
        return
    if one.alive and other.alive:
        one.add_link(other)
        other.add_link(one)
    elif one.alive:
        one.signal(nobody(other.label), other, linked=True)
    elif other.alive:
        other.signal(nobody(one.label), one, linked=True)


def unlink_cells(one: Cell, other: Cell) -> None:
    """Untie two lives."""
    one.lose_link(other)
    other.lose_link(one)
