"""The jobs that the benchmarks run."""

from __future__ import annotations

import time

from kathikon_actors import App, Queue, worker


@worker(queue="q")
def noop() -> None:
    """Do nothing: what is left is the system's own cost."""


@worker(queue="q")
def started_at() -> int:
    """Say when the job started: nanoseconds since 1970."""
    return time.time_ns()


app = App([Queue("q", processes=2)], [noop, started_at])
