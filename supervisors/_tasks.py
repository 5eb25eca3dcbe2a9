"""The task supervisor: single pieces of work whose result somebody waits for (Elixir's Task.Supervisor)."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from supervisors._dynamic import ChildRef, DynamicEngine
from supervisors._errors import InvalidSpec
from supervisors._exits import ExitReason, Normal, is_abnormal
from supervisors._facade import AnySupervisor, opened, supervise
from supervisors._inside import self_pid
from supervisors._specs import BrutalKill, ChildSpec, Restart, check_choice
from supervisors._stream import OnTimeout, TaskStream
from supervisors._task import LinkedTaskDied, Task, crash_of, work

__all__ = ["TaskSupervisor", "open_task_supervisor", "task_supervisor_spec"]

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741


class TaskSupervisor(AnySupervisor[DynamicEngine]):
    """A running task supervisor, from `open_task_supervisor`. Tasks stop in parallel when it does."""

    __slots__ = ()

    async def async_nolink(self, fn: Callable[..., Awaitable[T]], *args: object) -> Task[T]:
        """Start `fn(*args)`; neither the task's end nor its owner's touches the other.

        Raises:
            MaxChildrenReached: there is no room.

        Example:
            task = await tasks.async_nolink(fetch, url)
            page = await task.wait(timeout=10)
        """
        return await self._spawn(math.inf, fn, args)

    async def async_linked(self, fn: Callable[..., Awaitable[T]], *args: object) -> Task[T]:
        """Start `fn(*args)`, linked to the child that calls this: a crash of one ends the other.

        A crash of the task makes the owner crash with `LinkedTaskDied`, waited for or not; an abnormal end of the owner
        kills the task, a normal one does not.

        Raises:
            MaxChildrenReached: there is no room.
            SupervisionError: the caller is not the child of a supervisor.
        """
        owner = self_pid()
        task = await self._spawn(math.inf, fn, args)

        def task_died(reason: ExitReason) -> None:
            withdraw()
            if is_abnormal(reason) and owner.alive:
                error = LinkedTaskDied(reason)
                error.__cause__ = crash_of(reason)
                owner.exit(error)

        def owner_died(reason: ExitReason) -> None:
            if not isinstance(reason, Normal):
                task.pid.kill()

        withdraw = owner.when_dead(owner_died)
        task.pid.when_dead(task_died)
        return task

    async def start_task(
        self, fn: Callable[..., Awaitable[object]], *args: object, restart: Restart = "temporary", shutdown: float = 5.0
    ) -> ChildRef:
        """Start `fn(*args)` for its effect: nobody waits for a result.

        Args:
            fn: the async function.
            args: its arguments.
            restart: as for any child.
            shutdown: as for any child, in seconds.

        Raises:
            MaxChildrenReached: there is no room.
        """
        spec = ChildSpec(_name(fn), fn, args=args, restart=restart, shutdown=shutdown)
        return await self._engine.ask(self._engine.start_child, spec)

    async def _spawn(self, timeout: float, fn: Callable[..., Awaitable[T]], args: tuple[object, ...]) -> Task[T]:
        task: Task[T] = Task()
        spec = ChildSpec(_name(fn), work, args=(task, timeout, fn, args), restart="temporary")
        await self._engine.ask(self._engine.start_child, spec)
        return task

    def async_stream(
        self,
        fn: Callable[[I], Awaitable[T]],
        items: Iterable[I],
        *,
        max_concurrency: int | None = None,
        ordered: bool = True,
        timeout: float = 5.0,
        on_timeout: OnTimeout = "exit",
    ) -> TaskStream[I, T]:
        """Return an async iterator of `Ok(value) | Exited(reason)`, one for each item.

        Items are pulled only as the consumer asks. Leaving the loop early kills the tasks that run; where the iterator
        is kept in a variable, use `async with` round it to have that happen at once.

        Args:
            fn: called with each item, as a task of its own.
            items: any iterable; what it raises is raised here after the running tasks were stopped.
            max_concurrency: how many tasks run at a time; None for one a processor.
            ordered: results come in the order of the items (finished ones wait for a slow one before them), else as
                the tasks end.
            timeout: seconds for each task, from its start.
            on_timeout: "exit" raises `TaskTimeout` and kills the others; "kill" gives `Exited(Crash(TaskTimeout))`.

        Raises:
            InvalidSpec: an option is not legal.
            TaskTimeout: from the iteration, see `on_timeout`.

        Example:
            async for result in tasks.async_stream(fetch, urls, max_concurrency=10):
                match result:
                    case Ok(page): ...
                    case Exited(reason): ...
        """
        width = (os.cpu_count() or 1) if max_concurrency is None else max_concurrency
        if not isinstance(width, int) or isinstance(width, bool) or width < 1:
            raise InvalidSpec("max_concurrency", max_concurrency, "a whole number, 1 or more, or None")
        check_choice("on_timeout", on_timeout, OnTimeout)

        async def spawn(item: I) -> Task[T]:
            return await self._spawn(timeout, fn, (item,))

        return TaskStream(spawn, iter(items), width=width, ordered=ordered, on_timeout=on_timeout)


def _name(fn: object) -> str:
    return getattr(fn, "__qualname__", None) or repr(fn)


@asynccontextmanager
async def open_task_supervisor(
    *,
    max_children: int | None = None,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    name: str | None = None,
    kill_timeout: float = 1.0,
) -> AsyncIterator[TaskSupervisor]:
    """Run a task supervisor round a block; at its end the tasks that still run are stopped, all at once.

    Args:
        max_children: how many tasks may run; None for no limit.
        max_restarts: as for `open_supervisor`; only tasks of `start_task(restart=...)` are ever restarted.
        max_seconds: as for `open_supervisor`.
        name: as for `open_supervisor`.
        kill_timeout: as for `open_supervisor`.

    Raises:
        InvalidSpec: an option is not legal.

    Example:
        async with open_task_supervisor() as tasks:
            task = await tasks.async_nolink(fetch, url)
            page = await task.wait()
    """
    engine = DynamicEngine(
        max_children=max_children,
        extra_args=(),
        name=name,
        max_restarts=max_restarts,
        max_seconds=max_seconds,
        on_exceed="escalate",
        kill_timeout=kill_timeout,
    )
    async with opened(engine, TaskSupervisor(engine)) as supervisor:
        yield supervisor


def task_supervisor_spec(
    id: object,  # noqa: A002
    *,
    restart: Restart = "permanent",
    shutdown: float | BrutalKill | None = math.inf,
    significant: bool = False,
    max_children: int | None = None,
    max_restarts: int = 3,
    max_seconds: float = 5.0,
    name: str | None = None,
    kill_timeout: float = 1.0,
) -> ChildSpec:
    """Return the spec of a task supervisor as a child of another; its started info is the `TaskSupervisor`.

    Args:
        id: the child's id; also the last part of the supervisor's name.
        restart: as for any child.
        shutdown: seconds for all its tasks to stop; infinite unless you know better.
        significant: as for any child.
        max_children: as for `open_task_supervisor`, like all that follow.
        max_restarts: see there.
        max_seconds: see there.
        name: see there.
        kill_timeout: see there.

    Example:
        task_supervisor_spec("requests", max_children=100)
    """
    options = {
        "max_children": max_children,
        "max_restarts": max_restarts,
        "max_seconds": max_seconds,
        "name": name,
        "kill_timeout": kill_timeout,
    }
    return ChildSpec(
        id,
        supervise,
        args=(open_task_supervisor, (), options),
        restart=restart,
        shutdown=shutdown,
        type="supervisor",
        significant=significant,
    )
