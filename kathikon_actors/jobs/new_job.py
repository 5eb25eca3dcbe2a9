"""A job that is not inserted yet: a worker's name, bound arguments, options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kathikon_actors.jobs.errors import UnknownOption

if TYPE_CHECKING:
    from kathikon_actors.jobs.worker import WorkerDefinition

__all__ = ["INSERT_OPTIONS", "NewJob", "check_options"]

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
