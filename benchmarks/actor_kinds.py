"""The actors and functions that the benchmark of actors runs, importable by other processes."""

from __future__ import annotations

import os
from typing import Any

import pykka

from kathikon_actors import Actor

__all__ = ["Echo", "PykkaEcho", "echo", "nothing", "own_pid"]


class Echo(Actor):
    """Gives back what it gets."""

    def __init__(self) -> None:
        self.casts = 0

    async def echo(self, value: Any) -> Any:
        """Give it back."""
        return value

    async def note(self, _value: Any) -> None:
        """Count it."""
        self.casts += 1

    async def noted(self) -> int:
        """Say how many were counted."""
        return self.casts


class PykkaEcho(pykka.ThreadingActor):
    """The same in pykka."""

    def echo(self, value: Any) -> Any:
        """Give it back."""
        return value


def echo(value: Any) -> Any:
    """Give it back: the peers' task."""
    return value


def nothing(_value: Any) -> None:
    """Take it: the peers' cast."""


def own_pid() -> int:
    """Say in which process this is."""
    return os.getpid()
