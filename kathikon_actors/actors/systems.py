"""The actor systems of this process, for references that come from a pickle, and the one around the present task."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from kathikon_actors.actors.system import ActorSystem

__all__ = ["current_system", "register_system", "system_of"]

current_system: ContextVar[ActorSystem] = ContextVar("current_system")
_systems: WeakValueDictionary[str, ActorSystem] = WeakValueDictionary()


def register_system(system: ActorSystem) -> None:
    """Make it known by its token."""
    _systems[system.token] = system


def system_of(token: str) -> ActorSystem | None:
    """Give the open system with this token."""
    system = _systems.get(token)
    return None if system is None or system.closed else system
