"""The door from a running job to the node that runs it, opened by the worker process while `perform` runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from kathikon_actors.jobs.errors import shown

if TYPE_CHECKING:
    from kathikon_actors.jobs.record import Record

__all__ = ["CURRENT", "JobRuntime", "SideChannel", "What", "check_percent", "of"]

What = Literal["insert", "insert_many", "insert_or_abort", "open_batch", "close_batch"]
"""What a job may ask of its node."""

T = TypeVar("T")


class SideChannel(Protocol):
    """Frames of bytes between a worker process and its node, beside those about jobs; one a process."""

    def send_frame(self, data: bytes) -> None:
        """Send a frame, in order.

        Raises:
            ValueError: it is larger than a frame may be.
        """

    def receive_frames(self, timeout: float) -> list[bytes]:
        """Block until frames arrive, `timeout` seconds at the most; give them in order, none when the time is over.

        Raises:
            OSError: the node is gone.
        """
        ...

    def listen(self, take: Callable[[bytes], object], run: Callable[[], Awaitable[None]]) -> None:
        """From now on give each frame that arrives to `take`, and run `run` beside the jobs.

        Only where jobs are async.
        """


class JobRuntime(Protocol):
    """What a worker process offers the job that runs in it."""

    job_id: bytes
    record: Record | None

    @property
    def side(self) -> SideChannel | None:
        """The way to the node's actors; `None` where the job runs in the node's own process."""
        ...

    @property
    def is_async(self) -> bool:
        """Whether the job may await."""
        ...

    def ask(self, what: What, body: bytes, decode: Callable[[bytes], T]) -> Any:
        """Ask the node, and give what `decode` makes of the answer; in an async worker an awaitable of it."""
        ...

    def report_progress(self, percent: int) -> None:
        """Send 0..100 to the node."""

    def is_cancelled(self) -> bool:
        """Whether the node asked this job to stop."""
        ...


CURRENT: ContextVar[JobRuntime | None] = ContextVar("kathikon_job_runtime", default=None)


def of(job_id: bytes) -> JobRuntime:
    """Give the runtime of the job that runs in this context.

    Raises:
        RuntimeError: no job, or another one, runs here.
    """
    current = CURRENT.get()
    if current is None or current.job_id != job_id:
        raise RuntimeError("this works only inside the worker that runs the job; elsewhere a Job is a frozen record")
    return current


def check_percent(percent: object) -> int:
    """Give how far a job is.

    Raises:
        ValueError: it is no whole number from 0 to 100.
    """
    if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
        raise ValueError(f"progress is {shown(percent)}; give a whole number from 0 to 100")
    return percent
