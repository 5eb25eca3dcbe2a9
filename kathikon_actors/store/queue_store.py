"""What operators have set for queues, and which node runs which queue: for all nodes, in the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from kathikon_actors.jobs.queue import Queue
    from kathikon_actors.store.protocol import Membership

__all__ = ["QUEUES", "QueueChange", "QueueSettings", "QueueStore", "RunningQueue"]

QUEUES: Final = "queues"
"""The topic of a notice that settings of queues were changed."""


@dataclass(frozen=True)
class QueueSettings:
    """What operators have set for one queue.

    Attributes:
        concurrency: of each node that runs it; `None` for what the app declares.
        removed: no node runs it, also if its app declares it.
        declaration: JSON of a queue that was added at run time.
    """

    name: str
    paused: bool = False
    concurrency: int | None = None
    removed: bool = False
    declaration: str | None = None


@dataclass(frozen=True)
class QueueChange:
    """What of the settings is to change; `None` stays as it is.

    Attributes:
        concurrency: 0 goes back to what the app declares.
    """

    name: str
    paused: bool | None = None
    concurrency: int | None = None
    removed: bool | None = None
    declaration: str | None = None


@dataclass(frozen=True)
class RunningQueue:
    """A queue on a live node that runs it."""

    queue: str
    node: str
    concurrency: int
    processes: int


class QueueStore(Protocol):
    """The part of a store that knows of queues."""

    async def queue_settings(self) -> dict[str, QueueSettings]:
        """Give what was set, by queue."""
        ...

    async def change_queue(self, change: QueueChange) -> QueueSettings:
        """Change the settings of a queue and tell the nodes; give them as they are now."""
        ...

    async def pause_new(self, queues: Sequence[str]) -> None:
        """Pause those of these queues for which nothing was ever set."""

    async def publish_queues(self, membership: Membership, queues: Iterable[Queue]) -> bool:
        """Say which queues this node runs, and how much they may hold; without effect when its epoch was replaced.

        Tells whether all of it is done; otherwise it is to be said again in a while.
        """
        ...

    async def running_queues(self) -> list[RunningQueue]:
        """Give the queues that live nodes run."""
        ...

    async def is_due(self, queues: Sequence[str] | None) -> bool:
        """Tell whether a job of these queues (`None` means all) is due or runs, as committed."""
        ...
