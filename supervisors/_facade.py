"""What a user holds of any supervisor, and the block it lives in."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, TypeVar

import trio

from supervisors._child import Child
from supervisors._engine import Engine
from supervisors._errors import RestartLimitReached, StopTimeout, SupervisorStopped
from supervisors._events import Event
from supervisors._exits import Exit, ExitReason, Normal, Shutdown
from supervisors._tree import ChildCounts, ChildInfo, TreeNode, format_node

__all__ = ["AnySupervisor", "opened", "supervise"]

E = TypeVar("E", bound=Engine)
S = TypeVar("S", bound="AnySupervisor[Any]")


class AnySupervisor(Generic[E]):
    """What static and dynamic supervisors have in common; see `open_supervisor` and `open_dynamic_supervisor`.

    The reading methods answer at once from the present state, also while a start or a stop is under way.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: E) -> None:
        self._engine = engine

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def name(self) -> str:
        """The name it was given, or else its place in the tree (`supervisor/pool`)."""
        return self._engine.reporter.name

    @property
    def exit_reason(self) -> ExitReason | None:
        """How the supervisor ended; None while it has not."""
        return self._engine.exit_reason if self._engine.finished.is_set() else None

    def which_children(self) -> list[ChildInfo]:
        """Return all children, newest first as in OTP."""
        infos = [child.snapshot() for child in self._engine.children()]
        infos.reverse()
        return infos

    def count_children(self) -> ChildCounts:
        """Count the children: all specs, those alive now, and by type whether alive or not."""
        specs = active = supervisors = 0
        for child in self._engine.children():
            specs += 1
            active += child.state == "running" or child.state == "unkillable"
            supervisors += child.spec.type == "supervisor"
        return ChildCounts(specs, active, supervisors, specs - supervisors)

    def subscribe(self, handler: Callable[[Event], object]) -> Callable[[], None]:
        """Call `handler` with every event of this supervisor and of those below it; returns the way out.

        A handler runs inside the supervisor and should be short; one that raises is logged and stays subscribed.

        Example:
            unsubscribe = tree.subscribe(lambda event: print(event.context, event.child.id, event.reason))
        """
        return self._engine.reporter.subscribe(handler)

    def tree(self) -> TreeNode:
        """Return a snapshot of this supervisor and everything below it, as plain data."""
        engine = self._engine
        now = trio.current_time()
        up = engine.started_at is not None and not engine.finished.is_set()
        return TreeNode(
            id=self.name,
            type="supervisor",
            state="running" if up else "stopped",
            strategy=engine.strategy,
            restarts_in_window=engine.policy.window.count(now),
            max_restarts=engine.policy.window.limit,
            total_restarts=0,
            uptime=now - engine.started_at if up and engine.started_at is not None else None,
            last_exit=self.exit_reason,
            children=tuple(_node(child, now) for child in engine.children()),
        )

    def format_tree(self) -> str:
        """Draw `tree()` as text, one line each."""
        return format_node(self.tree())

    async def wait(self) -> ExitReason:
        """Return the exit reason, once the supervisor and all its children have ended."""
        await self._engine.finished.wait()
        return self._engine.exit_reason or Shutdown()

    async def stop(self, reason: ExitReason = Normal(), timeout: float = math.inf) -> None:
        """Stop all children in order, then the supervisor.

        The children see a plain shutdown, whatever the reason. A start that is under way is given up. The block of
        `open_supervisor` goes on: it may be the caller.

        Args:
            reason: what `exit_reason` will be.
            timeout: seconds to wait for the end.

        Raises:
            StopTimeout: it takes longer; the stop itself goes on.
            SupervisorStopped: it had ended already.
        """
        engine = self._engine
        if engine.finished.is_set():
            raise SupervisorStopped(self.name, engine.exit_reason)
        engine.stop_by_hand(reason)
        with trio.move_on_after(timeout):
            await engine.finished.wait()
            return
        raise StopTimeout(self.name, timeout)


def _node(child: Child, now: float) -> TreeNode:
    spec, info = child.spec, child.info
    up = child.state in {"running", "unkillable"} and child.started_at is not None
    below = _below(spec.type, info)
    return TreeNode(
        id=spec.id,
        type=spec.type,
        state=child.state,
        strategy=below.strategy if below else None,
        restarts_in_window=below.restarts_in_window if below else None,
        max_restarts=below.max_restarts if below else None,
        total_restarts=child.restarts,
        uptime=now - child.started_at if up and child.started_at is not None else None,
        last_exit=child.last_exit,
        children=below.children if below else (),
    )


def _below(kind: str, info: object) -> TreeNode | None:
    """Ask a child that is a supervisor, here or wherever its info knows of, what is below it."""
    if isinstance(info, AnySupervisor):
        return info.tree()
    if kind == "supervisor" and callable(tree := getattr(info, "tree", None)):
        node = tree()
        return node if isinstance(node, TreeNode) else None
    return None


def _is_cancellation(exc: BaseException) -> bool:
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(trio.Cancelled)[1] is None
    return isinstance(exc, trio.Cancelled)


@asynccontextmanager
async def opened(engine: Engine, supervisor: S) -> AsyncIterator[S]:
    """Run `engine` round a block that gets `supervisor`; the block ends when the supervisor does, and the other way."""
    error: BaseException | None = None
    async with trio.open_nursery() as outer:
        outer.start_soon(engine.run, outer, name=f"{engine.reporter.name} (supervisor)")
        try:
            await engine.ready.wait()
            if engine.failure is None and engine.keeper.fatal is None:
                with engine.body:
                    yield supervisor
        except GeneratorExit:
            engine.end(Shutdown())
            raise
        except BaseException as exc:
            error = exc
        engine.end(Normal() if error is None else Shutdown())
        while not engine.finished.is_set():
            try:
                with trio.CancelScope(shield=True):
                    await engine.finished.wait()
            except KeyboardInterrupt as exc:
                # A second Ctrl-C: the user does not want to wait.
                error = exc
                engine.kill()
    if engine.keeper.fatal is not None:
        raise engine.keeper.fatal
    if error is not None and not _is_cancellation(error):
        if engine.failure is not None:
            error.add_note(f"meanwhile: {engine.failure}")
        raise error
    if engine.failure is not None:
        raise engine.failure
    if error is not None:
        raise error
    await trio.lowlevel.checkpoint_if_cancelled()


async def supervise(
    opening: Callable[..., AbstractAsyncContextManager[AnySupervisor[Any]]],
    args: tuple[object, ...],
    options: Mapping[str, object],
    *,
    task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a supervisor as a child of another: the block that `opening(*args, **options)` gives, until it ends.

    Giving up is a shutdown for the one above, as in OTP.
    """
    try:
        async with opening(*args, **options) as supervisor:
            task_status.started(supervisor)
            await supervisor.wait()
    except RestartLimitReached as exc:
        raise Exit(Shutdown(exc)) from exc
    raise Exit(supervisor.exit_reason or Shutdown())
