"""A worker process: setting it up, loading its workers, running its loop."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from kathikon_actors.jobs.sealing import Keyring, known_keyrings
from kathikon_actors.processes.control import Hello
from kathikon_actors.processes.execution import Executables
from kathikon_actors.processes.linux import die_with_parent, prefer_for_oom_kill, set_process_name
from kathikon_actors.processes.refs import load_middleware, load_table
from kathikon_actors.processes.shared import TERMINATE, SharedPage
from kathikon_actors.processes.zygote import Assignment

__all__ = ["work"]

_HANDLED = (signal.SIGALRM, signal.SIGINT, signal.SIGTERM)


def work(hello: Hello, assignment: Assignment) -> None:
    """Be a worker process until the node says stop or is gone.

    Args:
        hello: what the zygote was told: the table of workers.
        assignment: the kind of worker, its socket and its shared page.
    """
    page = SharedPage(assignment.page, assignment.slots)
    os.close(assignment.page)
    _settle(assignment, page)
    if assignment.entry:
        run_program(assignment, page)
        return
    definitions = assignment.loaded
    failed: dict[str, str] = {}
    if not definitions:
        definitions, failed = load_table(hello.workers)
    try:
        middleware = load_middleware(hello.middleware)
    except BaseException as error:  # a module may raise anything; without the chain no worker may run
        trace = "".join(traceback.format_exception(error))
        definitions, failed, middleware = {}, dict.fromkeys((ref.name for ref in hello.workers), trace), ()
    keyring = Keyring(hello.keys) if hello.keys else None
    executables = Executables(definitions, failed, middleware, keyring)
    os.set_inheritable(assignment.socket, False)
    gone = suppress(BrokenPipeError, ConnectionResetError)
    with socket.socket(fileno=assignment.socket) as sock, gone, known_keyrings(keyring):
        if assignment.kind == "plain":
            from kathikon_actors.processes.plain import PlainLoop

            PlainLoop(sock, page, executables).run()
        else:
            from kathikon_actors.processes.async_loop import run_async_loop

            run_async_loop(sock, page, executables)
    _end()


def _end() -> NoReturn:
    """Wait for threads, call what `atexit` holds, flush, and be gone.

    An interpreter that takes its modules apart as well touches, and so copies, every page that a fork shares with the
    zygote: 15 ms for nothing.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 as multiprocessing ends its children
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(0)


def run_program(assignment: Assignment, page: SharedPage) -> None:
    """Hand the process to a function of another room."""
    os.set_inheritable(assignment.socket, False)
    module, _, function = assignment.entry.partition(":")
    with socket.socket(fileno=assignment.socket) as sock:
        getattr(importlib.import_module(module), function)(sock, page)


def _settle(assignment: Assignment, page: SharedPage) -> None:
    os.setsid()
    if not die_with_parent(signal.SIGKILL, assignment.zygote):
        os._exit(1)
    set_process_name(assignment.title)
    prefer_for_oom_kill()
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
    os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=_default_signals)
    if assignment.kind == "async":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, *_HANDLED})


def _hold_back() -> None:
    """A job forks: a signal that comes before the child has its own handlers would be lost in it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)


def _default_signals() -> None:
    """Let `multiprocessing` in a job terminate the child it forked."""
    for number in _HANDLED:
        signal.signal(number, signal.SIG_DFL)
    _let_through()
