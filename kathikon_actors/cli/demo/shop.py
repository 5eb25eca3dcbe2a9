"""The app of the show: honest work in three queues, and some jobs that take their process with them."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Literal

from kathikon_actors.jobs.backoff import constant
from kathikon_actors.jobs.queue import Queue
from kathikon_actors.jobs.record import Job
from kathikon_actors.jobs.worker import worker

__all__ = ["QUEUES", "WORKERS", "Death", "charge", "ping", "ping_async", "render", "send_mail"]

Death = Literal["", "segfault", "exit", "kill"]
"""How the first attempt of a job ends its process; empty: it does not."""

_SOON = constant(0.2)


@worker(queue="pdf", backoff=_SOON)
def render(job: Job, pages: int, death: Death = "") -> int:
    """Work the processor a little."""
    _perhaps_die(job, death)
    return sum(ord(character) for character in "kathikon" * 40 * pages)


@worker(queue="mail", backoff=_SOON)
async def send_mail(job: Job, to: str, death: Death = "") -> str:
    """Wait for somebody else, as most jobs do."""
    import trio

    await trio.sleep(0.01)
    _perhaps_die(job, death)
    return f"sent to {to}"


@worker(queue="billing", backoff=_SOON, max_attempts=20)
def charge(invoice: int, cents: int) -> str:
    """A job that must not be lost."""
    return f"INV-{invoice}: {cents / 100:.2f}"


@worker(queue="billing", backoff=_SOON, max_attempts=20)
def ping() -> None:
    """Show that work goes on."""


@worker(queue="mail", backoff=_SOON, max_attempts=20)
async def ping_async() -> None:
    """Show that work goes on among the async jobs."""


def _perhaps_die(job: Job, death: Death) -> None:
    if job.attempt > 1:
        return
    match death:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "":
            pass


QUEUES = (Queue("pdf", processes=2, concurrency=2), Queue("mail", concurrency=40), Queue("billing", concurrency=1))
WORKERS = (render, send_mail, charge, ping, ping_async)
