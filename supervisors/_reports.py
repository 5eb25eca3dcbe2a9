"""Who hears the events of a supervisor: its own subscribers, those of the supervisors above it, and the log."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from supervisors._child import Child
from supervisors._events import Event, is_logged, log, logger
from supervisors._exits import ExitReason

__all__ = ["Reporter"]


class Reporter:
    """Tells the events of one supervisor, by its `name`; events climb to the supervisors above."""

    __slots__ = ("_handlers", "name", "parent")

    def __init__(self, name: str, parent: Reporter | None) -> None:
        self.name = name
        self.parent = parent
        self._handlers: dict[object, Callable[[Event], object]] = {}

    def subscribe(self, handler: Callable[[Event], object]) -> Callable[[], None]:
        """Call `handler` with every event from here and below; returns the way out."""
        key = object()
        self._handlers[key] = handler

        def unsubscribe() -> None:
            self._handlers.pop(key, None)

        return unsubscribe

    @property
    def is_heard(self) -> bool:
        """Whether anyone subscribed, here or above."""
        return bool(self._handlers) or (self.parent is not None and self.parent.is_heard)

    def emit(self, kind: type[Event], child: Child, reason: ExitReason | None, **more: Any) -> None:
        """Tell one event; costs next to nothing when nobody listens. A handler that raises is logged."""
        if not (self.is_heard or is_logged(kind.level)):
            return
        event = kind(
            supervisor=self.name,
            child=child.snapshot(),
            reason=reason,
            at=trio.current_time(),
            restarts=child.restarts,
            **more,
        )
        log(event)
        at: Reporter | None = self
        while at is not None:
            at.deliver(event)
            at = at.parent

    def deliver(self, event: Event) -> None:
        """Call the subscribers of this supervisor."""
        for handler in tuple(self._handlers.values()):
            try:
                handler(event)
            except Exception:
                logger.exception("%s: an event handler raised", self.name)
