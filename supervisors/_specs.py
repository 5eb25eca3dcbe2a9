"""What a child is: its id, its function, and how it is to be restarted and stopped."""

from __future__ import annotations

import enum
import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from supervisors._backoff import Backoff
from supervisors._errors import DuplicateChild, InvalidSpec
from supervisors._exits import ExitReason
from supervisors._probe import Probe

__all__ = [
    "BRUTAL_KILL",
    "IGNORE",
    "AutoShutdown",
    "BrutalKill",
    "ChildSpec",
    "ChildType",
    "Ignored",
    "Key",
    "OnExceed",
    "Restart",
    "Strategy",
    "check_childspecs",
    "check_choice",
    "check_intensity",
    "key_of",
]

Restart = Literal["permanent", "transient", "temporary"]
ChildType = Literal["worker", "supervisor"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
OnExceed = Literal["escalate", "pause", "drop"]
Key = tuple[type, object]


class BrutalKill(enum.Enum):
    """The type of `BRUTAL_KILL`."""

    BRUTAL_KILL = "brutal_kill"

    def __repr__(self) -> str:
        return "BRUTAL_KILL"


class Ignored(enum.Enum):
    """The type of `IGNORE`."""

    IGNORE = "ignore"

    def __repr__(self) -> str:
        return "IGNORE"


BRUTAL_KILL: Final = BrutalKill.BRUTAL_KILL
"""As `shutdown=`: cancel the child for good at once, without asking it to stop first."""

IGNORE: Final = Ignored.IGNORE
"""As `task_status.started(IGNORE)`: the start succeeded and there is nothing to run (OTP's `ignore`)."""


def key_of(child_id: object) -> Key:
    """Return the key that tells 1, 1.0 and True apart, as OTP's exact comparison does."""
    return (type(child_id), child_id)


def check_choice(name: str, value: object, choices: object) -> None:
    """Raise InvalidSpec unless `value` is one of the strings of the Literal type `choices`."""
    legal = get_args(choices)
    if not isinstance(value, str) or value not in legal:
        raise InvalidSpec(name, value, "one of " + ", ".join(repr(one) for one in legal))


def check_intensity(limit: object, period: object, names: tuple[str, str]) -> None:
    """Raise InvalidSpec unless `limit` is a whole number of restarts and `period` a positive number of seconds."""
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise InvalidSpec(names[0], limit, "a whole number of restarts, 0 or more")
    if not isinstance(period, (int, float)) or isinstance(period, bool) or not period > 0:
        raise InvalidSpec(names[1], period, "seconds, more than 0")


def _takes_task_status(start: Callable[..., object]) -> bool:
    target: object = start
    while isinstance(target, functools.partial):
        target = target.func
    code = getattr(target, "__code__", None) or getattr(getattr(target, "__func__", None), "__code__", None)
    if code is not None and not hasattr(target, "__wrapped__") and target is start:
        return "task_status" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return "task_status" in inspect.signature(start).parameters
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A child of a supervisor. Checked when made; `InvalidSpec` names the field and what is legal.

    Attributes:
        id: any hashable value but None, unique in its supervisor; 1, 1.0 and True are three ids.
        start: an async function; it **is** the child's life. If it has a `task_status` parameter the child is up when
            it calls `task_status.started(info)`, else as soon as it runs. `started(IGNORE)` means: nothing to run.
        args: positional arguments of `start`, the same at every restart.
        kwargs: keyword arguments of `start`.
        restart: "permanent" (always), "transient" (only after a crash or a kill), "temporary" (never; the spec goes
            with the child).
        shutdown: seconds between the request to stop and the kill, `math.inf`, or `BRUTAL_KILL`. Default 5.0, and
            `math.inf` for a supervisor.
        type: "worker" or "supervisor"; decides the default of `shutdown` and the counts.
        significant: its own end may end the supervisor, see `auto_shutdown`; not legal for a permanent child.
        start_timeout: seconds until `started()` must have been called; None waits for ever.
        backoff: delays between restarts; None restarts at once, as OTP does.
        child_intensity: (restarts, seconds), a limit of this child's own besides the supervisor's.
        probe: asks the running child whether it still works; a crash if it does not.
        restart_if: asked with the exit reason when `restart` says yes; False leaves the child stopped.

    Example:
        ChildSpec("clock", ticker, args=("clock",), restart="transient", shutdown=1.0)
    """

    id: object
    start: Callable[..., Awaitable[object]]
    args: tuple[object, ...] = ()
    kwargs: Mapping[str, object] = field(default_factory=dict, hash=False)
    restart: Restart = field(default="permanent", kw_only=True)
    shutdown: float | BrutalKill | None = field(default=None, kw_only=True)
    type: ChildType = field(default="worker", kw_only=True)
    significant: bool = field(default=False, kw_only=True)
    start_timeout: float | None = field(default=None, kw_only=True)
    backoff: Backoff | None = field(default=None, kw_only=True)
    child_intensity: tuple[int, float] | None = field(default=None, kw_only=True)
    restart_if: Callable[[ExitReason], bool] | None = field(default=None, kw_only=True)
    probe: Probe | None = field(default=None, kw_only=True)
    takes_task_status: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.id is None:
            raise InvalidSpec("id", None, "any hashable value but None")
        try:
            hash(self.id)
        except TypeError:
            raise InvalidSpec("id", self.id, "any hashable value but None") from None
        if not callable(self.start):
            raise InvalidSpec("start", self.start, "an async function")
        check_choice("restart", self.restart, Restart)
        check_choice("type", self.type, ChildType)
        object.__setattr__(self, "args", tuple(self.args))
        if self.shutdown is None:
            object.__setattr__(self, "shutdown", math.inf if self.type == "supervisor" else 5.0)
        elif self.shutdown is not BRUTAL_KILL and not _is_seconds(self.shutdown):
            raise InvalidSpec("shutdown", self.shutdown, "seconds (0 or more), math.inf or BRUTAL_KILL")
        if self.significant and self.restart == "permanent":
            raise InvalidSpec("significant", True, 'only with restart="transient" or "temporary"')
        if self.start_timeout is not None and not _is_seconds(self.start_timeout):
            raise InvalidSpec("start_timeout", self.start_timeout, "seconds (0 or more) or None")
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise InvalidSpec("backoff", self.backoff, "a Backoff or None")
        if self.child_intensity is not None:
            if not isinstance(self.child_intensity, tuple) or len(self.child_intensity) != 2:
                raise InvalidSpec("child_intensity", self.child_intensity, "(restarts, seconds) or None")
            check_intensity(*self.child_intensity, ("child_intensity", "child_intensity"))
        if self.restart_if is not None and not callable(self.restart_if):
            raise InvalidSpec("restart_if", self.restart_if, "a function of the exit reason, or None")
        if self.probe is not None and not isinstance(self.probe, Probe):
            raise InvalidSpec("probe", self.probe, "a Probe or None")
        takes = "task_status" not in self.kwargs and _takes_task_status(self.start)
        object.__setattr__(self, "takes_task_status", takes)


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def check_childspecs(specs: Iterable[ChildSpec], *, auto_shutdown: AutoShutdown = "never") -> list[ChildSpec]:
    """Return the specs as a list if a supervisor could start them; else raise the first error. Starts nothing.

    Raises:
        InvalidSpec: something is no ChildSpec, or is significant where `auto_shutdown` is "never".
        DuplicateChild: an id occurs twice.
    """
    checked: list[ChildSpec] = []
    seen: set[Key] = set()
    for spec in specs:
        if not isinstance(spec, ChildSpec):
            raise InvalidSpec("children", spec, "ChildSpec objects")
        if spec.significant and auto_shutdown == "never":
            raise InvalidSpec("significant", True, 'only where auto_shutdown is not "never"')
        key = key_of(spec.id)
        if key in seen:
            raise DuplicateChild(spec.id)
        seen.add(key)
        checked.append(spec)
    return checked
