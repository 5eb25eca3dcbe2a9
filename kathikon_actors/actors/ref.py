"""What one holds of an actor."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import trio

from kathikon_actors.actors.cell import Cell, current_cell, nobody
from kathikon_actors.actors.errors import ActorDied, CallingSelf, CallTimeout, NoSuchActor
from kathikon_actors.actors.monitor import Monitor
from kathikon_actors.actors.replies import Slot
from kathikon_actors.actors.systems import system_of
from supervisors import ExitReason, Killed, Normal

if TYPE_CHECKING:
    from kathikon_actors.actors.actor import Actor
    from kathikon_actors.actors.statistics import ActorStatistics
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["ActorRef"]

A = TypeVar("A", bound="Actor")
P = ParamSpec("P")
R = TypeVar("R")


class ActorRef(Generic[A]):
    """A reference to an actor in a task, in another process, or not alive any more.

    Made by name it means whoever holds the name, over restarts; without a name it means one life. It can be compared,
    hashed, and sent to other processes of the same system.

    Attributes:
        name: the name it goes by, or None.
        uid: the number of the life it goes by, or None.
        token: of the system it belongs to.
    """

    __slots__ = ("_cell", "_system", "name", "token", "uid")

    def __init__(self, token: str, name: str | None, uid: int | None, cell: Cell | None = None) -> None:
        self.token = token
        self.name = name
        self.uid = uid
        self._cell = cell
        self._system: ActorSystem | None = None if cell is None else cell.system

    def __repr__(self) -> str:
        return f"<ActorRef {self.label}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ActorRef):
            return NotImplemented
        return (self.name, self.uid, self.token) == (other.name, other.uid, other.token)

    def __hash__(self) -> int:
        return hash((self.name, self.uid, self.token))

    def __reduce__(self) -> tuple[object, ...]:
        return ActorRef, (self.token, self.name, self.uid)

    @property
    def label(self) -> str:
        """What errors call it."""
        if self._cell is not None:
            return self._cell.label
        return f'"{self.name}"' if self.name is not None else f"#{self.uid}"

    @overload
    async def call(
        self, method: Callable[Concatenate[A, P], Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...

    @overload
    async def call(  # type: ignore[valid-type] # PEP 612 has no way to add a parameter of our own
        self,
        method: Callable[Concatenate[A, P], Awaitable[R]],
        /,
        *args: P.args,
        timeout: float,  # pyright: ignore[reportGeneralTypeIssues] # as above; callers are checked all the same
        **kwargs: P.kwargs,
    ) -> R: ...

    async def call(  # type: ignore[misc] # a method's own `timeout` parameter cannot be given by name
        self, method: Callable[..., Awaitable[Any]], /, *args: Any, timeout: float = 5.0, **kwargs: Any
    ) -> Any:
        """Have the actor run `method` and wait for its result.

        Args:
            method: an async method of the actor's class, such as `Counter.add`.
            *args: its arguments, without `self`.
            timeout: seconds to wait for the reply, `math.inf` for ever. The actor is not told when they are over.
            **kwargs: its keyword arguments.

        Raises:
            NoSuchActor: it is dead, or nobody has the name; at once.
            ActorDied: it ended before it answered; at once, with the reason.
            CallTimeout: no answer within `timeout`.
            CallingSelf: the actor called itself.
            MailboxFull: its mailbox is bounded, and full.
            Unpicklable: an argument or the result cannot go to another process; says which.
        """
        cell = self._cell
        if cell is None or not cell.alive:
            cell = self._find()
        name = method.__name__
        slot = Slot(cell, name)
        cell.call(name, args, kwargs, slot)
        return await slot.wait(cell.system.deadlines, timeout)

    def cast(
        self, method: Callable[Concatenate[A, P], Awaitable[object]], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Have the actor run `method`; nobody learns whether it did. Never waits; to the dead it says nothing.

        Raises:
            Unpicklable: an argument cannot go to another process; says which.
        """
        cell = self._living()
        if cell is not None:
            cell.cast(method.__name__, args, kwargs)

    def send(self, message: object) -> None:
        """Give `message` to the actor's `handle_info`; as `cast` otherwise."""
        cell = self._living()
        if cell is not None:
            cell.send(message)

    async def stop(self, reason: ExitReason = Normal(), timeout: float = math.inf) -> None:
        """Have the actor end, once it has handled what was sent before, and wait until it has.

        An actor that its supervisor restarts in any case (`permanent`) comes back.

        Args:
            reason: with what reason it shall end.
            timeout: seconds to wait; the actor ends even when they are over.

        Raises:
            NoSuchActor: it is dead.
            ActorDied: it ended with another reason.
            CallTimeout: it has not ended within `timeout`.
            CallingSelf: an actor waits for its own end; it should use `self.stop()`.
        """
        cell = self._find()
        if cell.task is trio.lowlevel.current_task():
            raise CallingSelf(cell.label, "stop")
        monitor = Monitor(self, None)
        cell.system.watch(monitor, cell)
        cell.stop(reason)
        with trio.move_on_after(timeout):
            down = await monitor.wait()
            if type(down.reason) is not type(reason):
                raise ActorDied(cell.label, "stop", down.reason)
            return
        monitor.demonitor()
        raise CallTimeout(cell.label, "stop", timeout)

    def exit(self, reason: ExitReason) -> None:
        """Send an exit signal, as a link does.

        `Normal()` ends nobody but the sender itself. Any other ends an actor at once, in the middle of a message,
        unless it has `trap_exit`: then `ExitSignal` arrives at its `handle_info`. `Killed()` is `kill()`.
        """
        cell = self._living()
        if cell is not None:
            cell.signal(reason, current_cell.get(None), linked=False)

    def kill(self) -> None:
        """End the actor at once, without its `terminate`; for an actor in a process of its own SIGKILL."""
        self.exit(Killed())

    def link(self, other: ActorRef[Any]) -> None:
        """Tie two actors together: when one ends, the other gets an exit signal with the reason.

        One that is dead already sends `Crash(NoSuchActor)` to the other. Twice is once; to itself is nothing.
        """
        self._need_system().link(self, other)

    def unlink(self, other: ActorRef[Any]) -> None:
        """Untie them; no exit signal of a link comes after this."""
        self._need_system().unlink(self, other)

    def monitor(self) -> Monitor:
        """Watch for the end of the actor: `Down` comes once, at once if it is dead.

        In an actor it arrives at `handle_info`; elsewhere `await monitor.wait()`.
        """
        monitor = Monitor(self, current_cell.get(None))
        cell = self._living()
        if cell is None:
            monitor.watch(lambda callback: _at_once(callback, nobody(self.label)))
        else:
            cell.system.watch(monitor, cell)
        return monitor

    @property
    def alive(self) -> bool:
        """Whether the actor lives, as far as is known here."""
        system = self._get_system()
        return system is not None and system.is_alive(self)

    @property
    def pid(self) -> int | None:
        """The operating system's number of the process that it lives in; None when it is dead."""
        system = self._get_system()
        return None if system is None else system.pid_of(self)

    def statistics(self) -> ActorStatistics:
        """How long its mailbox is, how much it has done, how busy it is.

        Raises:
            NoSuchActor: it is dead.
        """
        return self._find().statistics()

    # Finding it.

    def _get_system(self) -> ActorSystem | None:
        if self._system is None or self._system.closed:
            self._system = system_of(self.token)
        return self._system

    def _need_system(self) -> ActorSystem:
        system = self._get_system()
        if system is None:
            raise NoSuchActor(f"{self.label} (its system is not here)")
        return system

    def _living(self) -> Cell | None:
        cell = self._cell
        if cell is None or not cell.alive:
            system = self._get_system()
            cell = None if system is None else system.find(self)
            if cell is not None:
                self._cell = cell
        return cell

    def _find(self) -> Cell:
        cell = self._living()
        if cell is None:
            system = self._get_system()
            raise NoSuchActor(self.label, () if system is None or self.name is None else system.names())
        return cell


def _at_once(callback: Callable[[ExitReason], object], reason: ExitReason) -> Callable[[], None]:
    callback(reason)
    return lambda: None
