"""Declaring workers: a function with `@worker`, or a subclass of `Worker`. Both become a `WorkerDefinition`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, overload

from kathikon_actors.jobs.backoff import BackoffFunction
from kathikon_actors.jobs.breaker import Breaker
from kathikon_actors.jobs.definition import (
    DEFAULT_TIMEOUT,
    EXTRA_OPTIONS,
    LARGEST,
    SMALLEST,
    WorkerDefinition,
    is_tag,
)
from kathikon_actors.jobs.durability import Durability
from kathikon_actors.jobs.errors import BadConfiguration, UnknownOption
from kathikon_actors.jobs.failures import DiscardOn, RetryOn
from kathikon_actors.jobs.limits import Limit, Rate
from kathikon_actors.jobs.middleware import Middleware
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.sealed_record import Encrypt
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

P = ParamSpec("P")
R = TypeVar("R")

_REGISTRY: dict[tuple[str, str], WorkerDefinition] = {}


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


_OPTIONS = ("name", "queue", "max_attempts", "timeout", "priority", "tags", "backoff", *EXTRA_OPTIONS)


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
    retry_on: RetryOn = (),
    discard_on: DiscardOn = (),
    middleware: Iterable[Middleware] = (),
    on_discard: Callable[[Job], object] | None = None,
    unique: Unique | None = None,
    encrypt: Encrypt = None,
    concurrency: Limit | None = None,
    rate_limit: Rate | None = None,
    breaker: Breaker | None = None,
    durability: Durability | None = None,
) -> _Decorator: ...
def worker(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare a function as a worker.

    An async function runs as one of many on a worker process' trio loop; a plain function has a worker process to
    itself while it runs. A first parameter `job: Job` receives the job.

    Args:
        function: the function, when used without parentheses.
        **options: `name` (default: the function's), `queue` (default: the app's), `max_attempts` (default 3),
            `timeout` in seconds per attempt (default 300), `priority` (higher first, default 0), `tags`, `backoff`
            `(attempt, error) -> seconds`, `retry_on` (exception types worth another attempt, or those with seconds or
            a backoff each; any other exception discards at once), `discard_on` (exception types that discard at
            once), `middleware` (see `kathikon_actors.jobs.middleware`), `on_discard(job)` (called in a worker process
            when the job was discarded by its own failure; what it raises is logged and changes nothing),
            `unique` (which of its jobs count as the same), `concurrency` (a `Limit`), `rate_limit` (a `Rate`),
            `breaker` (a `Breaker`), `durability` (`"commit"`, `"snapshot"` or `"memory"`, default: the app's),
            `encrypt` (its arguments, `"meta"`: its meta too; default: when the app has `encryption_keys`).

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
    name = options.pop("name", None)
    name = function.__name__ if name is None else name
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

            async def on_discard(self, job: Job) -> None:
                job.log.error("given up: %s", job.errors[-1]["message"])
        ```
    """

    name: ClassVar[str | None] = None
    queue: ClassVar[str | None] = None
    max_attempts: ClassVar[int | None] = None
    timeout: ClassVar[float | None] = None
    priority: ClassVar[int] = 0
    tags: ClassVar[Iterable[str]] = ()
    unique: ClassVar[Unique | None] = None
    encrypt: ClassVar[Encrypt] = None
    retry_on: ClassVar[RetryOn] = ()
    discard_on: ClassVar[DiscardOn] = ()
    middleware: ClassVar[Iterable[Middleware]] = ()
    concurrency: ClassVar[Limit | None] = None
    rate_limit: ClassVar[Rate | None] = None
    breaker: ClassVar[Breaker | None] = None
    durability: ClassVar[Durability | None] = None

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
            name=cls.__name__ if cls.__dict__.get("name") is None else cls.__dict__["name"],
            module=cls.__module__,
            qualname=cls.__qualname__,
            drop_self=True,
            owner=cls,
            queue=cls.queue,
            max_attempts=cls.max_attempts,
            timeout=cls.timeout,
            priority=cls.priority,
            tags=cls.tags,
            backoff=None if backoff is None else lambda attempt, error: cls().backoff(attempt, error),  # type: ignore[attr-defined]
            **{option: _class_option(cls, option) for option in EXTRA_OPTIONS if hasattr(cls, option)},
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


def _class_option(cls: type[Worker], option: str) -> object:
    """Give an option as the class has it; a method becomes a function of what follows `self`."""
    method = inspect.getattr_static(cls, option)
    if not isinstance(method, types.FunctionType):
        return getattr(cls, option)
    if inspect.iscoroutinefunction(method):

        async def call_async(*args: Any) -> object:
            return await getattr(cls(), option)(*args)

        return call_async

    def call(*args: Any) -> object:
        return getattr(cls(), option)(*args)

    return call


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
