"""The node's end of one worker process."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import trio

from kathikon_actors.processes.control import Kind
from kathikon_actors.processes.exits import ExitStatus, WorkerDied
from kathikon_actors.processes.frames import BadFrame, FrameDecoder, encode_frames
from kathikon_actors.processes.memory import rss_bytes
from kathikon_actors.processes.messages import FromWorker, Interrupt, Stop, ToWorker, Why
from kathikon_actors.processes.shared import SharedPage

__all__ = ["WorkerProcess"]

logger = logging.getLogger(__name__)

_READ = 32_768
_MAX_UNSENT = 256 * 1024 * 1024
_CLOSED_BUT_ALIVE = 0.5
_AFTER_TERM = 1.0


class WorkerProcess:
    """A worker process: send runs, receive reports, see it die. Made by `Zygote.fork`.

    Who owns it calls `receive` until `WorkerDied`, or `close`.

    Attributes:
        pid: its process id.
        kind: `plain` or `async`.
        slots: how many runs it executes at once.
        title: what it serves, for people.
        started_at: `time.monotonic()` when it was forked.
    """

    def __init__(
        self,
        sock: socket.socket,
        page: SharedPage,
        kind: Kind,
        title: str,
        wait_for: Callable[[Callable[[], bool]], Awaitable[None]],
        on_close: Callable[[WorkerProcess], None],
    ) -> None:
        self.pid = 0
        self.kind: Kind = kind
        self.slots = page.slots
        self.title = title
        self.started_at = time.monotonic()
        self._sock = sock
        self._page = page
        self._pidfd: int | None = None
        self._wait_for = wait_for
        self._on_close = on_close
        self._decoder: FrameDecoder[FromWorker] = FrameDecoder(FromWorker)
        self._unsent = bytearray()
        self._waiting: trio.CancelScope | None = None
        self._exit: ExitStatus | None = None
        self._last_running: list[tuple[int, int]] = []
        self._last_ended: dict[int, bool] = {}
        self._closed = False
        self._deaf = False
        self._garbled = False
        self._rest: list[FromWorker] = []

    def __repr__(self) -> str:
        state = "running" if self._exit is None else self._exit.text
        return f"<WorkerProcess {self.pid} {self.kind} {self.title}: {state}>"

    @property
    def exit(self) -> ExitStatus | None:
        """How it ended, `None` while it lives as far as is known."""
        return self._exit

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait until the worker reads again."""
        return len(self._unsent)

    def send(self, messages: Sequence[ToWorker]) -> None:
        """Send without ever waiting: what the socket does not take now goes out while somebody is in `receive`.

        A process that is gone takes nothing and raises nothing: `receive` tells.

        Raises:
            FrameTooLarge: a single message is larger than a frame may be; nothing of `messages` was sent.
            BufferError: more than 256 MB wait already; whoever sends ignores the worker's credit.
        """
        if self._closed:
            return
        frame = encode_frames(messages)
        if self._unsent:
            if len(self._unsent) + len(frame) > _MAX_UNSENT:
                raise BufferError(f"{len(self._unsent)} bytes wait for worker process {self.pid}, which does not read")
            self._unsent += frame
            return
        sent = self._try_send(frame)
        if sent < len(frame):
            self._unsent += memoryview(frame)[sent:]
            self._wake()

    async def receive(self) -> list[FromWorker]:
        """Wait for the next reports. A cancelled call loses none.

        Raises:
            WorkerDied: the process is gone and all it reported was given out; `exit` says how, `running` what it was
                at. The handle is closed then. One that sends what is no frame is killed.
        """
        await trio.lowlevel.checkpoint()
        while not self._closed:
            if self._garbled:
                self.kill()
                await self._ended()
                break
            try:
                data = self._sock.recv(_READ)
            except BlockingIOError:
                if self._exit is not None:
                    break  # something it forked holds its socket open, but nobody speaks for it any more
                await self._wait()
                continue
            except OSError:
                data = b""
            if not data:
                await self._see_it_end()
                break
            try:
                if messages := self._decoder.feed(data):
                    return messages
            except BadFrame as error:
                logger.error("worker process %d is killed: %s", self.pid, error)  # noqa: TRY400 no traceback of interest
                self._garbled = True
        if self._rest:
            rest, self._rest = self._rest, []
            return rest
        running = self.running()
        self.close()
        raise WorkerDied(replace(self._exit or ExitStatus(self.pid), deaf=self._deaf, garbled=self._garbled), running)

    def running(self) -> list[tuple[int, int]]:
        """Give `(seq, started)` of every run being executed, or that was when the process died.

        `started` is in nanoseconds of `time.monotonic_ns()`, which is the same clock in every process.
        """
        return self._last_running if self._closed else self._page.running()

    def last_ended(self) -> dict[int, bool]:
        """Give the last runs that ended, reported or not, and whether each completed without a result."""
        return self._last_ended if self._closed else self._page.ended()

    def resident_bytes(self) -> int | None:
        """Give what it holds in memory, `None` when it is gone or the platform does not tell."""
        return None if self._closed or self.pid == 0 else rss_bytes(self.pid)

    def revoke_from(self, seq: int) -> None:
        """Forbid the start of every run from `seq` on; the worker reports each as `returned` when it comes to it.

        A run that `running` does not show `shared.SETTLE` seconds later will not start.
        """
        if not self._closed:
            self._page.revoke_from(seq)
            if self.kind == "plain":
                self._signal(signal.SIGALRM)  # without a word to interrupt: a long run lets waiting reports out

    def unrevoke(self) -> None:
        """Allow all runs again. Only when every run that was revoked has been reported: it would start else."""
        if not self._closed:
            self._page.unrevoke()

    def interrupt(self, seq: int, why: Why) -> None:
        """Ask a run that is executing to stop. Whether it does is up to its code; `kill` ends it for sure.

        For a run that has not started use `revoke_from`.
        """
        if self._closed:
            return
        if self.kind == "async":
            self.send([Interrupt(seq, why)])
            return
        self._page.interrupt(seq, why)
        self._signal(signal.SIGALRM)

    def kill(self) -> None:
        """Send SIGKILL to the process and its group: what it forked goes with it. Harmless when it is gone."""
        if self._exit is not None or self._closed or self.pid == 0:
            return
        if self._signal(signal.SIGKILL):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, grace: float) -> None:
        """Let it finish what it executes, then see it gone: `Stop`, `grace` seconds, SIGTERM, one second, SIGKILL.

        Runs that had not started are reported as `returned`. Reports are still to be had from `receive`.

        Args:
            grace: seconds; `inf` waits for as long as it takes. Cancelled, the process is killed.
        """
        try:
            self.revoke_from(0)
            self.send([Stop()])
            with trio.move_on_after(grace):
                await self._ended()
            if self._exit is None and not self._closed:
                self._page.terminate()
                self._signal(signal.SIGTERM)
                with trio.move_on_after(_AFTER_TERM):
                    await self._ended()
        finally:
            if self._exit is None:
                self.kill()
                with trio.CancelScope(shield=True), trio.move_on_after(_AFTER_TERM):
                    await self._ended()

    def close(self) -> None:
        """Let go of its socket, pidfd and shared page; a process that still lives is killed. Idempotent.

        What it had reported by then is still to be had from `receive`.
        """
        if self._closed:
            return
        self.kill()
        self._last_running = self._page.running()
        self._last_ended = self._page.ended()
        self._rest = self._read_rest()
        self._closed = True
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()
        self._page.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None
        self._unsent.clear()
        self._on_close(self)

    def _read_rest(self) -> list[FromWorker]:
        """Read what has arrived: each report that is lost is a job that runs again."""
        rest: list[FromWorker] = []
        if self._garbled:  # where the next frame begins, nobody knows
            return rest
        with suppress(OSError, BadFrame):
            while data := self._sock.recv(_READ):
                rest += self._decoder.feed(data)
        return rest

    def mark_born(self, pid: int, pidfd: int | None) -> None:
        """The zygote forked it. For `Zygote` only."""
        self.pid = pid
        self._pidfd = pidfd

    def mark_dead(self, status: ExitStatus) -> None:
        """The zygote reaped it. For `Zygote` only."""
        self._exit = status
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def _ended(self) -> None:
        await self._wait_for(lambda: self._exit is not None)

    async def _see_it_end(self) -> None:
        """Its socket is closed: wait for its exit status; kill it when it closed the socket and goes on living.

        The zygote may be slow to tell how it ended: what has ended by itself is not said to have gone on.
        """
        with trio.move_on_after(_CLOSED_BUT_ALIVE):
            await self._ended()
        if self._exit is None:
            lives = not self._has_ended()
            self.kill()
            await self._ended()
            how = self.exit
            self._deaf = lives and how is not None and how.signal == signal.SIGKILL

    def _has_ended(self) -> bool:
        """Whether the kernel says so, reaped or not; where it gives no pidfd nobody can tell."""
        if self._pidfd is None:
            return False
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    async def _wait(self) -> None:
        """Wait until there is something to read, room for what is unsent, or news of its death."""
        self._waiting = trio.CancelScope()
        try:
            with self._waiting:
                if self._unsent:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._send_rest, nursery.cancel_scope)
                        await trio.lowlevel.wait_readable(self._sock)
                        nursery.cancel_scope.cancel()
                else:
                    await trio.lowlevel.wait_readable(self._sock)
        except* trio.ClosedResourceError:
            pass  # `close` was called meanwhile; the caller looks
        finally:
            self._waiting = None

    async def _send_rest(self, scope: trio.CancelScope) -> None:
        while self._unsent:
            await trio.lowlevel.wait_writable(self._sock)
            sent = self._try_send(self._unsent)
            del self._unsent[:sent]
        scope.cancel()

    def _try_send(self, data: bytes | bytearray) -> int:
        """Send what the socket takes now; a broken one swallows all, as the death is reported elsewhere."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; tell whether it was there."""
        if self._exit is not None or self._closed or self.pid == 0:
            return False
        try:
            if self._pidfd is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return False
        return True
