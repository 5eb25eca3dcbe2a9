"""The dynamic supervisor: children come and go at run time, ids may repeat, and all stop in parallel."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypedDict, Unpack

from supervisors._child import Child
from supervisors._engine import Engine
from supervisors._errors import (
    ChildNotFound,
    FailedToStart,
    InvalidSpec,
    MaxChildrenReached,
    UnkillableChild,
)
from supervisors._events import StartFailed
from supervisors._exits import ExitReason
from supervisors._facade import AnySupervisor, opened, supervise
from supervisors._specs import IGNORE, BrutalKill, ChildSpec, OnExceed, Restart, check_childspecs
from supervisors._tree import ChildInfo, ChildState

__all__ = [
    "ChildRef",
    "DynamicEngine",
    "DynamicOptions",
    "DynamicSupervisor",
    "dynamic_supervisor_spec",
    "open_dynamic_supervisor",
]


class ChildRef:
    """Names one child of a dynamic supervisor, whose id need not be unique; it stays the same over restarts."""

    __slots__ = ("_child", "_ignored")

    def __init__(self, child: Child, *, ignored: bool = False) -> None:
        self._child = child
        self._ignored = ignored

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChildRef) and other._child is self._child

    def __hash__(self) -> int:
        return hash(id(self._child))

    def __repr__(self) -> str:
        return f"<ChildRef {self.id!r} {self.state}>"

    @property
    def id(self) -> object:
        """The id in the child's spec."""
        return self._child.spec.id

    @property
    def info(self) -> Any:
        """What the child gave to `started()` in its present life; None when it is down, `IGNORE` if it never ran."""
        return IGNORE if self._ignored else self._child.info

    @property
    def state(self) -> ChildState:
        """Its present state; "stopped" for good once it has left the supervisor."""
        return self._child.state

    @property
    def last_exit(self) -> ExitReason | None:
        """How its last life ended."""
        return self._child.last_exit

    @property
    def restarts(self) -> int:
        """How often it has been restarted."""
        return self._child.restarts


class DynamicEngine(Engine):
    """Children known by reference; one_for_one."""

    strategy = "dynamic"

    def __init__(
        self,
        *,
        max_children: int | None,
        extra_args: Iterable[object],
        name: str | None,
        max_restarts: int,
        max_seconds: float,
        on_exceed: OnExceed,
        kill_timeout: float,
        on_left: Callable[[ChildRef], object] | None = None,
    ) -> None:
        if max_children is not None and (
            not isinstance(max_children, int) or isinstance(max_children, bool) or max_children < 0
        ):
            raise InvalidSpec("max_children", max_children, "a whole number, 0 or more, or None")
        super().__init__(
            name=name,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            on_exceed=on_exceed,
            kill_timeout=kill_timeout,
        )
        self._max_children = max_children
        self._extra_args = tuple(extra_args)
        self._table: dict[int, Child] = {}
        self._on_left = on_left

    def children(self) -> Iterable[Child]:
        return self._table.values()

    async def start_first(self) -> None:
        """Start nothing: a dynamic supervisor starts empty."""

    async def stop_children(self) -> None:
        await self.keeper.stop_in_parallel(list(self._table.values()))

    def forget(self, child: Child) -> None:
        if self._table.pop(id(child), None) is not None and self._on_left is not None:
            self._on_left(ChildRef(child))

    def gone(self, child: Child) -> None:
        self.forget(child)

    async def restart(self, child: Child, *, delay: float | None) -> None:
        if delay is None:
            await self.retry(child)
        else:
            self.schedule(child, delay)

    async def retry(self, child: Child) -> None:
        try:
            up = await self.keeper.start(child, again=True)
        except FailedToStart as exc:
            self.reporter.emit(StartFailed, child, exc.reason)
            if child.is_alive():
                child.start_when_dead = True
            else:
                self.failed_again(child)
            return
        if not up:
            self.gone(child)

    async def start_child(self, spec: ChildSpec) -> ChildRef:
        """Start a child if there is room."""
        check_childspecs([spec])
        if self._max_children is not None and len(self._table) >= self._max_children:
            raise MaxChildrenReached(self._max_children)
        if self._extra_args:
            spec = replace(spec, args=self._extra_args + spec.args)
        child = Child(spec)
        ref = ChildRef(child)
        if not await self.keeper.start(child):
            return ChildRef(child, ignored=True)
        self._table[id(child)] = child
        return ref

    async def terminate_child(self, child: Child) -> None:
        """Stop a child and forget it; take back a restart that is under way."""
        if self._table.get(id(child)) is not child:
            raise ChildNotFound(child.spec.id)
        child.start_when_dead = False
        if child.state == "restarting":
            self.cancel_retry(child)
            child.state = "stopped"
        elif not await self.keeper.stop(child):
            raise UnkillableChild(child.spec.id)
        self.forget(child)


