"""A job that is not inserted yet: a worker's name, bound arguments, options."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from kathikon_actors.jobs.errors import InvalidJob, UnknownOption, shown

if TYPE_CHECKING:
    from kathikon_actors.jobs.worker import WorkerDefinition

__all__ = [
    "INSERT_OPTIONS",
    "LONGEST_NAME",
    "NewJob",
    "check_jobs",
    "check_new",
    "check_options",
    "is_worker_name",
    "named_args",
]

LONGEST_NAME: Final = 255
"""Characters of a worker's name."""

INSERT_OPTIONS = (
    "queue",
    "priority",
    "max_attempts",
    "timeout",
    "schedule_in",
    "schedule_at",
    "tags",
    "meta",
    "result",
    "encrypt",
    "id",
    "durability",
    "unique",
    "depends_on",
    "on_dependency_failure",
    "batch",
    "partition_key",
)


def is_worker_name(value: object) -> bool:
    """Tell whether `value` can be the name of a worker: 1 to 255 printable characters."""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_NAME and value.isprintable()


def named_args(worker: str, args: object) -> dict[str, Any]:
    """Give what a user gave as arguments by name; `None` are none.

    Raises:
        InvalidJob: it is something else.
    """
    if args is None:
        return {}
    if not isinstance(args, Mapping):
        raise InvalidJob(worker, "args", f"is {shown(args)}; give arguments by name, as a dict")
    bad = [key for key in args if not isinstance(key, str)]
    if bad:
        raise InvalidJob(worker, f"args[{bad[0]!r}]", "has a key that is not a string")
    return dict(args)


def check_new(new: object) -> NewJob:
    """Give a job whose worker is a name and whose arguments are a dict: what they say is looked at later.

    Raises:
        InvalidJob: it is something else.
    """
    if not isinstance(new, NewJob):
        raise InvalidJob(repr(new)[:80], "job", "is not a job; give worker.new(...)")
    if new.definition is None and not is_worker_name(new.worker):
        problem = f"is none: a worker's name is 1 to {LONGEST_NAME} printable characters"
        raise InvalidJob(repr(new.worker)[:80], "worker", problem)
    if type(new.args) is not dict:
        raise InvalidJob(new.worker, "args", f"is {shown(new.args)}; give arguments by name, as a dict")
    return new


def check_jobs(jobs: object) -> None:
    """Raise `InvalidJob` unless `jobs` can be gone through, with `for` or with `async for`."""
    if not isinstance(jobs, Iterable | AsyncIterable):
        raise InvalidJob(shown(jobs)[:80], "jobs", "are not several; give a list or a generator of worker.new(...)")


def check_options(worker: str, options: dict[str, Any]) -> None:
    """Raise `UnknownOption`, naming the nearest, when one of `options` is none of `INSERT_OPTIONS`."""
    for option in options:
        if option not in INSERT_OPTIONS:
            raise UnknownOption(f"a job for {worker}", option, INSERT_OPTIONS)


class NewJob:
    """What `worker.new(...)` gives and `insert` takes.

    Attributes:
        worker: the worker's name.
        args: arguments by name.
        definition: the worker behind the name, when it is known here.
    """

    __slots__ = ("args", "definition", "given", "worker")

    def __init__(
        self,
        worker: str,
        args: dict[str, Any],
        definition: WorkerDefinition | None = None,
        given: dict[str, Any] | None = None,
    ) -> None:
        self.worker = worker
        self.args = args
        self.definition = definition
        self.given: dict[str, Any] = given if given is not None else {}

    def options(self, **options: Any) -> NewJob:
        """Give the same job with insert options set.

        Args:
            **options: `queue`, `priority` (higher first), `max_attempts`, `timeout` (seconds), `schedule_in`
                (seconds), `schedule_at` (datetime), `tags`, `meta`, `result` (`"store"` or `"discard"`), `id`,
                `encrypt` (`True`, `False`, `"meta"`: the meta too),
                `unique` (a `Unique`), `depends_on` (jobs or ids), `on_dependency_failure` (`"discard"` or `"run"`),
                `batch` (an open batch or its id), `partition_key` (of a fair queue), `durability` (`"commit"`,
                `"snapshot"` or `"memory"`).

        Raises:
            UnknownOption: naming the nearest option.
        """
        check_options(self.worker, options)
        return NewJob(self.worker, self.args, self.definition, {**self.given, **options})

    def bound(self, definition: WorkerDefinition) -> NewJob:
        """Give the job with arguments that fit its worker, where only the worker's name was known so far.

        Raises:
            TypeError: they do not; it names the worker.
        """
        if self.definition is not None:
            return self
        return NewJob(self.worker, definition.bind((), self.args), definition, self.given)

    def __repr__(self) -> str:
        return f"<NewJob {self.worker} {self.args!r} {self.given!r}>"
