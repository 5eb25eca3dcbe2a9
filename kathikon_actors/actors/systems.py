"""The actor systems of this process, for references that come from a pickle, and the one around the present task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["current_system", "inside", "register_system", "system_of"]

current_system: ContextVar[ActorSystem] = ContextVar("current_system")
_systems: WeakValueDictionary[str, ActorSystem] = WeakValueDictionary()


@contextmanager
def inside(system: ActorSystem) -> Iterator[None]:
    """Make `system` the one round what runs in this block, and round the tasks that are started there."""
    token = current_system.set(system)
    try:
        yield
    finally:
        current_system.reset(token)


def register_system(system: ActorSystem) -> None:
    """Make it known by its token."""
    _systems[system.token] = system


def system_of(token: str) -> ActorSystem | None:
    """Give the open system with this token."""
    system = _systems.get(token)
    return None if system is None or system.closed else system