class DynamicOptions(TypedDict, total=False):
    """The options of `open_dynamic_supervisor`, for the functions that hand them on."""

    max_children: int | None
    max_restarts: int
    max_seconds: float
    extra_args: Iterable[object]
    name: str | None
    on_exceed: OnExceed
    kill_timeout: float
    on_left: Callable[[ChildRef], object] | None


class DynamicSupervisor(AnySupervisor[DynamicEngine]):
    """A running dynamic supervisor, from `open_dynamic_supervisor` or as the info of a `dynamic_supervisor_spec`."""

    __slots__ = ()

    async def start_child(self, spec: ChildSpec) -> ChildRef:
        """Start a child; what it gave to `started()` is the reference's `info` (`IGNORE` if it asked to be ignored).

        A child that ends for good is forgotten. Cancelling this call ends the half-started child.

        Raises:
            MaxChildrenReached: there is no room; children being restarted hold their place.
            FailedToStart: it did not start.
            InvalidSpec: the spec is significant, or none.
        """
        return await self._engine.ask(self._engine.start_child, spec)

    async def terminate_child(self, ref: ChildRef) -> None:
        """Stop a child, forget it, and return when it is dead.

        Raises:
            ChildNotFound: it is no child of this supervisor, or no more.
            UnkillableChild: it ignores its cancellation and lives on.
        """
        if not isinstance(ref, ChildRef):
            raise ChildNotFound(ref)
        await self._engine.ask(self._engine.terminate_child, ref._child)  # noqa: SLF001

    def which_child(self, ref: ChildRef) -> ChildInfo:
        """Return one child as it is now (or as it was when it left the supervisor)."""
        return ref._child.snapshot()  # noqa: SLF001


@asynccontextmanager
async def open_dynamic_supervisor(
    *,
    max_children: int | None = None,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    extra_args: Iterable[object] = (),
    name: str | None = None,
    on_exceed: OnExceed = "escalate",
    kill_timeout: float = 1.0,
    on_left: Callable[[ChildRef], object] | None = None,
) -> AsyncIterator[DynamicSupervisor]:
    """Run an empty supervisor round a block; children are started by `start_child` and all stop in parallel.

    Args:
        max_children: how many children there may be, those being restarted included; None for no limit.
        max_restarts: how many restarts `max_seconds` may see, of all children together.
        max_seconds: the sliding window, in seconds.
        extra_args: come before the arguments of each child's spec, also at restarts.
        name: shown in events and trees; default is the place in the tree.
        on_exceed: as for `open_supervisor`.
        kill_timeout: as for `open_supervisor`.
        on_left: called with each child that has ended and is not started again; must be short and not raise. The end
            of the supervisor itself calls it for nobody.

    Raises:
        InvalidSpec: an option is not legal.
        RestartLimitReached: the supervisor gave up, after the stop of all children.

    Example:
        async with open_dynamic_supervisor(max_children=100) as pool:
            ref = await pool.start_child(ChildSpec("conn", serve, args=(stream,), restart="temporary"))
    """
    engine = DynamicEngine(
        max_children=max_children,
        extra_args=extra_args,
        name=name,
        max_restarts=max_restarts,
        max_seconds=max_seconds,
        on_exceed=on_exceed,
        kill_timeout=kill_timeout,
        on_left=on_left,
    )
    async with opened(engine, DynamicSupervisor(engine)) as supervisor:
        yield supervisor


def dynamic_supervisor_spec(
    id: object,  # noqa: A002
    *,
    restart: Restart = "permanent",
    shutdown: float | BrutalKill | None = math.inf,
    significant: bool = False,
    **options: Unpack[DynamicOptions],
) -> ChildSpec:
    """Return the spec of a dynamic supervisor as a child of another; its started info is the `DynamicSupervisor`.

    Args:
        id: the child's id; also the last part of the supervisor's name.
        restart: as for any child; a restarted dynamic supervisor is empty.
        shutdown: seconds for all its children to stop; infinite unless you know better.
        significant: as for any child.
        options: as for `open_dynamic_supervisor`.

    Example:
        dynamic_supervisor_spec("connections", max_children=1000)
    """
    return ChildSpec(
        id,
        supervise,
        args=(open_dynamic_supervisor, (), options),
        restart=restart,
        shutdown=shutdown,
        type="supervisor",
        significant=significant,
    )
