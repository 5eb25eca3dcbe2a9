"""What a child can ask and do about itself: whether it shall stop, and how it takes its time for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from supervisors._errors import SupervisionError
from supervisors._life import Life, Pid, current_life

__all__ = ["StopRequest", "cleanup_scope", "on_stop_request", "self_pid", "stop_requested", "trap_stop"]


def _own_life() -> Life:
    life = current_life.get(None)
    if life is None:
        raise SupervisionError("this is not the child of a supervisor")
    return life


def self_pid() -> Pid:
    """Return the pid of the child that calls this (OTP's `self()`).

    Raises:
        SupervisionError: the caller is not the child of a supervisor.
    """
    return _own_life().pid


def stop_requested() -> bool:
    """Whether the supervisor has asked the child that calls this to stop."""
    return _own_life().stop_requested


class StopRequest:
    """What `trap_stop()` gives: an event that the stop request sets."""

    __slots__ = ("_event", "_life")

    def __init__(self, life: Life, event: trio.Event) -> None:
        self._life = life
        self._event = event

    @property
    def requested(self) -> bool:
        """Whether the supervisor has asked this child to stop."""
        return self._event.is_set()

    @property
    def deadline(self) -> float | None:
        """`trio.current_time()` at which the child will be killed; None while no stop was requested."""
        return self._life.deadline

    async def wait(self) -> None:
        """Return once the supervisor asks this child to stop."""
        await self._event.wait()


@contextmanager
def trap_stop() -> Iterator[StopRequest]:
    """Within this block a request to stop does not cancel the child: it finds out, and ends by itself.

    The child has its `shutdown` seconds for that; then it is killed. A stop that was requested within the block cancels
    the child as soon as it leaves the block.

    Example:
        async def consumer(queue):
            with trap_stop() as stop:
                while not stop.requested or queue:
                    await work_off(queue)
    """
    life = _own_life()
    event = trio.Event()
    life.trap(event.set)
    try:
        yield StopRequest(life, event)
    finally:
        life.trap(None)


@contextmanager
def on_stop_request(notify: Callable[[], object]) -> Iterator[None]:
    """Within this block a request to stop calls `notify()` instead of cancelling the child.

    For a child that is told of things by callbacks anyway and needs no task that waits for the request; otherwise as
    `trap_stop`. `notify` must not raise; it is called at once when a stop was requested before.

    Example:
        async def server(mailbox):
            with on_stop_request(lambda: mailbox.put(STOP)):
                await mailbox.serve()
    """
    life = _own_life()
    life.trap(notify)
    try:
        yield
    finally:
        life.trap(None)


@contextmanager
def cleanup_scope() -> Iterator[trio.CancelScope]:
    """A shield for the awaits of a child's cleanup, which ends when the child's `shutdown` seconds have passed.

    Example:
        try:
            await serve(connection)
        finally:
            with cleanup_scope():
                await connection.aclose()
    """
    life = _own_life()
    with trio.CancelScope(shield=True) as scope:
        life.add_shield(scope)
        try:
            yield scope
        finally:
            life.drop_shield(scope)
