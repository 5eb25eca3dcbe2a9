"""A task: a piece of work that runs under a supervisor, and whose owner waits for its result (Elixir's Task)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import trio

from supervisors._errors import SupervisionError
from supervisors._exits import Crash, ExitReason, Normal
from supervisors._life import Life, Pid, current_life
from supervisors._specs import BrutalKill

__all__ = [
    "Exited",
    "LinkedTaskDied",
    "Ok",
    "Task",
    "TaskError",
    "TaskExited",
    "TaskTimeout",
    "crash_of",
    "work",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """A task returned `value`."""

    value: T


@dataclass(frozen=True, slots=True)
class Exited:
    """A task ended without a value; `reason` says how."""

    reason: ExitReason


class TaskError(SupervisionError):
    """A task is waited for by another than its owner, or a second time."""


class TaskExited(SupervisionError):
    """The awaited task ended without a value; `reason` says how, a crash is the `__cause__`."""

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(f"the task ended: {reason}")
        self.reason = reason


class TaskTimeout(SupervisionError):
    """A task took longer than `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the task took longer than {seconds} s")
        self.seconds = seconds


class LinkedTaskDied(SupervisionError):
    """Crashes the owner of a linked task that crashed; `reason` is the task's, a crash is the `__cause__`."""

    def __init__(self, reason: ExitReason) -> None:
        super().__init__(f"a linked task died: {reason}")
        self.reason = reason


class Task(Generic[T]):
    """A piece of work that runs under a task supervisor, and the way to its result.

    Its owner is the child that started it (or the trio task, outside of any supervisor); only the owner may wait for
    it, and takes the result once.
    """

    def __init__(self) -> None:
        self._owner: object = _me()
        self.done = trio.Event()
        self._taken = False
        self.value: T | None = None
        self._reason: ExitReason | None = None
        self._life: Life | None = None

    @property
    def pid(self) -> Pid:
        """The pid of the task."""
        assert self._life is not None
        return self._life.pid

    async def wait(self, timeout: float = 5.0) -> T:
        """Return the task's value; to be called once, by the owner.

        Args:
            timeout: seconds; the task itself goes on after them, and its result is dropped.

        Raises:
            TaskTimeout: it did not end in time.
            TaskExited: it ended without a value.
            TaskError: the caller is not the owner, or has waited before.
        """
        self._check()
        self._taken = True
        with trio.move_on_after(timeout):
            await self.done.wait()
        outcome = self.outcome()
        if outcome is None:
            raise TaskTimeout(timeout)
        if isinstance(outcome, Exited):
            raise TaskExited(outcome.reason) from crash_of(outcome.reason)
        return outcome.value

    async def poll(self, timeout: float = 0.0) -> Ok[T] | Exited | None:
        """Return how the task ended, or None if it has not within `timeout` seconds; may be called again then.

        Raises:
            TaskError: the caller is not the owner, or has the result already.
        """
        self._check()
        with trio.move_on_after(timeout):
            await self.done.wait()
        outcome = self.outcome()
        self._taken = outcome is not None
        return outcome

    async def shutdown(self, timeout: float | BrutalKill = 5.0) -> Ok[T] | Exited | None:
        """Stop the task; returns how it had ended by itself before, or None if it was stopped.

        Args:
            timeout: seconds until it is killed, or `BRUTAL_KILL`.

        Raises:
            TaskError: the caller is not the owner, or has the result already.
        """
        self._check()
        self._taken = True
        life = self._life
        if self.done.is_set() or life is None:
            return self.outcome()
        if isinstance(timeout, BrutalKill):
            life.kill()
        else:
            life.request_stop()
            with trio.move_on_after(timeout):
                await self.done.wait()
            if not life.finished:
                life.kill()
        await self.done.wait()
        outcome = self.outcome()
        return outcome if isinstance(outcome, Ok) or crash_of(self._reason) is not None else None

    def _check(self) -> None:
        if self._owner is not _me():
            raise TaskError("only the owner of a task may wait for it")
        if self._taken:
            raise TaskError("the result of this task was taken already, or given up")

    def outcome(self) -> Ok[T] | Exited | None:
        """How the task ended, None if it has not; for the supervisor's own use, anyone may ask."""
        if self._reason is None:
            return None
        if isinstance(self._reason, Normal):
            return Ok(self.value)  # type: ignore[arg-type]
        return Exited(self._reason)

    def watch(self, life: Life) -> None:
        """Note whose end is the task's end."""
        self._life = life
        life.when_dead(self._end)

    def _end(self, reason: ExitReason) -> None:
        self._reason = reason
        self.done.set()


def crash_of(reason: ExitReason | None) -> BaseException | None:
    """Return the exception of a crash, None for any other reason."""
    return reason.exception if isinstance(reason, Crash) else None


def _me() -> object:
    life = current_life.get(None)
    return trio.lowlevel.current_task() if life is None else life


async def work(task: Task[T], timeout: float, fn: Callable[..., Awaitable[T]], args: tuple[object, ...]) -> None:
    """Be the child that runs a task: `fn(*args)`, `timeout` seconds at most."""
    task.watch(current_life.get())
    with trio.CancelScope(deadline=trio.current_time() + timeout) as scope:
        task.value = await fn(*args)
        return
    assert scope.cancelled_caught
    raise TaskTimeout(timeout)
