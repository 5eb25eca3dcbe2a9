"""The static supervisor: a fixed list of children, started in order, restarted by a strategy, stopped in reverse."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict, Unpack

import trio

from supervisors._facade import AnySupervisor, opened, supervise
from supervisors._specs import (
    AutoShutdown,
    BrutalKill,
    ChildSpec,
    Ignored,
    OnExceed,
    Restart,
    Strategy,
    check_childspecs,
)
from supervisors._static import Children, StaticEngine
from supervisors._tree import ChildInfo

__all__ = ["Supervisor", "SupervisorOptions", "open_supervisor", "supervisor_spec"]


class SupervisorOptions(TypedDict, total=False):
    """The options of `open_supervisor`, for the functions that hand them on."""

    strategy: Strategy
    max_restarts: int
    max_seconds: float
    auto_shutdown: AutoShutdown
    name: str | None
    on_exceed: OnExceed
    kill_timeout: float


class Supervisor(AnySupervisor[StaticEngine]):
    """A running supervisor, from `open_supervisor` or as the started info of a `supervisor_spec`.

    The async methods are served one after another, in the order in which they were called. Once the supervisor stops
    they raise `SupervisorStopped`.
    """

    __slots__ = ()

    async def start_child(self, spec: ChildSpec) -> Any:
        """Add a child at the end and start it; returns what it gave to `started()`, None if it asked to be ignored.

        Cancelling this call ends the half-started child.

        Raises:
            AlreadyStarted: the id is running; AlreadyPresent: it is known but does not run.
            FailedToStart: it did not start; the spec is not kept.
            InvalidSpec: the spec does not fit this supervisor.
        """
        return await self._engine.ask(self._engine.start_child, spec)

    async def terminate_child(self, id: object) -> None:  # noqa: A002
        """Stop a child and return when it is dead. Its spec is kept (not a temporary one's); twice is fine.

        A child that is being restarted is not started again.

        Raises:
            ChildNotFound: no such id.
            UnkillableChild: it ignores its cancellation and lives on.
        """
        await self._engine.ask(self._engine.terminate_child, id)

    async def restart_child(self, id: object) -> Any:  # noqa: A002
        """Start a stopped child in its old place; returns what it gave to `started()`. Counts in no limit.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: it is not a stopped child.
            FailedToStart: it did not start and stays stopped.
        """
        return await self._engine.ask(self._engine.restart_child, id)

    async def delete_child(self, id: object) -> None:  # noqa: A002
        """Forget a stopped child.

        Raises:
            ChildNotFound, ChildRunning, ChildRestarting: it is not a stopped child.
        """
        await self._engine.ask(self._engine.delete_child, id)

    def get_childspec(self, id: object) -> ChildSpec:  # noqa: A002
        """Return the spec of a child, or raise ChildNotFound."""
        return self._engine.find(id).spec

    def which_child(self, id: object) -> ChildInfo:  # noqa: A002
        """Return one child as it is now, or raise ChildNotFound."""
        return self._engine.find(id).snapshot()


@asynccontextmanager
async def open_supervisor(
    children: Children = (),
    *,
    strategy: Strategy = "one_for_one",
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    auto_shutdown: AutoShutdown = "never",
    name: str | None = None,
    on_exceed: OnExceed = "escalate",
    kill_timeout: float = 1.0,
) -> AsyncIterator[Supervisor]:
    """Run a supervisor round a block: children start before it, and stop in reverse order after it.

    Cancelling the block from outside still gives every child its `shutdown` seconds. An automatic shutdown ends the
    block silently; see `exit_reason`.

    Args:
        children: specs in start order, or a function that makes them (called at every start of this supervisor; it may
            return `IGNORE`).
        strategy: "one_for_one" restarts the child that died; "one_for_all" all of them; "rest_for_one" it and those
            after it.
        max_restarts: how many restarts `max_seconds` may see, of all children together.
        max_seconds: the sliding window, in seconds.
        auto_shutdown: "any_significant" ends the supervisor when a significant child ends by itself and is not
            restarted, "all_significant" when the last one does.
        name: shown in events and trees; default is the place in the tree.
        on_exceed: beyond `max_restarts`: "escalate" gives up, as OTP does; "pause" waits `max_seconds` and goes on;
            "drop" leaves that child stopped.
        kill_timeout: seconds that a killed child has to end before it is reported as unkillable.

    Raises:
        InvalidSpec: a spec or an option is not legal; no child was started.
        FailedToStart: a child did not start; those before it were stopped again.
        RestartLimitReached: the supervisor gave up, after the ordered stop.

    Example:
        async with open_supervisor([ChildSpec("clock", ticker)], strategy="rest_for_one") as tree:
            await tree.start_child(ChildSpec("late", ticker, restart="temporary"))
    """
    engine = StaticEngine(
        children,
        strategy=strategy,
        auto_shutdown=auto_shutdown,
        name=name,
        max_restarts=max_restarts,
        max_seconds=max_seconds,
        on_exceed=on_exceed,
        kill_timeout=kill_timeout,
    )
    async with opened(engine, Supervisor(engine)) as supervisor:
        yield supervisor


async def _supervise(
    children: Children, options: SupervisorOptions, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
) -> None:
    if callable(children):
        made = children()
        if isinstance(made, Ignored):
            task_status.started(made)
            return
        children = made
    await supervise(open_supervisor, (children,), dict(options), task_status=task_status)


def supervisor_spec(
    id: object,  # noqa: A002
    children: Children,
    *,
    restart: Restart = "permanent",
    shutdown: float | BrutalKill | None = math.inf,
    significant: bool = False,
    **options: Unpack[SupervisorOptions],
) -> ChildSpec:
    """Return the spec of a supervisor as a child of another; its started info is the inner `Supervisor`.

    A permanent inner supervisor that gave up is started again with its first children; a transient one stays down.

    Args:
        id: the child's id; also the last part of the inner supervisor's name.
        children: as for `open_supervisor`; checked here and now unless it is a function.
        restart: as for any child.
        shutdown: seconds for the whole subtree to stop; infinite unless you know better.
        significant: as for any child.
        options: as for `open_supervisor`.

    Example:
        supervisor_spec("pool", [ChildSpec(n, worker, args=(n,)) for n in range(3)], strategy="one_for_all")
    """
    if not callable(children):
        children = check_childspecs(children, auto_shutdown=options.get("auto_shutdown", "never"))
    return ChildSpec(
        id,
        _supervise,
        args=(children, options),
        restart=restart,
        shutdown=shutdown,
        type="supervisor",
        significant=significant,
    )
