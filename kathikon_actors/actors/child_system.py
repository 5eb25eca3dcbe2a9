"""The system as an actor process sees it: its own actors, and all others through the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from kathikon_actors.actors.actor import Actor
from kathikon_actors.actors.cell import Cell, current_cell, link_cells, nobody, unlink_cells
from kathikon_actors.actors.codec import dump, dump_reason, load, load_error
from kathikon_actors.actors.errors import ActorError
from kathikon_actors.actors.node_door import JobInserter, RemoteNode
from kathikon_actors.actors.ref import ActorRef
from kathikon_actors.actors.remote_cell import RemoteCell
from kathikon_actors.actors.replies import Slot
from kathikon_actors.actors.router import Router
from kathikon_actors.actors.snapshots.remote import RemoteSnapshots
from kathikon_actors.actors.statistics import ActorStatistics
from kathikon_actors.actors.system import ActorSystem
from kathikon_actors.actors.task_cell import TaskCell
from kathikon_actors.actors.wire import CALL, DEMONITOR, EXITED, MONITOR, REPLY, Address, Message, Wire
from supervisors import AlreadyRegistered, AlreadyStarted, DynamicSupervisor

if TYPE_CHECKING:
    from kathikon_actors.actors.monitor import Monitor
    from supervisors import ExitReason

__all__ = ["ChildRouter", "ChildSystem"]

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")


class Elsewhere(RemoteCell):
    """An actor outside of this process; whether it lives is for the node to say."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """What errors call it."""
        return f'"{self.name}"' if self.name is not None else f"#{self.uid}"

    def statistics(self) -> ActorStatistics:
        """Ask the node."""
        assert isinstance(self.system, ChildSystem)
        found: ActorStatistics | None = self.system.ask("statistics", self.to)
        return found or ActorStatistics(0, 0.0, 0, 0.0, 0)


class _Claim(Slot):
    """Waits for the number of a new life. Whatever comes behind the answer may be for that life already.

    It is taken also when nobody waits any more: the node holds the name until it hears of the end.
    """

    __slots__ = ("_new", "_system")

    def __init__(self, system: ChildSystem, new: Cell) -> None:
        super().__init__(system.above, "claim")
        self._system = system
        self._new = new

    def reply(self, value: Any) -> None:
        """Make it known under its number."""
        self._new.uid = value
        self._system.take_number(self._new)
        super().reply(value)


class ChildRouter(Router):
    """Takes what the node sends.

    Attributes:
        publish: writes the statistics of the process' actor.
    """

    system: ChildSystem
    publish: Callable[[], object] | None = None

    def take(self, messages: Sequence[Message]) -> None:
        """Act on messages, and let the node see how many wait."""
        super().take(messages)
        if self.publish is not None:
            self.publish()

    def sender(self, address: Address, name: str | None) -> Cell | None:
        """Give the actor that a signal came from."""
        if address is None:
            return None
        cell = self.system.cell_at(address) or self.system.elsewhere(address)
        cell.name = cell.name or name
        return cell

    def received(self, cell: Cell) -> None:
        """Count it, for the statistics at the node."""
        if isinstance(cell, TaskCell):
            cell.received += 1


class ChildSystem(ActorSystem):
    """The system inside an actor process."""

    def __init__(self, token: str, wire: Wire) -> None:
        super().__init__(token=token)
        self.wire = wire
        self.router = ChildRouter(self, wire)
        self.above = Elsewhere(self, 0, "node", "node", wire)
        self.snapshots = RemoteSnapshots(self)

    @property
    def supervisor(self) -> DynamicSupervisor:
        """There is none here: what `start` starts lives in the node."""
        raise ActorError("the supervisor of the system's actors is in the node's process, out of reach from here")

    @property
    def node(self) -> JobInserter:
        """The node, for inserting jobs; it says `OutsideNode` if there is none."""
        return RemoteNode(self)

    # Asking the node.

    def ask(self, what: str, *args: Any) -> Any:
        """Ask the node and block until it has answered, a fraction of a millisecond as a rule."""
        wire = self.wire
        number = wire.next_number()
        answer = wire.ask((CALL, number, 0, what, dump(args, what)), number, self.router.take)
        if answer[0] != REPLY:
            raise load_error(answer[2])
        return load(answer[2])

    def tell(self, what: str, value: object) -> None:
        """Let the node know something, without waiting for it."""
        self.wire.put((CALL, self.wire.next_number(), 0, what, dump(value, what)))

    async def request(self, what: str, *args: Any) -> Any:
        """Ask the node, and wait."""
        slot = Slot(self.above, what)
        self.above.forward_call(what, dump(args, "args"), slot)
        return await slot.wait(self.deadlines, float("inf"))

    async def start_from(self, cls: Callable[..., Any], args: Any, kwargs: Any, options: Any, *, link: bool) -> Any:
        """Start an actor in the node's process, under its supervisor."""
        parent = current_cell.get(None) if link else None
        return await self.request("start", cls, args, kwargs, options, None if parent is None else parent.uid)

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """Give the reference to the actor that holds `name` now, or None. Asks the node."""
        if self.cell_at(name) is not None or self.ask("whereis", name):
            return ActorRef(self.token, name, None)
        return None

    def names(self) -> list[str]:
        """Give the names that are held in the whole system now."""
        found: list[str] = self.ask("names")
        return found

    # Finding actors.

    def elsewhere(self, address: Address) -> RemoteCell:
        """Give what stands for an actor outside of this process."""
        if isinstance(address, str):
            cell = Elsewhere(self, 0, address, "actor", self.wire)
            cell.to = address
            return cell
        assert address is not None
        return Elsewhere(self, address, None, "actor", self.wire)

    def find(self, ref: ActorRef[Any]) -> Cell | None:
        """Give the actor that a reference means."""
        address: Address = ref.uid if ref.name is None else ref.name
        return None if address is None else self.cell_at(address) or self.elsewhere(address)

    def is_alive(self, ref: ActorRef[Any]) -> bool:
        """Whether a reference means a living actor now. Asks the node about others."""
        cell = self.find(ref)
        return cell is not None and (not isinstance(cell, RemoteCell) or bool(self.ask("alive", cell.to)))

    def pid_of(self, ref: ActorRef[Any]) -> int | None:
        """Give the process that a living actor is in. Asks the node about others."""
        cell = self.find(ref)
        if isinstance(cell, RemoteCell):
            found: int | None = self.ask("pid", cell.to)
            return found
        return None if cell is None else cell.pid

    # Names, ends, monitors, links.

    def adopt(self, cell: Cell) -> None:
        """Make an actor known whose name the node holds for it."""
        if cell.name is not None:
            self.registry.register(cell.name, owner=cell)
        self._cells[cell.uid] = cell

    async def claim(self, cell: Cell) -> None:
        """Make an actor of this process known to the whole system."""
        if cell.name is not None:
            try:
                self.registry.register(cell.name, owner=cell)
            except AlreadyRegistered as error:
                raise AlreadyStarted(cell.name, getattr(error.holder, "ref", None)) from None
        slot = _Claim(self, cell)
        self.above.forward_call("claim", dump((cell.name, cell.kind), "args"), slot)
        await slot.wait(self.deadlines, float("inf"))

    def take_number(self, cell: Cell) -> None:
        """The node knows a life by its number from now on; one that is over meanwhile has ended."""
        self._cells[cell.uid] = cell
        if not cell.alive:
            self.forget(cell)

    def forget(self, cell: Cell) -> None:
        """A life is over: the node tells everyone else."""
        # Before the node has numbered it, its own number may be that of another here.
        if self._cells.get(cell.uid) is cell:
            del self._cells[cell.uid]
            assert cell.reason is not None
            self.wire.put((EXITED, cell.uid, dump_reason(cell.reason)))

    def watch(self, monitor: Monitor, cell: Cell) -> None:
        """Have `monitor` fire at the end of `cell`."""
        if not isinstance(cell, RemoteCell):
            super().watch(monitor, cell)
            return

        def when_dead(callback: Callable[[ExitReason], object]) -> Callable[[], object]:
            number = self.wire.next_number()
            self.router.watched[number] = callback
            self.wire.put((MONITOR, number, cell.to))
            return partial(self._unwatch, number)

        monitor.watch(when_dead)

    def _unwatch(self, number: int) -> None:
        if self.router.watched.pop(number, None) is not None:
            self.wire.put((DEMONITOR, number))

    def link(self, one: ActorRef[Any], other: ActorRef[Any]) -> None:
        """Link two actors."""
        first, second = self.find(one), self.find(other)
        if first is None or second is None:
            return
        if not isinstance(first, RemoteCell) and not isinstance(second, RemoteCell):
            link_cells(first, second)
            return
        found = self.ask("link", _address(first), _address(second))
        for mine, uid, theirs in ((first, found[1], second), (second, found[0], first)):
            if uid is None and not isinstance(mine, RemoteCell):
                mine.signal(nobody(theirs.label), theirs, linked=True)

    def unlink(self, one: ActorRef[Any], other: ActorRef[Any]) -> None:
        """Unlink two actors."""
        first, second = self.find(one), self.find(other)
        if first is None or second is None:
            return
        if not isinstance(first, RemoteCell) and not isinstance(second, RemoteCell):
            unlink_cells(first, second)
            return
        # The node sends no exit signal of this link after its answer, and what it sent before has been delivered.
        self.ask("unlink", _address(first), _address(second))


def _address(cell: Cell) -> Address:
    return cell.to if isinstance(cell, RemoteCell) else cell.uid
