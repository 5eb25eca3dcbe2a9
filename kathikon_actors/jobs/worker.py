"""Declaring workers: a function with `@worker`, or a subclass of `Worker`. Both become a `WorkerDefinition`."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, get_type_hints, overload

from kathikon_actors.jobs.backoff import BackoffFunction
from kathikon_actors.jobs.errors import BadConfiguration, UnknownOption
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.unique import Unique

__all__ = [
    "DEFAULT_TIMEOUT",
    "LARGEST",
    "SMALLEST",
    "Worker",
    "WorkerDefinition",
    "WorkerFunction",
    "definition_of",
    "is_tag",
    "registered",
    "worker",
]

DEFAULT_TIMEOUT = 300.0
"""Seconds one attempt may take when nobody says otherwise."""

SMALLEST, LARGEST = -(2**31), 2**31 - 1
"""Of a priority and of `max_attempts`: what a Postgres integer holds."""

P = ParamSpec("P")
R = TypeVar("R")

_REGISTRY: dict[tuple[str, str], WorkerDefinition] = {}


class WorkerDefinition:
    """What a worker is: its function, its defaults, the signature that arguments are bound against.

    Attributes:
        name: what jobs call it; unique in an app.
        module: where it was defined, with `qualname`: how another process finds it.
        is_async: whether it runs as one of many on a trio loop, or alone as a plain function.
        takes_job: whether `perform` wants the `Job` first.
        free_form: the class form whose `perform` takes the job alone: any arguments by name are accepted.
        owner: the class form's class, of which each run makes an instance.
    """

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
        unique: Unique | None = None,
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
        self.unique = unique
        self.is_async = inspect.iscoroutinefunction(target)
        every = list(inspect.signature(target).parameters.values())
        parameters = every[1:] if drop_self else every
        self.takes_job = bool(parameters) and _is_job(target, parameters[0])
        if self.takes_job:
            parameters = parameters[1:]
        self._taken = {p.name for p in every[: len(every) - len(parameters)]}
        self.free_form = drop_self and self.takes_job and not parameters
        self.signature = inspect.Signature(parameters)
        self._names = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._simple = len(self._names) == len(parameters) and all(p.default is p.empty for p in parameters)
        self._check(parameters)

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
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}") from None
        values: dict[str, Any] = {}
        for key, value in bound.arguments.items():
            if self.signature.parameters[key].kind is inspect.Parameter.VAR_KEYWORD:
                for taken in self._taken.intersection(value):
                    raise TypeError(f"{self.name}{self.signature}: '{taken}' is given by the queue, not by the caller")
                values.update(value)
            else:
                values[key] = value
        return values

    def _check(self, parameters: list[inspect.Parameter]) -> None:
        for parameter in parameters:
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
                raise BadConfiguration(
                    f"worker {self.name}: parameter {parameter} cannot be given by name; jobs keep arguments by name"
                )
        if not isinstance(self.name, str) or not self.name.isprintable():
            raise BadConfiguration(f"worker {self.name!r}: its name is not a string of printable characters")
        if self.queue is not None and not isinstance(self.queue, str):
            raise BadConfiguration(f"worker {self.name}: queue is {self.queue!r}; give a queue's name")
        if self.max_attempts is not None and not _is_whole(self.max_attempts, 1):
            raise BadConfiguration(
                f"worker {self.name}: max_attempts is {self.max_attempts!r}; give a whole number from 1 to {LARGEST}"
            )
        if self.timeout is not None and not _is_seconds(self.timeout):
            raise BadConfiguration(f"worker {self.name}: timeout is {self.timeout!r}; give seconds above 0")
        if not _is_whole(self.priority, SMALLEST):
            raise BadConfiguration(
                f"worker {self.name}: priority is {self.priority!r}; give a whole number from {SMALLEST} to {LARGEST}"
            )
        if self.backoff is not None and not callable(self.backoff):
            raise BadConfiguration(
                f"worker {self.name}: backoff is {self.backoff!r}; give a function of (attempt, error)"
            )

        if self.unique is not None and not isinstance(self.unique, Unique):
            raise BadConfiguration(f"worker {self.name}: unique is {self.unique!r}; give Unique(...)")

    def __repr__(self) -> str:
        return f"<WorkerDefinition {self.name} ({self.module}:{self.qualname})>"


def is_tag(value: object) -> bool:
    """Tell whether `value` can be a tag: a non-empty string that UTF-8 and Postgres can hold."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _tags(worker: str, value: Any) -> tuple[str, ...]:
    tags = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else None
    if tags is None or not all(is_tag(tag) for tag in tags):
        raise BadConfiguration(f"worker {worker}: tags is {value!r}; give a list of non-empty strings")
    return tags


