"""The zygote: a plain process that has the workers' modules loaded and forks worker processes on request.

It is single-threaded and runs no event loop, so forking it is safe. It reaps its children, takes their process groups
down with them, and tells the node how each ended. When the node is gone, all of that ends within moments.
"""

from __future__ import annotations

import gc
import importlib
import math
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from kathikon_actors.jobs.worker import WorkerDefinition
from kathikon_actors.processes.control import (
    Exited,
    Fork,
    Forked,
    FromZygote,
    Hello,
    Hold,
    Kind,
    NotPreloaded,
    Ready,
    ToZygote,
)
from kathikon_actors.processes.frames import FrameDecoder, encode_frames
from kathikon_actors.processes.linux import die_with_parent, thread_count
from kathikon_actors.processes.memory import oom_kills
from kathikon_actors.processes.output import Output
from kathikon_actors.processes.refs import load_definition, load_middleware

__all__ = ["Assignment", "serve"]

_HELD_BACK = {signal.SIGALRM, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM}
_LOOPS = ("kathikon_actors.processes.plain", "kathikon_actors.processes.async_loop")
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


@dataclass
class Assignment:
    """What a freshly forked process is to be.

    Attributes:
        zygote: the process id of its parent.
        loaded: the workers, where the zygote has loaded them.
        entry: the function of a program.
    """

    kind: Kind
    slots: int
    title: str
    socket: int
    page: int
    zygote: int
    loaded: dict[str, WorkerDefinition] = field(default_factory=dict)
    entry: str = ""


def serve(hello: Hello, control: int) -> Assignment | None:
    """Fork workers on request until the node closes its end.

    Args:
        hello: what the node said.
        control: the descriptor of the socket to the node.

    Returns:
        In a forked child, what it is to be. In the zygote itself `None`, at its end.
    """
    if not die_with_parent(signal.SIGKILL, hello.parent):
        return None
    return _Zygote(hello, socket.socket(fileno=control)).run()


