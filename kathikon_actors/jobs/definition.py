"""What a worker is, once it is declared: its function, its options, the signature that arguments are bound against.

How to add an option: a line in `EXTRA_OPTIONS` with its default and its check, an annotation in `WorkerDefinition`, a
parameter in the overload of `worker` and a class variable in `Worker`.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, get_type_hints

from kathikon_actors.jobs.backoff import BackoffFunction
from kathikon_actors.jobs.breaker import Breaker
from kathikon_actors.jobs.durability import Durability, check_durability
from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob, shown
from kathikon_actors.jobs.failures import FailureRules, check_discard_on, check_retry_on
from kathikon_actors.jobs.json import is_text
from kathikon_actors.jobs.limits import Limit, Rate, check_limit
from kathikon_actors.jobs.middleware import Middleware, check_middleware
from kathikon_actors.jobs.new_job import LONGEST_NAME, is_worker_name
from kathikon_actors.jobs.parameters import parameters_of
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.sealed_record import Encrypt, check_encrypt
from kathikon_actors.jobs.unique import Unique

if TYPE_CHECKING:
    from kathikon_actors.jobs.worker import Worker

__all__ = [
    "DEFAULT_TIMEOUT",
    "EXTRA_OPTIONS",
    "LARGEST",
    "SMALLEST",
    "WorkerDefinition",
    "is_seconds",
    "is_tag",
    "is_whole",
]

DEFAULT_TIMEOUT = 300.0
"""Seconds one attempt may take when nobody says otherwise."""

SMALLEST, LARGEST = -(2**31), 2**31 - 1
"""Of a priority and of `max_attempts`: what a Postgres integer holds."""


def _check_chain(worker: str, value: object) -> tuple[Middleware, ...]:
    return check_middleware(f"worker {worker}", value)


def _check_on_discard(worker: str, value: object) -> Callable[[Job], object] | None:
    if value is not None and not callable(value):
        raise BadConfiguration(f"worker {worker}: on_discard is {shown(value)}; give a function of the job")
    return value


def _check_durability(worker: str, value: object) -> Durability | None:
    return check_durability(f"worker {worker}", value)


def _check_unique(worker: str, value: object) -> Unique | None:
    if value is not None and not isinstance(value, Unique):
        raise BadConfiguration(f"worker {worker}: unique is {shown(value)}; give Unique(...)")
    return value


def _check_encrypt(worker: str, value: object) -> Encrypt:
    try:
        return check_encrypt(worker, value)
    except InvalidJob as error:
        raise BadConfiguration(f"worker {worker}: {error}") from None


EXTRA_OPTIONS: Final[Mapping[str, tuple[Any, Callable[[str, Any], Any]]]] = types.MappingProxyType(
    {
        "retry_on": ((), check_retry_on),
        "discard_on": ((), check_discard_on),
        "middleware": ((), _check_chain),
        "on_discard": (None, _check_on_discard),
        "unique": (None, _check_unique),
        "encrypt": (None, _check_encrypt),
        "concurrency": (None, partial(check_limit, "concurrency")),
        "rate_limit": (None, partial(check_limit, "rate_limit")),
        "breaker": (None, partial(check_limit, "breaker")),
        "durability": (None, _check_durability),
    }
)
"""Options beyond those that every job has: their defaults, and what checks and keeps a value that was given."""


class WorkerDefinition:
    """What a worker is: its function, its defaults, the signature that arguments are bound against.

    Attributes:
        name: what jobs call it; unique in an app.
        module: where it was defined, with `qualname`: how another process finds it.
        is_async: whether it runs as one of many on a trio loop, or alone as a plain function.
        takes_job: whether `perform` wants the `Job` first.
        free_form: the class form whose `perform` takes the job alone: any arguments by name are accepted.
        parameters: the names under which it takes its arguments.
        owner: the class form's class, of which each run makes an instance.
        rules: what `retry_on` and `discard_on` say of exceptions.
        middleware: the worker's own chain.
        on_discard: called with the job when it was discarded by its own failure.
        unique: which of its jobs count as the same.
        encrypt: whether its jobs are encrypted.
        concurrency: how many of its jobs run at the same time, on all nodes together.
        rate_limit: how many of them start in a time, on all nodes together.
        breaker: when it is given a rest.
        durability: when its jobs are written.
    """

    retry_on: Mapping[type[BaseException], BackoffFunction | None]
    discard_on: frozenset[type[BaseException]]
    middleware: tuple[Middleware, ...]
    on_discard: Callable[[Job], object] | None
    unique: Unique | None
    encrypt: Encrypt
    concurrency: Limit | None
    rate_limit: Rate | None
    breaker: Breaker | None
    durability: Durability | None

    def __init__(
        self,
        target: Callable[..., Any],
        *,
        name: str,
        module: str,
        qualname: str,
        drop_self: bool = False,
        owner: type[Worker] | None = None,
        queue: str | None = None,
        max_attempts: int | None = None,
        timeout: float | None = None,
        priority: int = 0,
        tags: Iterable[str] = (),
        backoff: BackoffFunction | None = None,
        **extra: Any,
    ) -> None:
        self.target = target
        self.name = name
        self.module = module
        self.qualname = qualname
        self.owner = owner
        self.queue = queue
        self.max_attempts = max_attempts
        self.timeout = timeout
        self.priority = priority
        self.tags = _tags(name, tags)
        self.backoff = backoff
        self.is_async = inspect.iscoroutinefunction(target)
        every = list(inspect.signature(target).parameters.values())
        parameters = every[1:] if drop_self else every
        self.takes_job = bool(parameters) and _is_job(target, parameters[0])
        if self.takes_job:
            parameters = parameters[1:]
        self.free_form = drop_self and self.takes_job and not parameters
        self.signature = inspect.Signature(parameters)
        taken = [p.name for p in every[: len(every) - len(parameters)]]
        self.parameters = parameters_of(parameters, taken, free_form=self.free_form)
        self._names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._simple = len(self._names) == len(parameters) and all(p.default is p.empty for p in parameters)
        self._check(parameters)
        for option, (default, check) in EXTRA_OPTIONS.items():
            setattr(self, option, check(name, extra.pop(option, default)))
        if extra:
            raise TypeError(f"worker {name} has no options {sorted(extra)}")
        self.rules = FailureRules(self.retry_on, self.discard_on)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Give the arguments by name.

        Raises:
            TypeError: naming the worker and what is wrong or missing.
        """
        if self.free_form:
            if args:
                raise TypeError(f"{self.name} takes its arguments by name; give {self.name}.new(name=value)")
            return dict(kwargs)
        if self._simple and not kwargs and len(args) == len(self._names):
            return dict(zip(self._names, args, strict=True))
        if args:
            kwargs = self._by_name(args, kwargs)
        problem = self.parameters.problem(kwargs)
        if problem is not None:
            raise TypeError(f"{self.name}{self.signature}: {problem}")
        named = {name: kwargs[name] for name in self.parameters.names if name in kwargs}
        return {**named, **kwargs} if len(named) < len(kwargs) else named

    def _by_name(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Give the names that arguments have which came by place; which names there are is not looked at."""
        problem = "too many positional arguments" if len(args) > len(self._names) else None
        named = dict(zip(self._names, args, strict=False))
        for name in kwargs:
            if name in named:
                problem = problem or f"multiple values for argument '{name}'"
        if problem is not None:
            raise TypeError(f"{self.name}{self.signature}: {problem}")
        return {**named, **kwargs}

    @property
    def mourns_async(self) -> bool:
        """Whether `on_discard` is an async function."""
        return inspect.iscoroutinefunction(self.on_discard)

    def _check(self, parameters: list[inspect.Parameter]) -> None:
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise BadConfiguration(
                    f"worker {self.name}: parameter {parameter} cannot be given by name; jobs keep arguments by name"
                )
        if not is_worker_name(self.name):
            raise BadConfiguration(f"worker {self.name!r}: a name is 1 to {LONGEST_NAME} printable characters")
        if self.queue is not None and not isinstance(self.queue, str):
            raise BadConfiguration(f"worker {self.name}: queue is {shown(self.queue)}; give a queue's name")
        if self.max_attempts is not None and not is_whole(self.max_attempts, 1):
            problem = f"max_attempts is {shown(self.max_attempts)}; give a whole number from 1 to {LARGEST}"
            raise BadConfiguration(f"worker {self.name}: {problem}")
        if self.timeout is not None and not is_seconds(self.timeout):
            raise BadConfiguration(f"worker {self.name}: timeout is {shown(self.timeout)}; give seconds above 0")
        if not is_whole(self.priority, SMALLEST):
            problem = f"priority is {shown(self.priority)}; give a whole number from {SMALLEST} to {LARGEST}"
            raise BadConfiguration(f"worker {self.name}: {problem}")
        if self.backoff is not None and not callable(self.backoff):
            raise BadConfiguration(
                f"worker {self.name}: backoff is {shown(self.backoff)}; give a function of (attempt, error)"
            )

    def __repr__(self) -> str:
        return f"<WorkerDefinition {self.name} ({self.module}:{self.qualname})>"


def is_tag(value: object) -> bool:
    """Tell whether `value` can be a tag: a non-empty string that UTF-8 and Postgres can hold."""
    return bool(value) and is_text(value)


def _tags(worker: str, value: Any) -> tuple[str, ...]:
    tags = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else None
    if tags is None or not all(is_tag(tag) for tag in tags):
        raise BadConfiguration(f"worker {worker}: tags is {shown(value)}; give a list of non-empty strings")
    return tags


def is_whole(value: object, smallest: int) -> bool:
    """Tell whether `value` is a whole number from `smallest` to `LARGEST`."""
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= LARGEST


def is_seconds(value: object) -> bool:
    """Tell whether `value` is a time above 0; it may be infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return not math.isnan(value) and float(value) > 0
    except OverflowError:
        return False


def _is_job(target: Callable[..., Any], first: inspect.Parameter) -> bool:
    """Tell whether the first parameter is the job: annotated with `Job`, or named `job` without another annotation."""
    if first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
        return False
    annotation = first.annotation
    if annotation is first.empty:
        return first.name == "job"
    if isinstance(annotation, str):
        names = getattr(inspect.unwrap(target), "__globals__", {})
        alone = types.SimpleNamespace(__annotations__={first.name: annotation})
        try:
            annotation = get_type_hints(alone, names)[first.name]
        except Exception:  # an annotation that names what is imported for type checkers only
            return first.name == "job" and str(annotation).split(".")[-1] == "Job"
    return annotation is Job