def _is_whole(value: object, smallest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and smallest <= value <= LARGEST


def _is_seconds(value: object) -> bool:
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


class WorkerFunction(Generic[P, R]):
    """What `@worker` makes of a function: callable as before, and `new` makes a job of it."""

    def __init__(self, function: Callable[..., R], definition: WorkerDefinition) -> None:
        self.function = function
        self.definition = definition
        self.__doc__ = function.__doc__
        self.__name__ = definition.name
        self.__qualname__ = definition.qualname
        self.__module__ = definition.module
        self.__wrapped__ = function

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Call the function itself, in this process, as if there were no queue."""
        return self.function(*args, **kwargs)

    def new(self, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """Make a job that will call the function with these arguments.

        Raises:
            TypeError: the arguments do not fit; it names the worker.
        """
        return NewJob(self.definition.name, self.definition.bind(args, kwargs), self.definition)

    def __repr__(self) -> str:
        return f"<worker {self.definition.name} of {self.definition.module}>"


class _Decorator:
    """What `worker(...)` with options gives: typed by whether the function takes the job first."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options

    @overload
    def __call__(self, function: Callable[Concatenate[Job, P], R]) -> WorkerFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> WorkerFunction[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> WorkerFunction[..., Any]:
        return _declare(function, self._options)


_OPTIONS = ("name", "queue", "max_attempts", "timeout", "priority", "tags", "backoff", "unique")


@overload
def worker(function: Callable[Concatenate[Job, P], R], /) -> WorkerFunction[P, R]: ...
@overload
def worker(function: Callable[P, R], /) -> WorkerFunction[P, R]: ...
@overload
def worker(
    *,
    name: str | None = None,
    queue: str | None = None,
    max_attempts: int | None = None,
    timeout: float | None = None,
    priority: int = 0,
    tags: Iterable[str] = (),
    backoff: BackoffFunction | None = None,
    unique: Unique | None = None,
) -> _Decorator: ...
def worker(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare a function as a worker.

    An async function runs as one of many on a worker process' trio loop; a plain function has a worker process to
    itself while it runs. A first parameter `job: Job` receives the job.

    Args:
        function: the function, when used without parentheses.
        **options: `name` (default: the function's), `queue` (default: the app's), `max_attempts` (default 3),
            `timeout` in seconds per attempt (default 300), `priority` (higher first, default 0), `tags`, `backoff`
            `(attempt, error) -> seconds`, `unique` (which of its jobs count as the same).

    Raises:
        UnknownOption: naming the nearest option.
        BadConfiguration: an option has an impossible value.

    Example:
        ```python
        @worker(queue="pdf", timeout=60)
        def render_invoice(invoice_id: str) -> None: ...

        job = render_invoice.new("INV-99")
        ```
    """
    for option in options:
        if option not in _OPTIONS:
            raise UnknownOption("worker()", option, _OPTIONS)
    if function is not None:
        return _declare(function, options)
    return _Decorator(options)


def _declare(function: Callable[..., Any], options: dict[str, Any]) -> WorkerFunction[..., Any]:
    if not isinstance(function, types.FunctionType):
        raise BadConfiguration(f"@worker takes a function, not {function!r}; for a class derive from Worker")
    options = dict(options)
    name = options.pop("name", None) or function.__name__
    definition = WorkerDefinition(
        function, name=name, module=function.__module__, qualname=function.__qualname__, **options
    )
    _REGISTRY[definition.module, definition.qualname] = definition
    return WorkerFunction(function, definition)


class Worker:
    """The class form of a worker: class attributes are its options, `perform` its work.

    Example:
        ```python
        class Nightly(Worker):
            queue = "reports"
            max_attempts = 2

            async def perform(self, job: Job) -> None: ...

            def backoff(self, attempt: int, error: BaseException) -> float:
                return 10.0 * attempt
        ```
    """

    name: ClassVar[str | None] = None
    queue: ClassVar[str | None] = None
    max_attempts: ClassVar[int | None] = None
    timeout: ClassVar[float | None] = None
    priority: ClassVar[int] = 0
    tags: ClassVar[Iterable[str]] = ()
    unique: ClassVar[Unique | None] = None

    perform: Callable[..., Any | Awaitable[Any]]
    definition: ClassVar[WorkerDefinition]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        perform = inspect.getattr_static(cls, "perform", None)
        if perform is None:
            return
        if not isinstance(perform, types.FunctionType):
            raise BadConfiguration(f"worker {cls.__name__}: perform is {perform!r}; define it with def or async def")
        backoff = getattr(cls, "backoff", None)
        if backoff is not None and not callable(backoff):
            raise BadConfiguration(f"worker {cls.__name__}: backoff is {backoff!r}; define it with def")
        cls.definition = WorkerDefinition(
            perform,
            name=cls.__dict__.get("name") or cls.__name__,
            module=cls.__module__,
            qualname=cls.__qualname__,
            drop_self=True,
            owner=cls,
            queue=cls.queue,
            max_attempts=cls.max_attempts,
            timeout=cls.timeout,
            priority=cls.priority,
            tags=cls.tags,
            unique=cls.unique,
            backoff=None if backoff is None else lambda attempt, error: cls().backoff(attempt, error),  # type: ignore[attr-defined]
        )
        _REGISTRY[cls.__module__, cls.__qualname__] = cls.definition

    @classmethod
    def new(cls, *args: Any, **kwargs: Any) -> NewJob:
        """Make a job of this worker.

        Raises:
            TypeError: the arguments do not fit `perform`; it names the worker.
        """
        definition = definition_of(cls)
        return NewJob(definition.name, definition.bind(args, kwargs), definition)


def definition_of(target: object) -> WorkerDefinition:
    """Give the definition behind a worker function or class.

    Raises:
        BadConfiguration: it is neither.
    """
    if isinstance(target, WorkerDefinition):
        return target
    definition = getattr(target, "definition", None)
    if isinstance(definition, WorkerDefinition):
        return definition
    raise BadConfiguration(f"{target!r} is not a worker; decorate the function with @worker, or derive from Worker")


def registered() -> tuple[WorkerDefinition, ...]:
    """Give every worker that was declared in this process so far."""
    return tuple(_REGISTRY.values())