class _Zygote:
    def __init__(self, hello: Hello, control: socket.socket) -> None:
        self._hello = hello
        self._control = control
        self._decoder: FrameDecoder[ToZygote] = FrameDecoder(ToZygote)
        self._descriptors: deque[int] = deque()
        self._children: set[int] = set()
        self._loaded: dict[str, WorkerDefinition] = {}
        self._node_is_gone = False
        self._oom_kills = oom_kills()
        self._hold_until: float | None = None
        self._let_go: set[int] = set()
        self._poll = select.poll()
        self._output = Output(self._poll)

    def run(self) -> Assignment | None:
        problem = self._preload() if self._hello.preload and self._hello.start_method == "fork" else None
        if problem is not None:
            self._greet(problem)
            return None
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        # From here on a node that dies is answered in order: worker groups first, then this process.
        if not die_with_parent(signal.SIGTERM, self._hello.parent):
            return None
        if not self._greet(Ready()):
            return None
        try:
            assignment = self._serve()
        except OSError:  # the node is gone in the middle of a message
            assignment = None
        if assignment is None:
            self._end()
        return assignment

    def _preload(self) -> NotPreloaded | None:
        gc.disable()
        try:
            for module in _LOOPS[: 1 + self._hello.trio]:
                importlib.import_module(module)
            for module in self._hello.modules:
                importlib.import_module(module)
            for ref in self._hello.workers:
                self._loaded[ref.name] = load_definition(ref)
            load_middleware(self._hello.middleware)
            if self._hello.keys:
                importlib.import_module("cryptography.hazmat.primitives.ciphers.aead")
        except BaseException as error:  # a module may raise anything, SystemExit too
            return NotPreloaded("import", "".join(traceback.format_exception(error)))
        if thread_count() > 1:
            import threading

            names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
            return NotPreloaded("threads", ", ".join(names) or "threads outside of Python")
        gc.collect()
        gc.freeze()
        gc.enable()
        return None

    def _serve(self) -> Assignment | None:
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)
        while not self._node_is_gone:
            for descriptor, events in self._poll.poll(self._patience()):
                if descriptor in self._output:
                    self._output.act(descriptor, events)
                    continue
                if descriptor == self._output.to:  # its last byte was written in this round
                    continue
                if descriptor == self._wake_read.fileno():
                    with suppress(BlockingIOError):
                        self._wake_read.recv(4096)
                    self._reap()
                    continue
                data, descriptors, _flags, _address = socket.recv_fds(self._control, 65_536, 16, _CLOEXEC)
                self._descriptors.extend(descriptors)
                if not data:
                    return None
                for request in self._decoder.feed(data):
                    if isinstance(request, Hold):
                        self._hold_until = request.until
                        continue
                    assignment = self._fork(request, self._descriptors.popleft(), self._descriptors.popleft())
                    if assignment is not None:
                        return assignment
        return None

    def _patience(self) -> float | None:
        """Give the milliseconds until the node's lease ends; a node that was stopped past that loses its workers.

        Others may start its jobs from then on, and what they start must not meet what still runs here.
        """
        if self._hold_until is None:
            return None
        left = self._hold_until - time.monotonic()
        if left > 0:
            return math.ceil(left * 1000)
        self._hold_until = None
        for pid in self._children:
            self._let_go.add(pid)
            _kill_group(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return None

    def _fork(self, request: Fork, worker_socket: int, page: int) -> Assignment | None:
        zygote = os.getpid()
        assignment = Assignment(
            request.kind, request.slots, request.title, worker_socket, page, zygote, self._loaded, request.entry
        )
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        to_print: int | None = None
        to_read = -1
        try:
            try:
                to_read, to_print = self._output.open(request.title)
                pid = os.fork()
            except OSError as error:
                if to_print is not None:
                    self._output.forget(to_read)
                self._tell(Forked(request.request, 0, pidfd=False, error=str(error)))
                return None
            if pid == 0:
                try:
                    self._leave_to_child(to_print)
                except BaseException:  # a half-made child must never go on as a second zygote
                    os._exit(71)
                return assignment
        finally:
            if os.getpid() == zygote:
                for descriptor in (worker_socket, page, *(() if to_print is None else (to_print,))):
                    os.close(descriptor)
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
        self._output.name(to_read, f"worker process {pid} ({request.title})")
        self._children.add(pid)
        self._tell_forked(request.request, pid)
        return None

    def _leave_to_child(self, to_print: int) -> None:
        """Print to the zygote, and drop what is the zygote's own; signals stay blocked until the child is set up."""
        os.dup2(to_print, 1)
        os.dup2(to_print, 2)
        os.close(to_print)
        self._output.close_in_child()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        for end in (self._control, self._wake_read, self._wake_write):
            end.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def _tell_forked(self, request: int, pid: int) -> None:
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            self._tell(Forked(request, pid, pidfd=False))
            return
        try:
            socket.send_fds(self._control, [encode_frames([Forked(request, pid, pidfd=True)])], [pidfd])
        finally:
            os.close(pidfd)

    def _reap(self) -> None:
        reports: list[FromZygote] = []
        while (ended := _next_ended()) is not None:
            pid, status = ended
            if pid in self._children:
                self._children.discard(pid)
                reports.append(self._exited(pid, status))
        if reports:
            self._tell(*reports)

    def _exited(self, pid: int, status: int) -> Exited:
        if pid in self._let_go:
            self._let_go.discard(pid)
            return Exited(pid, None, None, out_of_memory=False)  # through no fault of what it ran
        if not os.WIFSIGNALED(status):
            return Exited(pid, os.waitstatus_to_exitcode(status), None, out_of_memory=False)
        number = os.WTERMSIG(status)
        out_of_memory = False
        if number == signal.SIGKILL:
            before, self._oom_kills = self._oom_kills, oom_kills()
            out_of_memory = self._oom_kills > before
        return Exited(pid, None, number, out_of_memory)

    def _greet(self, greeting: Ready | NotPreloaded) -> bool:
        """Say that we are here; tell whether anybody still wants to know: a node may have failed to start meanwhile."""
        try:
            self._tell(greeting)
        except OSError:
            return False
        return True

    def _tell(self, *messages: FromZygote) -> None:
        self._control.sendall(encode_frames(messages))

    def _on_term(self, *_: object) -> None:
        """The kernel says that the node is gone; anybody else who sends SIGTERM is not obeyed, the node decides."""
        self._node_is_gone = os.getppid() != self._hello.parent

    def _end(self) -> None:
        """Take every worker and its group down, and see them gone."""
        for pid in self._children:
            _kill_group(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # one that has not yet come to lead its group
        for pid in self._children:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._output.finish()


def _next_ended() -> tuple[int, int] | None:
    """Reap one child that has ended, after killing what is left of its group; give its pid and wait status."""
    try:
        if hasattr(os, "waitid"):
            # Left a zombie for one moment: its pid, and so the name of its group, cannot be given to another.
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is None:
                return None
            _kill_group(found.si_pid)
            return os.waitpid(found.si_pid, 0)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return None
        _kill_group(pid)
        return pid, status
    except ChildProcessError:
        return None


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
