"""The declaration of an app: its queues and workers. Plain data; nothing runs because it exists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from kathikon_actors.jobs.build import Defaults
from kathikon_actors.jobs.cron import Cron
from kathikon_actors.jobs.definition import is_seconds, is_whole
from kathikon_actors.jobs.durability import Durability, check_durability
from kathikon_actors.jobs.errors import BadConfiguration, UnknownQueue, shown
from kathikon_actors.jobs.middleware import Middleware, check_middleware
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.retention import Retention
from kathikon_actors.jobs.sealing import keyring_of
from kathikon_actors.jobs.worker import DEFAULT_TIMEOUT, LARGEST, WorkerDefinition, definition_of, registered
from kathikon_actors.node.options import check_zone
from kathikon_actors.telemetry.handler import check_handler
from kathikon_actors.telemetry.tracing import check_tracing, trace_job, trace_without_words

if TYPE_CHECKING:
    from kathikon_actors.telemetry.subscription import Handler
    from supervisors import ChildSpec

__all__ = ["App", "Queue"]

T = TypeVar("T")


class App:
    """What a node runs.

    Args:
        queues: at least one.
        workers: functions made by `@worker` and subclasses of `Worker`. Empty means every worker that was declared in
            this process when the node opens.
        crons: jobs that are made again and again; stored when a node opens.
        middleware: runs around every worker's own chain; see `kathikon_actors.jobs.middleware`.
        children: your own `ChildSpec`s, run in the node's supervision tree beside the queues.
        telemetry: handlers of events, called in a thread from the node's start to its end: `LogLines()`, `Metrics()`
            or any function of one event.
        tracing: make OpenTelemetry spans of inserts and runs; see `kathikon_actors.telemetry.tracing`.
        encryption_keys: newest first; with them arguments, results and errors of jobs are encrypted, unless worker or
            call say `encrypt=False`. See `generate_key`.
        default_queue: of workers that name none; `"default"` when there is such a queue, else the first one.
        max_attempts: failed attempts until a job is discarded, default 3.
        timeout: seconds per attempt, default 300.
        timezone: IANA name; of naive `schedule_at` times.
        durability: when jobs are written: `"commit"`, before their insert returns; `"snapshot"`, at most the node's
            `snapshot_interval` later; `"memory"`, never. Default `"commit"`; a worker or an insert may say otherwise.
        retention: how long jobs are kept after they have ended.

    Raises:
        BadConfiguration: naming what does not fit and what is legal.

    Example:
        ```python
        app = App(queues=[Queue("billing", concurrency=50), Queue("pdf", processes=2)])
        ```
    """

    def __init__(
        self,
        queues: Iterable[Queue],
        workers: Iterable[object] = (),
        crons: Iterable[Cron] = (),
        *,
        middleware: Iterable[Middleware] = (),
        children: Sequence[ChildSpec] = (),
        telemetry: Sequence[Handler] = (),
        tracing: bool = False,
        encryption_keys: Iterable[bytes | str] = (),
        default_queue: str | None = None,
        max_attempts: int = 3,
        timeout: float = DEFAULT_TIMEOUT,
        timezone: str = "UTC",
        durability: Durability = "commit",
        retention: Retention = Retention(),
    ) -> None:
        self.queues: dict[str, Queue] = {}
        for queue in _listed("queues", queues, "Queue(...) objects"):
            if not isinstance(queue, Queue):
                raise BadConfiguration(f"queues holds {shown(queue)}; give Queue(...) objects")
            if queue.name in self.queues:
                raise BadConfiguration(f'two queues are named "{queue.name}"; rename one of them')
            self.queues[queue.name] = queue
        if not self.queues:
            raise BadConfiguration("an app needs at least one queue: App(queues=[Queue('default')])")
        if default_queue is None:
            default_queue = "default" if "default" in self.queues else next(iter(self.queues))
        elif not isinstance(default_queue, str) or default_queue not in self.queues:
            raise UnknownQueue(default_queue if isinstance(default_queue, str) else shown(default_queue), self.queues)
        if not is_whole(max_attempts, 1):
            problem = f"max_attempts is {shown(max_attempts)}; give a whole number from 1 to {LARGEST}"
            raise BadConfiguration(f"App: {problem}")
        if not is_seconds(timeout):
            raise BadConfiguration(f"App: timeout is {shown(timeout)}; give seconds above 0")
        self.crons: dict[str, Cron] = {}
        for cron in _listed("crons", crons, "Cron(...) objects"):
            if not isinstance(cron, Cron):
                raise BadConfiguration(f"crons holds {shown(cron)}; give Cron(...) objects")
            if cron.name in self.crons:
                raise BadConfiguration(f'two cron entries are named "{cron.name}"; rename one of them')
            self.crons[cron.name] = cron
        self.keyring = keyring_of(encryption_keys)
        self.middleware = check_middleware("App", middleware)
        self.tracing = check_tracing("App", tracing)
        if self.tracing:
            self.middleware = (trace_job if self.keyring is None else trace_without_words, *self.middleware)
        if not isinstance(retention, Retention):
            raise BadConfiguration(f"App: retention is {shown(retention)}; give Retention(archive_after=..., ...)")
        self.retention = retention
        self.children = _children(children)
        self.telemetry = _listed("telemetry", telemetry, "functions of one event")
        for handler in self.telemetry:
            check_handler("App: telemetry", handler)
        self._workers = tuple(definition_of(worker) for worker in _listed("workers", workers, "workers"))
        self.defaults = Defaults(
            queues=self.queues,
            queue=default_queue,
            max_attempts=max_attempts,
            timeout=float(timeout),
            timezone=check_zone("App", timezone),
            keyring=self.keyring,
            durability=check_durability("App", durability) or "commit",
        )

    def definitions(self) -> dict[str, WorkerDefinition]:
        """Give the workers by name.

        Raises:
            BadConfiguration: two workers share a name, or one names a queue that the app has not or that refuses it.
        """
        chosen: dict[str, WorkerDefinition] = {}
        for definition in self._workers or registered():
            other = chosen.get(definition.name)
            if other is not None and other is not definition:
                raise BadConfiguration(
                    f'two workers are named "{definition.name}": {other.module}:{other.qualname} and '
                    f"{definition.module}:{definition.qualname}; give one of them name=..., or list the workers you "
                    "mean in App(workers=[...])"
                )
            if definition.queue is not None and definition.queue not in self.queues:
                if not self._workers:
                    continue  # it belongs to another app of this process
                raise BadConfiguration(f"worker {definition.name}: {UnknownQueue(definition.queue, self.queues)}")
            queue = self.queues[definition.queue or self.defaults.queue]
            if refusal := queue.refusal(definition.name, is_async=definition.is_async):
                raise BadConfiguration(refusal)
            chosen[definition.name] = definition
        if not chosen:
            raise BadConfiguration(
                "the app has no workers; import the modules that declare them, or give App(workers=[...])"
            )
        return chosen


def _listed(option: str, given: Iterable[T], what: str) -> tuple[T, ...]:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        raise BadConfiguration(f"App: {option} is {shown(given)}; give a list of {what}")
    return tuple(given)


def _children(given: Sequence[ChildSpec]) -> tuple[ChildSpec, ...]:
    children = _listed("children", given, "ChildSpec(...) objects")
    if children:
        from supervisors import ChildSpec  # whoever gives one has loaded it; a worker process need not

        for child in children:
            if not isinstance(child, ChildSpec):
                raise BadConfiguration(f"App: children holds {shown(child)}; give ChildSpec(...) objects")
    return children
