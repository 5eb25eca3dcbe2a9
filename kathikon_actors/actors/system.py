"""The place where actors live: names, deadlines, and the supervisor of those that are started by hand."""

# PEP 612 has no way to add parameters of our own to those of a class; callers are checked all the same.
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from kathikon_actors.actors.actor import Actor
from kathikon_actors.actors.cell import Cell, current_cell, link_cells, unlink_cells
from kathikon_actors.actors.deadlines import Deadlines
from kathikon_actors.actors.departed import Departed
from kathikon_actors.actors.errors import ActorIgnored
from kathikon_actors.actors.forker import Forker
from kathikon_actors.actors.mailbox import Mailbox
from kathikon_actors.actors.node_door import JobInserter, OutsideNode
from kathikon_actors.actors.recipe import Isolation, Recipe
from kathikon_actors.actors.ref import ActorRef
from kathikon_actors.actors.snapshots.sink import MemorySnapshots, SnapshotSink
from kathikon_actors.actors.snapshots.state import Snapshot
from kathikon_actors.actors.snapshots.writer import SnapshotWriter
from kathikon_actors.actors.spec import actor_spec
from kathikon_actors.actors.systems import current_system, register_system
from kathikon_actors.actors.timers import Timer
from supervisors import (
    IGNORE,
    AlreadyRegistered,
    AlreadyStarted,
    Backoff,
    Crash,
    DynamicSupervisor,
    FailedToStart,
    InvalidSpec,
    Registry,
    open_dynamic_supervisor,
)

if TYPE_CHECKING:
    from kathikon_actors.actors.monitor import Monitor
    from kathikon_actors.actors.snapshots.remote import RemoteSnapshots
    from kathikon_actors.actors.wire import Address
    from kathikon_actors.processes.handle import Zygote
    from supervisors._specs import BrutalKill, OnExceed, Restart

__all__ = ["ActorSystem", "open_actor_system", "serve_system"]

A = TypeVar("A", bound=Actor)
P = ParamSpec("P")


