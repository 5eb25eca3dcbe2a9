"""The node's end of the zygote: starting it, forking worker processes, learning how each ended."""

from __future__ import annotations

import marshal
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import msgspec
import trio

from kathikon_actors.jobs.errors import BadConfiguration
from kathikon_actors.jobs.middleware import Middleware
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
    StartMethod,
)
from kathikon_actors.processes.exits import ExitStatus, WorkerDied, ZygoteDied, ZygoteFailed
from kathikon_actors.processes.frames import BadFrame, FrameDecoder, encode_frames
from kathikon_actors.processes.program_process import ProgramProcess
from kathikon_actors.processes.refs import refer_to, refer_to_middleware
from kathikon_actors.processes.shared import SharedPage, create_shared_file
from kathikon_actors.processes.start import BOOTSTRAP, file_of, interpreter
from kathikon_actors.processes.worker_process import WorkerProcess

__all__ = ["ExitStatus", "ProgramProcess", "WorkerDied", "WorkerProcess", "Zygote", "ZygoteDied", "ZygoteFailed"]

W = TypeVar("W", bound=WorkerProcess)

_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CLOSE_GRACE = 2.0


@dataclass
class _Request:
    worker: WorkerProcess
    done: bool = False
    abandoned: bool = False
    error: str = ""


