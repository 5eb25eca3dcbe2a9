"""The static supervisor's engine: a table of children in start order, and OTP's three strategies."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import trio

from supervisors._child import Child
from supervisors._engine import Engine
from supervisors._errors import (
    AlreadyPresent,
    AlreadyStarted,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    FailedToStart,
    UnkillableChild,
)
from supervisors._events import StartFailed
from supervisors._exits import Normal, Shutdown
from supervisors._specs import (
    AutoShutdown,
    ChildSpec,
    Ignored,
    Key,
    OnExceed,
    Strategy,
    check_childspecs,
    check_choice,
    key_of,
)

__all__ = ["Children", "StaticEngine"]

Children = Iterable[ChildSpec] | Callable[[], Iterable[ChildSpec] | Ignored]


class StaticEngine(Engine):
    """Children known by id, started one after the other, stopped in reverse."""

    def __init__(
        self,
        children: Children,
        *,
        strategy: Strategy = "one_for_one",
        auto_shutdown: AutoShutdown = "never",
        name: str | None = None,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        on_exceed: OnExceed = "escalate",
        kill_timeout: float = 1.0,
    ) -> None:
        check_choice("strategy", strategy, Strategy)
        check_choice("auto_shutdown", auto_shutdown, AutoShutdown)
        super().__init__(
            name=name,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            on_exceed=on_exceed,
            kill_timeout=kill_timeout,
        )
        self.strategy: str = strategy
        self._auto_shutdown: AutoShutdown = auto_shutdown
        specs = children() if callable(children) else children
        self.ignored = isinstance(specs, Ignored)
        checked = [] if isinstance(specs, Ignored) else check_childspecs(specs, auto_shutdown=auto_shutdown)
        self._table: dict[Key, Child] = {key_of(spec.id): Child(spec) for spec in checked}

    def children(self) -> Iterable[Child]:
        return self._table.values()

    def find(self, child_id: object) -> Child:
        """Return the child with this id, or raise ChildNotFound."""
        try:
            child = self._table.get(key_of(child_id))
        except TypeError:
            child = None
        if child is None:
            raise ChildNotFound(child_id)
        return child

    async def start_first(self) -> None:
        if self.ignored:
            self.end(Normal())
        for child in list(self._table.values()):
            try:
                up = await self.keeper.start(child)
            except FailedToStart as exc:
                self.reporter.emit(StartFailed, child, exc.reason)
                self.end(Shutdown(exc), exc)
                return
            if not up:
                self._ignored_start(child)

    async def stop_children(self) -> None:
        for child in reversed(list(self._table.values())):
            await self.keeper.stop(child)

    def _ignored_start(self, child: Child) -> None:
        child.state = "stopped"
        self.forget(child)

    def _drop(self, child: Child) -> None:
        self._table.pop(key_of(child.spec.id), None)

    # Deaths.

    def forget(self, child: Child) -> None:
        if child.spec.restart == "temporary":
            self._drop(child)

    def gone(self, child: Child) -> None:
        self.forget(child)
        if child.spec.significant and self._ends_the_supervisor():
            self.end(Shutdown())

    def dropped(self, child: Child) -> None:
        child.held = True
        heir = self._heir(child)
        self.gone(child)
        if heir is not None:
            self.schedule(heir, 0.0)

    def _heir(self, child: Child) -> Child | None:
        """Who a planned restart of the group of `child` is left to, when `child` takes no part in it."""
        if self.strategy == "one_for_one":
            return None
        return next((one for one in self._group(child) if one.state == "restarting" and one.retry is None), None)

    def _ends_the_supervisor(self) -> bool:
        if self._auto_shutdown == "all_significant":
            return not any(
                child.spec.significant and child.state in {"running", "restarting"} for child in self._table.values()
            )
        return self._auto_shutdown == "any_significant"

    async def restart(self, child: Child, *, delay: float | None) -> None:
        if self.strategy != "one_for_one":
            for sibling in self._group(child):
                sibling.held = False
            delay = await self._bring_down(child, delay)
        if delay is None:
            await self._bring_up(child)
        else:
            self.schedule(child, delay)

    async def retry(self, child: Child) -> None:
        if self.strategy != "one_for_one":
            await self._bring_down(child, None)
        await self._bring_up(child)

    def _group(self, anchor: Child) -> list[Child]:
        """The children that are restarted with `anchor`, in start order."""
        if self.strategy == "one_for_one":
            return [anchor]
        everyone = list(self._table.values())
        return everyone if self.strategy == "one_for_all" else everyone[everyone.index(anchor) :]

    async def _bring_down(self, anchor: Child, delay: float | None) -> float | None:
        """Stop the group of `anchor` in reverse order; returns the longest delay that any of it asks for."""
        for sibling in reversed(self._group(anchor)):
            if sibling is anchor:
                continue
            if sibling.retry is not None:
                if sibling.retry.counted:
                    delay = max(delay or 0.0, sibling.retry.due - trio.current_time())
                self.cancel_retry(sibling)
            dead = await self.keeper.stop(sibling)
            if not dead:
                sibling.start_when_dead = sibling.spec.restart != "temporary"
            elif sibling.spec.restart == "temporary":
                self._drop(sibling)
            elif not sibling.held:
                sibling.state = "restarting"
        return delay

    async def _bring_up(self, anchor: Child) -> None:
        """Start the group of `anchor` in order, as far as it goes; the first that fails is tried again later."""
        for child in self._group(anchor):
            if child.held or child.is_alive():
                continue
            child.state = "restarting"
            try:
                up = await self.keeper.start(child, again=True)
            except FailedToStart as exc:
                self.reporter.emit(StartFailed, child, exc.reason)
                if child.is_alive():
                    child.start_when_dead = True
                    continue
                self.failed_again(child)
                return
            if not up:
                self._ignored_start(child)

    # The API, run by the control task.

    async def start_child(self, spec: ChildSpec) -> object:
        """Add and start a child; returns what it gave to `started()`."""
        check_childspecs([spec], auto_shutdown=self._auto_shutdown)
        key = key_of(spec.id)
        present = self._table.get(key)
        if present is not None:
            if present.life is not None:
                raise AlreadyStarted(spec.id, present.info)
            raise AlreadyPresent(spec.id)
        child = Child(spec)
        if await self.keeper.start(child):
            self._table[key] = child
            return child.info
        if spec.restart != "temporary":
            self._table[key] = child
        return None

    async def terminate_child(self, child_id: object) -> None:
        """Stop a child and keep its spec; take back a restart that is under way."""
        child = self.find(child_id)
        child.start_when_dead = False
        if child.state == "restarting":
            child.state = "stopped"
            child.held = True
            self._pass_on_retry(child)
        elif not await self.keeper.stop(child):
            raise UnkillableChild(child_id)
        self.forget(child)

    def _pass_on_retry(self, child: Child) -> None:
        """Leave a planned group restart to the rest of the group."""
        retry = child.retry
        heir = self._heir(child)
        if retry is None or heir is None:
            self.cancel_retry(child)
        else:
            child.retry = None
            retry.child = heir
            heir.retry = retry

    async def restart_child(self, child_id: object) -> object:
        """Start a stopped child in its old place; returns what it gave to `started()`."""
        child = self._stopped(child_id)
        up = await self.keeper.start(child)
        child.held = False
        return child.info if up else None

    async def delete_child(self, child_id: object) -> None:
        """Forget a stopped child."""
        self._drop(self._stopped(child_id))

    def _stopped(self, child_id: object) -> Child:
        child = self.find(child_id)
        if child.state == "restarting":
            raise ChildRestarting(child_id)
        if child.life is not None:
            raise ChildRunning(child_id)
        return child
