"""What a runner needs of the place where its jobs run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kathikon_actors.processes.control import Kind
from kathikon_actors.processes.messages import Reply, Run, Why

__all__ = ["Workplace"]


class Workplace(Protocol):
    """A worker process, or the node's own loop."""

    @property
    def pid(self) -> int:
        """The process in which jobs run."""
        ...

    @property
    def kind(self) -> Kind:
        """What it runs."""
        ...

    @property
    def slots(self) -> int:
        """How many runs it executes at once."""
        ...

    def send(self, messages: Sequence[Run | Reply]) -> None:
        """Give it runs, and answers to what they ask."""

    def running(self) -> list[tuple[int, int]]:
        """Give `(seq, started ns)` of what is being executed, or was at its end."""
        ...

    def last_ended(self) -> dict[int, bool]:
        """Give the last runs that ended, reported or not, and whether each completed without a result."""
        ...

    def interrupt(self, seq: int, why: Why) -> None:
        """Ask what is executing to stop."""

    def kill(self) -> None:
        """End what did not give way, with all that cannot be told from it."""

    def revoke_from(self, seq: int) -> None:
        """Let no run start from `seq` on."""

    def unrevoke(self) -> None:
        """Allow all runs again."""

    def resident_bytes(self) -> int | None:
        """Give what it holds in memory, `None` when nobody can tell."""
        ...
