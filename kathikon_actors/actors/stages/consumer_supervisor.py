"""The stage that starts a child for each event."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from kathikon_actors.actors.cell import current_cell
from kathikon_actors.actors.stages.consumer import Consumer
from kathikon_actors.actors.stages.demand import DEFAULT_MAX_DEMAND, Demand
from supervisors import (
    IGNORE,
    ChildCounts,
    ChildSpec,
    FailedToStart,
    InvalidSpec,
    RestartLimitReached,
    Shutdown,
    is_abnormal,
    open_dynamic_supervisor,
)

if TYPE_CHECKING:
    from typing import Self

    from kathikon_actors.actors.ref import ActorRef
    from kathikon_actors.actors.stages.messages import CancelMode, Subscription
    from kathikon_actors.actors.task_cell import TaskCell
    from supervisors import ChildRef, DynamicSupervisor, ExitReason

__all__ = ["ConsumerSupervisor"]

logger = logging.getLogger("kathikon_actors")

E = TypeVar("E")


@dataclass(frozen=True)
class _Left:
    """To itself: a child has ended for good."""

    number: int


@dataclass
class _Share:
    """What one subscription has: how many children may live, and how many ended since it last asked."""

    max_demand: int
    min_demand: int
    finished: int = 0


class ConsumerSupervisor(Consumer[E]):
    """A stage that starts a supervised child for each event; at most `max_demand` of them live at a time.

    It asks for more as soon as `min_demand` children have ended since it last asked (as GenStage's code does; its
    documentation says it otherwise). A child that is being restarted holds its place; one that does not start, or asks
    to be ignored, gives it back. Children live on when the producer ends. Asked to stop, it ends its subscriptions and
    waits for its children within its own `shutdown` time.

    Attributes:
        max_restarts: how many restarts of `transient` children `max_seconds` may see; beyond, the stage ends.
        max_seconds: the window.

    Example:
        ```python
        class Fetchers(ConsumerSupervisor[str]):
            def __init__(self, urls: ActorRef[Urls]) -> None:
                self.urls = urls

            async def started(self) -> None:
                await self.subscribe(self.urls, max_demand=50, min_demand=10)

            def child_spec(self, event: str) -> ChildSpec:
                return ChildSpec(event, fetch, args=(event,), restart="transient")
        ```
    """

    max_restarts: int = 3
    max_seconds: float = 5.0

    _pool: DynamicSupervisor | None
    _shares: dict[Subscription, _Share]
    _owner: dict[int, Subscription]
    _numbers: count[int]
    _all_left: trio.Event

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """See `Stage`."""
        self = super().__new__(cls, *args, **kwargs)
        self._pool = None
        self._shares = {}
        self._owner = {}
        self._numbers = count(1)
        self._all_left = trio.Event()
        self._takes[_Left] = self._take_left
        return self

    def child_spec(self, event: E) -> ChildSpec:
        """Give the child for an event; `restart` is "temporary" or "transient". Ids may repeat."""
        raise NotImplementedError(f"{type(self).__name__} has no child_spec(self, event)")

    async def subscribe(
        self,
        producer: ActorRef[Any],
        *,
        max_demand: int = DEFAULT_MAX_DEMAND,
        min_demand: int | None = None,
        cancel: CancelMode = "permanent",
        manual: bool = False,
        **options: Any,
    ) -> Subscription:
        """See `Consumer.subscribe`; it always asks by itself.

        Raises:
            ValueError: as there, or `manual` is true.
        """
        if manual:
            raise ValueError("a ConsumerSupervisor asks when its children end; it takes no manual=True")
        demand: Demand[Any] = Demand(max_demand, min_demand)
        subscription = await super().subscribe(
            producer, max_demand=max_demand, min_demand=min_demand, cancel=cancel, manual=True, **options
        )
        self._shares[subscription] = _Share(demand.max_demand, demand.min_demand)
        self._ask(subscription, demand.max_demand)
        return subscription

    async def count_children(self) -> ChildCounts:
        """Count the children; those being restarted are among `specs` and not among `active`."""
        return ChildCounts(0, 0, 0, 0) if self._pool is None else self._pool.count_children()

    async def handle_events(self, events: list[E]) -> None:
        """Start a child for each."""
        subscription = self.subscription
        assert subscription is not None
        pool = self._pool or await self._open_pool()
        failed = 0
        for event in events:
            spec = self.child_spec(event)
            if spec.restart not in {"temporary", "transient"}:
                raise InvalidSpec("restart", spec.restart, "'temporary' or 'transient' for the child of an event")
            number = next(self._numbers)
            self._owner[number] = subscription
            try:
                child = await pool.start_child(replace(spec, id=(spec.id, number)))
            except FailedToStart as error:
                logger.error("%s could not start the child of an event: %s", self._cell.label, error)  # noqa: TRY400 its supervisor has logged the rest
            else:
                if child.info is not IGNORE:
                    continue
            del self._owner[number]
            failed += 1
        self._more(subscription, failed)

    async def terminate(self, reason: ExitReason) -> None:
        """Take nothing more, and wait for the children; one that overrides this calls it too."""
        for subscription in list(self._inlets):
            await self.cancel(subscription)
        pool = self._pool
        if pool is None or pool.exit_reason is not None:
            return
        if not is_abnormal(reason):
            while pool.count_children().specs:
                await self._all_left.wait()
        await pool.stop(Shutdown())

    async def _take_left(self, message: _Left) -> None:
        subscription = self._owner.pop(message.number, None)
        if subscription is not None:
            self._more(subscription, 1)

    def _more(self, subscription: Subscription, finished: int) -> None:
        share = self._shares.get(subscription)
        if subscription not in self._inlets:
            self._shares.pop(subscription, None)
        elif share is not None:
            share.finished += finished
            if share.finished and share.finished >= share.min_demand:
                self._ask(subscription, share.finished)
                share.finished = 0

    async def _open_pool(self) -> DynamicSupervisor:
        helpers = self.system.helpers
        assert helpers is not None
        pool: DynamicSupervisor = await helpers.start(self._run_pool, self._cell, trio.CancelScope())
        self._pool = pool
        return pool

    async def _run_pool(
        self, cell: TaskCell, scope: trio.CancelScope, *, task_status: trio.TaskStatus[DynamicSupervisor]
    ) -> None:
        """Be the supervisor of the children, in a task beside the actor's; it stops when the actor has ended."""
        current_cell.set(None)  # type: ignore[arg-type] # children are no part of the actor
        cell.when_dead(lambda _reason: scope.cancel())

        def left(child: ChildRef) -> None:
            assert isinstance(child.id, tuple)
            cell.send(_Left(child.id[1]))
            self._all_left.set()
            self._all_left = trio.Event()

        try:
            with scope:
                async with open_dynamic_supervisor(
                    max_restarts=self.max_restarts, max_seconds=self.max_seconds, on_left=left
                ) as pool:
                    task_status.started(pool)
                    await pool.wait()
        except RestartLimitReached as error:
            cell.signal(Shutdown(error), None, linked=False)
        except Exception as error:  # nothing of one stage may end the tasks of the others
            logger.exception("the supervisor of the children of %s failed", cell.label)
            cell.signal(Shutdown(error), None, linked=False)