class ActorSystem:
    """Where actors live; from `open_actor_system()`, or `self.system` in an actor.

    Attributes:
        token: tells systems apart, also in other processes.
        registry: the names and who holds them.
        deadlines: the clock of its calls and timers.
        snapshots: what is kept of its actors' states; `subscribe` to hear of those that are lost or refused, `delete`
            to have an actor begin from scratch.
        helpers: tasks that serve actors and end after them.
        closed: nothing can be started any more.
    """

    def __init__(self, store: SnapshotSink | None = None, token: str | None = None) -> None:
        self.token = token or secrets.token_hex(8)
        self.registry = Registry("unique")
        self.deadlines = Deadlines()
        self.snapshots: SnapshotWriter | RemoteSnapshots = SnapshotWriter(store or MemorySnapshots())
        self._node: JobInserter | None = None
        self.closed = False
        self.helpers: trio.Nursery | None = None
        self._supervisor: DynamicSupervisor | None = None
        self._forker: Forker | None = None
        self._numbers = count(1)
        self._cells: dict[int, Cell] = {}
        register_system(self)

    @property
    def supervisor(self) -> DynamicSupervisor:
        """The supervisor of the actors that `start` starts."""
        assert self._supervisor is not None
        return self._supervisor

    @property
    def node(self) -> JobInserter:
        """The node that the system belongs to: actors insert jobs by `await self.system.node.insert(...)`.

        Raises:
            OutsideNode: it belongs to none.
        """
        if self._node is None:
            raise OutsideNode
        return self._node

    async def start(  # type: ignore[valid-type]
        self,
        cls: Callable[P, A],
        /,
        *args: P.args,
        name: str | None = None,
        isolation: Isolation = "task",
        restart: Restart = "transient",
        shutdown: float | BrutalKill = 5.0,
        link: bool = False,
        mailbox: Mailbox | None = None,
        snapshot: Snapshot | None = None,
        start_timeout: float | None = None,
        backoff: Backoff | None = None,
        child_intensity: tuple[int, float] | None = None,
        **kwargs: P.kwargs,
    ) -> ActorRef[A]:
        """Start an actor under the system's supervisor, and return when it is up.

        Args:
            cls: a class derived from `Actor`.
            *args: the arguments of its `__init__`, the same at every restart.
            name: taken before `__init__` runs; the reference then goes by it, over restarts.
            isolation: "task", or "process": an operating system's process of its own.
            restart: "transient": after a crash or a kill, not after `stop`; "permanent": always; "temporary": never.
            shutdown: seconds that it has for the messages before the stop request and for `terminate`.
            link: link it to the actor that starts it, which is its parent: its end is a stop request.
            mailbox: a bound on what may wait for it.
            snapshot: when its state is kept; it needs a name then.
            start_timeout: seconds that `__init__` and `init` may take.
            backoff: delays between restarts.
            child_intensity: (restarts, seconds), a limit of its own besides the supervisor's.
            **kwargs: the keyword arguments of its `__init__`.

        Raises:
            AlreadyStarted: the name is held; `info` is the reference of the holder.
            FailedToStart: its start raised (the cause), exited, or took more than `start_timeout`.
            ActorIgnored: its `init` returned `IGNORE`.
            InvalidSpec: something is not legal.

        Example:
            counter = await system.start(Counter, 10, name="counter", isolation="process")
        """
        if link and current_cell.get(None) is None:
            raise InvalidSpec("link", link, "only inside an actor, which it is linked to")
        options = {
            "name": name,
            "isolation": isolation,
            "restart": restart,
            "shutdown": shutdown,
            "mailbox": mailbox,
            "snapshot": snapshot,
            "start_timeout": start_timeout,
            "backoff": backoff,
            "child_intensity": child_intensity,
        }
        ref: ActorRef[A] = await self.start_from(cls, args, kwargs, options, link=link)
        return ref

    async def start_from(
        self,
        cls: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        link: bool,
    ) -> Any:
        """Start an actor, linked to the present one or not."""
        return await self.start_linked(current_cell.get(None) if link else None, cls, args, kwargs, options)

    async def start_linked(
        self,
        parent: Cell | None,
        cls: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        """Start an actor, linked to `parent` if there is one."""
        spec = actor_spec(cls, *args, system=self, **options, **kwargs)
        if parent is not None:
            recipe = spec.args[0]
            assert isinstance(recipe, Recipe)
            spec = replace(spec, args=(replace(recipe, parent=parent),))
        try:
            child = await self.supervisor.start_child(spec)
        except FailedToStart as error:
            if isinstance(error.reason, Crash) and isinstance(error.reason.exception, AlreadyStarted):
                raise error.reason.exception from None
            raise
        if child.info is IGNORE:
            raise ActorIgnored(str(spec.id))
        return child.info

    def whereis(self, name: str) -> ActorRef[Any] | None:
        """Give the reference to the actor that holds `name` now, or None."""
        holder = self.registry.whereis(name)
        return holder.ref if isinstance(holder, Cell) else None

    def ref(self, name: str, cls: Callable[..., A]) -> ActorRef[A]:  # noqa: ARG002 it types the reference
        """Make a reference by name, to whoever holds it whenever it is used; `cls` says what can be called."""
        return ActorRef(self.token, name, None)

    def send_after(self, delay: float, ref: ActorRef[Any], message: object) -> Timer:
        """Send `message` to `ref` after `delay` seconds; a name is looked up then."""
        return Timer(self.deadlines, delay, ref, message)

    def names(self) -> list[str]:
        """Give the names that are held now."""
        return [cell.name for cell in self._cells.values() if cell.name is not None]

    # For the rest of this package.

    def belong_to(self, node: JobInserter) -> None:
        """Let actors find the node that they live in."""
        self._node = node

    def adopt_token(self, token: str) -> None:
        """Be known as the system that this one is a view of."""
        self.token = token
        register_system(self)

    def new_uid(self) -> int:
        """Give a number that no other life in this system has."""
        return next(self._numbers)

    async def claim(self, cell: Cell) -> None:
        """Make a life known, under its name if it has one.

        Raises:
            AlreadyStarted: the name is held.
        """
        self.claim_now(cell)

    def claim_now(self, cell: Cell) -> None:
        """As `claim`."""
        if cell.name is not None:
            try:
                self.registry.register(cell.name, owner=cell)
            except AlreadyRegistered as error:
                raise AlreadyStarted(cell.name, getattr(error.holder, "ref", None)) from None
        self._cells[cell.uid] = cell

    def forget(self, cell: Cell) -> None:
        """A life is over."""
        if self._cells.get(cell.uid) is cell:
            del self._cells[cell.uid]

    def ref_to(self, cell: Cell) -> ActorRef[Any]:
        """Make the reference that others get."""
        return ActorRef(self.token, cell.name, cell.uid if cell.name is None else None, cell)

    def cell_at(self, address: Address) -> Cell | None:
        """Give the living actor with this number or name."""
        if isinstance(address, int):
            return self._cells.get(address)
        holder = self.registry.whereis(address)
        return holder if isinstance(holder, Cell) else None

    def find(self, ref: ActorRef[Any]) -> Cell | None:
        """Give the living actor that a reference means now."""
        return self.cell_at(ref.uid if ref.name is None else ref.name)

    def is_alive(self, ref: ActorRef[Any]) -> bool:
        """Whether a reference means a living actor now."""
        return self.find(ref) is not None

    def pid_of(self, ref: ActorRef[Any]) -> int | None:
        """Give the process that a living actor is in."""
        cell = self.find(ref)
        return None if cell is None else cell.pid

    def watch(self, monitor: Monitor, cell: Cell) -> None:
        """Have `monitor` fire at the end of `cell`."""
        monitor.watch(cell.when_dead)

    def link(self, one: ActorRef[Any], other: ActorRef[Any]) -> None:
        """Link two actors."""
        link_cells(self.find(one) or Departed(self, one), self.find(other) or Departed(self, other))

    def unlink(self, one: ActorRef[Any], other: ActorRef[Any]) -> None:
        """Unlink two actors."""
        first, second = self.find(one), self.find(other)
        if first is not None and second is not None:
            unlink_cells(first, second)

    @property
    def forker(self) -> Forker:
        """Where processes come from.

        Raises:
            InvalidSpec: this system is itself in an actor's process, which starts no others.
        """
        if self._forker is None:
            raise InvalidSpec("isolation", "process", "'task' inside an actor's process")
        return self._forker


@asynccontextmanager
async def open_actor_system(
    *,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    max_children: int | None = None,
    on_exceed: OnExceed = "escalate",
    name: str | None = "actors",
    preload: Sequence[str] = (),
    zygote: Zygote | None = None,
    spares: int = 1,
    store: SnapshotSink | None = None,
) -> AsyncIterator[ActorSystem]:
    """Run an actor system round a block; leaving the block stops all actors, each within its `shutdown` seconds.

    Actors that `actor_spec` puts into trees of supervisors inside the block live in it too.

    Args:
        max_restarts: how many restarts `max_seconds` may see, of all actors started by `start` together.
        max_seconds: the sliding window, in seconds.
        max_children: how many actors there may be that were started by `start`; None for no limit.
        on_exceed: beyond `max_restarts`: "escalate" ends the block with `RestartLimitReached`, "pause" waits
            `max_seconds` and goes on, "drop" leaves that actor stopped.
        name: of the supervisor, in events and trees.
        preload: modules that process actors need: imported once, before their processes are forked.
        zygote: the process that forks them; default is one of the system's own, started with the first process actor.
        spares: processes kept waiting for the next process actor, once there was one; each has 5 MB of its own.
        store: who keeps snapshots; without one they last as long as the block (a node gives its own store).

    Raises:
        RestartLimitReached: actors died too often; after the ordered stop of all.

    Example:
        async with open_actor_system() as system:
            counter = await system.start(Counter, 10)
            assert await counter.call(Counter.add, 5) == 15
    """
    async with serve_system(
        ActorSystem(store),
        max_restarts=max_restarts,
        max_seconds=max_seconds,
        max_children=max_children,
        on_exceed=on_exceed,
        name=name,
        preload=preload,
        zygote=zygote,
        spares=spares,
    ) as system:
        yield system


@asynccontextmanager
async def serve_system(
    system: ActorSystem,
    *,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    max_children: int | None = None,
    on_exceed: OnExceed = "escalate",
    name: str | None = "actors",
    preload: Sequence[str] = (),
    zygote: Zygote | None = None,
    spares: int = 1,
) -> AsyncIterator[ActorSystem]:
    """Run a system that exists already round a block, as `open_actor_system` does; more than once if it must be."""
    system.closed = False
    error: BaseException | None = None
    async with trio.open_nursery() as outer:
        held = trio.Event()
        outer.start_soon(_hold_helpers, system, held)
        # Not by `outer.start`, which would wait for ever for what a cancellation at this moment cannot reach.
        with trio.CancelScope(shield=True):
            await held.wait()
        helpers = system.helpers
        assert helpers is not None
        helpers.start_soon(system.deadlines.run, name="actor deadlines")
        system._forker = Forker(helpers, zygote, preload, spares)  # noqa: SLF001 its own half
        assert isinstance(system.snapshots, SnapshotWriter)
        helpers.start_soon(system.snapshots.run, name="actor snapshots")
        try:
            async with open_dynamic_supervisor(
                max_restarts=max_restarts,
                max_seconds=max_seconds,
                max_children=max_children,
                on_exceed=on_exceed,
                name=name,
            ) as system._supervisor:  # noqa: SLF001 its own half
                token = current_system.set(system)
                try:
                    yield system
                finally:
                    current_system.reset(token)
        except GeneratorExit:
            raise
        except BaseException as exc:
            error = exc
        system.closed = True
        try:
            await system.snapshots.close()
        finally:
            helpers.cancel_scope.cancel()
    if error is not None:
        raise error


async def _hold_helpers(system: ActorSystem, held: trio.Event) -> None:
    """Hold the tasks that serve actors: a cancellation from outside stops the actors, and those only after them."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as system.helpers:
            held.set()
            await trio.sleep_forever()
