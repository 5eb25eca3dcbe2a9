"""A worker process: setting it up, loading its workers, running its loop."""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

from kathikon_actors.processes.control import Hello
from kathikon_actors.processes.execution import Executables
from kathikon_actors.processes.linux import die_with_parent, prefer_for_oom_kill, set_process_name
from kathikon_actors.processes.refs import load_table
from kathikon_actors.processes.shared import TERMINATE, SharedPage
from kathikon_actors.processes.zygote import Assignment

__all__ = ["work"]


def work(hello: Hello, assignment: Assignment) -> None:
    """Be a worker process until the node says stop or is gone.

    Args:
        hello: what the zygote was told: the table of workers.
        assignment: the kind of worker, its socket and its shared page.
    """
    page = SharedPage(assignment.page, assignment.slots)
    os.close(assignment.page)
    _settle(assignment, page)
    definitions = assignment.loaded
    failed: dict[str, str] = {}
    if not definitions:
        definitions, failed = load_table(hello.workers)
    executables = Executables(definitions, failed)
    os.set_inheritable(assignment.socket, False)
    with socket.socket(fileno=assignment.socket) as sock, suppress(BrokenPipeError, ConnectionResetError):
        if assignment.kind == "plain":
            from kathikon_actors.processes.plain import PlainLoop

            PlainLoop(sock, page, executables).run()
        else:
            from kathikon_actors.processes.async_loop import run_async_loop

            run_async_loop(sock, page, executables)


def _settle(assignment: Assignment, page: SharedPage) -> None:
    os.setsid()
    if not die_with_parent(signal.SIGKILL, assignment.zygote):
        os._exit(1)
    set_process_name(assignment.title)
    prefer_for_oom_kill()
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)  # the node's own output is data; what jobs print are words
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    numpy = sys.modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()  # `random` does this by itself after a fork

    def on_term(number: int, _frame: FrameType | None) -> None:
        # A service manager sends SIGTERM to every process at once; the node is told too, and lets its jobs finish.
        if page.words[TERMINATE]:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_term)
    os.register_at_fork(after_in_child=_default_signals)
    if assignment.kind == "async":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM})


def _default_signals() -> None:
    """A job forked a child: `multiprocessing` must be able to terminate it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
