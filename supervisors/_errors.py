"""What can go wrong with a supervisor, as exceptions that carry data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from supervisors._exits import ExitReason

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "DuplicateChild",
    "FailedToStart",
    "InvalidSpec",
    "MaxChildrenReached",
    "NotStarted",
    "RestartLimitReached",
    "StartCancelled",
    "StartTimeout",
    "StopTimeout",
    "StrayCancelled",
    "SupervisionError",
    "SupervisorStopped",
    "UnkillableChild",
]


def rebuild(kind: type[BaseException], args: tuple[object, ...], state: dict[str, object]) -> BaseException:
    """Make an error again from its pickle, without calling its constructor, which takes data and not the sentence."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class SupervisionError(Exception):
    """Base of every error that this package raises on purpose. They can be pickled if their data can."""

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), self.args, self.__dict__)


class InvalidSpec(SupervisionError, ValueError):
    """A child spec or a supervisor option is not legal; raised before any child runs.

    Attributes:
        field: name of the offending field or option.
        value: what was given.
        legal: a sentence naming what is legal.
    """

    def __init__(self, field: str, value: object, legal: str) -> None:
        super().__init__(f"{field}={value!r} is not legal: {legal}")
        self.field = field
        self.value = value
        self.legal = legal


class DuplicateChild(InvalidSpec):
    """Two specs of one supervisor have the same id (compared by type and value)."""

    def __init__(self, child_id: object) -> None:
        super().__init__("id", child_id, "ids are unique inside one supervisor")


class _AboutChild(SupervisionError):
    """An error about one child, named by `id`."""

    sentence = "child {id!r}"

    def __init__(self, child_id: object) -> None:
        super().__init__(self.sentence.format(id=child_id))
        self.id = child_id


class AlreadyStarted(_AboutChild):
    """`start_child` named an id that is running; `info` is what the running child gave to `started()`."""

    sentence = "child {id!r} is running already"

    def __init__(self, child_id: object, info: Any) -> None:
        super().__init__(child_id)
        self.info = info


class AlreadyPresent(_AboutChild):
    """`start_child` named an id whose spec is kept but which does not run: use `restart_child` or `delete_child`."""

    sentence = "child {id!r} is present but not running: restart_child or delete_child it"


class ChildNotFound(_AboutChild):
    """No child of this supervisor has this id (or this reference)."""

    sentence = "no child {id!r}"


class ChildRunning(_AboutChild):
    """The call needs a stopped child, and this one runs: `terminate_child` it first."""

    sentence = "child {id!r} is running: terminate_child it first"


class ChildRestarting(_AboutChild):
    """The call needs a stopped child, and this one is being restarted: `terminate_child` cancels that."""

    sentence = "child {id!r} is being restarted: terminate_child cancels that"


class UnkillableChild(_AboutChild):
    """A child lives on after its kill deadline: a task that swallows cancellation cannot be ended from outside."""

    sentence = "child {id!r} ignores its cancellation and lives on"


class FailedToStart(_AboutChild):
    """A child did not start; what had been started before it has been stopped again.

    Attributes:
        id: the child.
        reason: how the start ended; for an exception `Crash(exception)`, which is also the `__cause__`.
    """

    def __init__(self, child_id: object, reason: ExitReason) -> None:
        SupervisionError.__init__(self, f"child {child_id!r} failed to start: {reason}")
        self.id = child_id
        self.reason = reason


class NotStarted(SupervisionError):
    """A child that takes `task_status` returned before it called `started()`; `value` is what it returned."""

    def __init__(self, value: object) -> None:
        super().__init__(f"returned {value!r} before calling task_status.started()")
        self.value = value


class StartTimeout(SupervisionError):
    """A child did not call `started()` within its `start_timeout` seconds and was killed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"did not start within {seconds} s")
        self.seconds = seconds


class StartCancelled(SupervisionError):
    """The start of a child was given up because the task that asked for it was cancelled."""

    def __init__(self) -> None:
        super().__init__("the start was cancelled")


class StrayCancelled(SupervisionError):
    """A child ended with a `trio.Cancelled` that belongs to no scope around it: a stored one raised again."""

    def __init__(self) -> None:
        super().__init__("ended with a Cancelled that nobody asked for")


class MaxChildrenReached(SupervisionError):
    """A dynamic supervisor is full; children being restarted hold their place. `limit` is its `max_children`."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"all {limit} places are taken")
        self.limit = limit


class RestartLimitReached(SupervisionError):
    """A supervisor gave up: a child died more often than `max_restarts` times in `max_seconds`.

    Attributes:
        supervisor: name of the supervisor.
        id: the child whose death was one too many.
        reason: how that child ended.
    """

    def __init__(self, supervisor: str, child_id: object, reason: ExitReason | None) -> None:
        super().__init__(f"{supervisor} gave up: child {child_id!r} was restarted too often (last exit: {reason})")
        self.supervisor = supervisor
        self.id = child_id
        self.reason = reason


class SupervisorStopped(SupervisionError):
    """The supervisor is stopping or has stopped (OTP's noproc); `exit_reason` is why."""

    def __init__(self, supervisor: str, exit_reason: ExitReason | None) -> None:
        super().__init__(f"supervisor {supervisor} has stopped: {exit_reason}")
        self.supervisor = supervisor
        self.exit_reason = exit_reason


class StopTimeout(SupervisionError):
    """`stop(timeout=...)` ran out of time; the stop itself goes on."""

    def __init__(self, supervisor: str, seconds: float) -> None:
        super().__init__(f"supervisor {supervisor} has not stopped within {seconds} s")
        self.supervisor = supervisor
        self.seconds = seconds