class Zygote:
    """The process that forks worker processes, started before anything else and from the thread that runs trio.

    Its kernel sends it a signal when that thread ends, so a thread that comes and goes would take it along.

    Attributes:
        pid: its process id.
        note: why workers import their modules themselves, when they do though preloading was asked for.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, told: Hello) -> None:
        self.pid = process.pid
        self._told = told
        self.note: str | None = None
        self._process = process
        self._control = control
        self._decoder: FrameDecoder[FromZygote] = FrameDecoder(FromZygote)
        self._descriptors: deque[int] = deque()
        self._requests: dict[int, _Request] = {}
        self._last_request = 0
        self._workers: dict[int, WorkerProcess] = {}
        self._handles: set[WorkerProcess] = set()
        self._hello: Ready | NotPreloaded | None = None
        self._reading = False
        self._sending = trio.Lock()
        self._lot = trio.lowlevel.ParkingLot()
        self._gone = False
        self._closed = False

    @classmethod
    async def start(
        cls,
        definitions: Sequence[WorkerDefinition],
        *,
        preload: bool = True,
        start_method: StartMethod = "fork",
        middleware: Sequence[Middleware] = (),
        keys: Sequence[bytes] = (),
        modules: Sequence[str] = (),
    ) -> Zygote:
        """Start it and wait until it takes requests; see `launch`."""
        zygote = cls.launch(definitions, preload, start_method, middleware, keys, modules)
        return await zygote.ready()

    @classmethod
    def launch(
        cls,
        definitions: Sequence[WorkerDefinition],
        preload: bool = True,
        start_method: StartMethod = "fork",
        middleware: Sequence[Middleware] = (),
        keys: Sequence[bytes] = (),
        modules: Sequence[str] = (),
    ) -> Zygote:
        """Start it, without waiting: it imports the workers while the caller does something else. `ready` comes next.

        Args:
            definitions: every worker that its processes may be asked to run.
            preload: import the workers' modules before forking: a worker is ready in milliseconds. When an import
                starts threads this is given up, and `note` says so.
            start_method: `fork`, or `spawn`: each worker is a fresh interpreter.
            middleware: the app's chain, which runs around every worker.
            keys: for jobs that are encrypted, newest first.
            modules: what programs need, imported before forking too.

        Raises:
            ZygoteFailed: a module could not be imported (with its traceback), a worker cannot be sent by value, or
                the process did not come up.
        """
        try:
            refs = [refer_to(definition) for definition in definitions]
            chain = [refer_to_middleware(each) for each in middleware]
        except BadConfiguration as error:
            raise ZygoteFailed(str(error)) from error
        has_async = any(definition.is_async or definition.mourns_async for definition in definitions)
        with_trio = has_async or bool(modules)
        hello = Hello(os.getpid(), refs, preload, with_trio, start_method, chain, list(modules), list(keys))
        return cls._launch(hello)

    async def ready(self) -> Zygote:
        """Wait until it takes requests; give it, or the one that took its place because preloading was given up.

        Raises:
            ZygoteFailed: see `launch`; it is gone then.
        """
        zygote = self
        try:
            answer = await self._greeting()
            if isinstance(answer, NotPreloaded) and answer.reason == "threads":
                await self.aclose()
                self._told.preload = False
                zygote = self._launch(self._told)
                zygote.note = f"importing the workers started threads ({answer.text}), which forking cannot copy"
                answer = await zygote._greeting()  # noqa: SLF001 our own
            if isinstance(answer, NotPreloaded):
                raise ZygoteFailed(f"the workers' modules could not be imported:\n{answer.text}")
        except BaseException:
            await zygote.aclose()
            raise
        return zygote

    async def fork(self, kind: Kind, slots: int, title: str) -> WorkerProcess:
        """Start a worker process; it takes runs at once.

        Args:
            kind: `plain` (give it 1 slot) or `async`.
            slots: how many runs it executes at once.
            title: what it serves, shown by `ps -o comm` (15 bytes).

        Raises:
            ZygoteDied: there is nobody to fork it.
            OSError: the system cannot start another process.
        """
        if kind == "plain" and slots != 1:
            raise ValueError(f"a plain worker process has 1 slot, not {slots}")
        return await self._fork(WorkerProcess, kind, slots, title, "")

    async def fork_program(self, entry: str, title: str, words: int) -> ProgramProcess:
        """Start a process that is handed to a function.

        Args:
            entry: `module:function`; it is called with its end of the socket and the shared page.
            title: shown by `ps -o comm` (15 bytes).
            words: how many words of the shared page are for the program, see `ProgramProcess.word`.

        Raises:
            ZygoteDied: there is nobody to fork it.
            OSError: the system cannot start another process.
        """
        return await self._fork(ProgramProcess, "async", (words + 1) // 2, title, entry)

    async def _fork(self, kind_of: type[W], kind: Kind, slots: int, title: str, entry: str) -> W:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            page_file = create_shared_file(slots)
            try:
                worker = kind_of(ours, SharedPage(page_file, slots), kind, title, self._until, self._forget)
                try:
                    request = await self._ask(worker, theirs.fileno(), page_file, entry)
                except BaseException:
                    worker.close()
                    raise
            finally:
                os.close(page_file)
        if request.error:
            worker.close()
            raise OSError(f"no worker process for {title}: {request.error}")
        return worker

    async def serve(self) -> NoReturn:
        """Read what the zygote tells, such as the exit of workers; run this as long as it is used.

        Raises:
            ZygoteDied: it is gone; its workers are gone with it, and each `receive` says so.
        """
        await self._until(lambda: False)
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """End it and every worker process that is left, see them gone, close their handles. Idempotent."""
        with trio.CancelScope(shield=True):
            self._lose_workers()
            for worker in list(self._handles):
                worker.close()
            if not self._closed:
                self._closed = True
                trio.lowlevel.notify_closing(self._control)
                self._control.close()
            with trio.move_on_after(_CLOSE_GRACE):
                await self._reaped()
            self._process.kill()
            await self._reaped()
            for descriptor in self._descriptors:
                os.close(descriptor)
            self._descriptors.clear()

    def hold(self, until: float) -> None:
        """Have every worker process killed at this time, unless a later one is told before: the node's lease ends.

        Args:
            until: seconds of `time.monotonic`.
        """
        if not self._gone and not self._closed:
            with suppress(OSError):  # gone, or its buffer is full: then the next renewal tells it
                self._control.send(encode_frames([Hold(until)]))

    def kill(self) -> None:
        """Send SIGKILL; the kernel kills its workers with it. `serve` raises."""
        self._process.kill()

    @classmethod
    def _launch(cls, hello: Hello) -> Zygote:
        ours, theirs = socket.socketpair()
        told = file_of(marshal.dumps((list(sys.path), msgspec.msgpack.encode(hello))))
        try:
            # Not in a helper thread: the kernel's death signal comes when the starting thread ends, not the process.
            process = subprocess.Popen(  # noqa: S603 our own interpreter and script
                [*interpreter(), BOOTSTRAP, "zygote", str(told), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # the node's own output is data; what jobs print are words
                start_new_session=True,
                pass_fds=(told, theirs.fileno()),
            )
        except OSError as error:
            ours.close()
            raise ZygoteFailed(f"cannot start {sys.executable}: {error}") from error
        finally:
            os.close(told)
            theirs.close()
        ours.setblocking(False)
        return cls(process, ours, hello)

    async def _greeting(self) -> Ready | NotPreloaded:
        try:
            await self._until(lambda: self._hello is not None)
        except ZygoteDied as error:
            raise ZygoteFailed(f"{error} before it was ready; its own words are on stderr") from error
        assert self._hello is not None
        return self._hello

    async def _ask(self, worker: WorkerProcess, theirs: int, page: int, entry: str) -> _Request:
        self._last_request += 1
        number = self._last_request
        request = self._requests[number] = _Request(worker)
        self._handles.add(worker)
        frame = encode_frames([Fork(number, worker.kind, worker.slots, worker.title, entry)])
        sent = 0
        try:
            async with self._sending:  # only one may wait until there is room
                sent = await self._send(frame, [theirs, page])
            if sent < len(frame):  # a stream takes a small frame whole or not at all; if not, it is of no use any more
                self.kill()
            await self._until(lambda: request.done)
        except BaseException:
            request.abandoned = True
            if not sent:
                del self._requests[number]
            raise
        return request

    async def _send(self, frame: bytes, descriptors: list[int]) -> int:
        """Send as soon as there is room; give how much of the frame went out."""
        while True:
            if self._gone or self._closed:
                raise ZygoteDied(self.pid, self._process.poll())
            try:
                return socket.send_fds(self._control, [frame], descriptors)
            except BlockingIOError:
                with suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_writable(self._control)
            except OSError:
                await self._until(lambda: False)  # it is gone: raises

    async def _until(self, done: Callable[[], bool]) -> None:
        """Wait until `done`, which what the zygote tells makes true. One of those who wait reads for all."""
        while not done():
            if self._gone or self._closed:
                raise ZygoteDied(self.pid, self._process.poll())
            if self._reading:
                await self._lot.park()
                continue
            self._reading = True
            try:
                await trio.lowlevel.wait_readable(self._control)
                if not self._read():
                    await self._see_it_end()
            except trio.ClosedResourceError:
                pass
            finally:
                self._reading = False
                self._lot.unpark_all()

    def _read(self) -> bool:
        try:
            data, descriptors, flags, _address = socket.recv_fds(self._control, 65_536, 64, _CLOEXEC)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._descriptors.extend(descriptors)
        if not data:
            return False
        if flags & socket.MSG_CTRUNC:  # out of descriptors: which pidfd is whose cannot be told any more
            self.kill()
            return False
        try:
            for message in self._decoder.feed(data):
                self._take(message)
        except BadFrame:
            self.kill()
            return False
        return True

    def _take(self, message: FromZygote) -> None:
        match message:
            case Exited(pid, code, number, out_of_memory):
                worker = self._workers.pop(pid, None)
                if worker is not None:
                    worker.mark_dead(ExitStatus(pid, code, number, out_of_memory))
            case Forked():
                pidfd = self._descriptors.popleft() if message.pidfd else None
                request = self._requests.pop(message.request)
                request.done = True
                request.error = message.error
                if message.pid and not request.abandoned:
                    request.worker.mark_born(message.pid, pidfd)
                    self._workers[message.pid] = request.worker
                elif pidfd is not None:
                    os.close(pidfd)  # an abandoned worker sees its socket closed, and ends
            case Ready() | NotPreloaded():
                self._hello = message

    async def _see_it_end(self) -> None:
        """It closed its socket, which it does only by dying: see it gone, and its workers declared lost."""
        with trio.CancelScope(shield=True):
            with trio.move_on_after(_CLOSE_GRACE):
                await self._reaped()
            self._process.kill()
            await self._reaped()
        self._gone = True
        self._lose_workers()

    def _lose_workers(self) -> None:
        """The kernel or the zygote kills each worker; nobody will tell how they ended."""
        for pid, worker in list(self._workers.items()):
            worker.kill()
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # what a worker forked, when the worker itself is gone already
            worker.mark_dead(ExitStatus(pid))
        self._workers.clear()

    def _forget(self, worker: WorkerProcess) -> None:
        """A handle was closed; its exit report, if any is to come, is of no interest."""
        if self._workers.get(worker.pid) is worker:  # else the pid is another one's by now
            del self._workers[worker.pid]
        self._handles.discard(worker)

    async def _reaped(self) -> None:
        delay = 0.001
        while self._process.poll() is None:
            await trio.sleep(delay)
            delay = min(delay * 2, 0.05)
