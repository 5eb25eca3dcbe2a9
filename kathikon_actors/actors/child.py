"""What an actor process does: it takes its orders off the wire, and is the actor, or a tree of them, to its end."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import trio

from kathikon_actors.actors.child_system import ChildSystem
from kathikon_actors.actors.codec import dump_reason, load
from kathikon_actors.actors.process_cell import (
    BUSY,
    BUSY_SINCE,
    DROPPED,
    LENGTH,
    OLDEST,
    PROCESSED,
    RECEIVED,
    SINCE,
)
from kathikon_actors.actors.subtree_child import be_subtree
from kathikon_actors.actors.systems import current_system
from kathikon_actors.actors.task_cell import TaskCell
from kathikon_actors.actors.wire import EXITED, IGNORED, UP, Message, Wire
from kathikon_actors.processes.linux import set_process_name
from kathikon_actors.processes.shared import SharedPage
from supervisors import IGNORE, Crash, ExitReason, Normal, reason_of

__all__ = ["run"]

_LAST_WORDS = 5.0


def run(sock: socket.socket, page: SharedPage) -> NoReturn:
    """Be an actor process; called by the process that the zygote forked."""
    sock.setblocking(False)
    wire = Wire()
    wire.attach(sock)
    trio.run(_main, wire, page)
    raise AssertionError("unreachable")


async def _main(wire: Wire, page: SharedPage) -> None:
    try:
        start, rest = await wire.first()
    except OSError:
        os._exit(1)  # the node needs it no more
    _, token, uid, kind, title, what, arguments = start
    set_process_name(title)
    system = ChildSystem(token, wire)
    current_system.set(system)
    async with trio.open_nursery() as nursery:
        system.helpers = nursery
        nursery.start_soon(wire.run_sender)
        nursery.start_soon(system.deadlines.run)
        if kind == "actor":
            await _be_actor(system, uid, what, arguments, page, partial(_begin_to_read, nursery, system, rest))
        else:
            await be_subtree(system, uid, what, arguments, partial(_begin_to_read, nursery, system, rest))
        await wire.drain(_LAST_WORDS)
        _leave()


def _begin_to_read(nursery: trio.Nursery, system: ChildSystem, rest: list[Message]) -> None:
    system.router.take(rest)
    nursery.start_soon(_read, system)


async def _read(system: ChildSystem) -> None:
    await system.wire.run_reader(system.router.take)
    os._exit(1)  # the node is gone, or wants nothing more of this process


async def _be_actor(
    system: ChildSystem, uid: int, what: Any, arguments: Any, page: SharedPage, begin_to_read: Callable[[], object]
) -> None:
    reason: ExitReason = Normal()
    try:
        recipe, parent = load(what)
        args, kwargs = load(arguments)
        above = None if parent is None else system.elsewhere(parent)
        recipe = replace(recipe, args=args, kwargs=kwargs, system=system, parent=above)
        cell = TaskCell(system, uid, recipe, _kill_myself)
    except BaseException as exc:  # a module may raise anything when it is imported
        system.wire.put((EXITED, uid, dump_reason(Crash(exc))))
        return
    cell.page = partial(_publish, cell, page.words, page.slot(0))
    system.router.publish = cell.page
    system.adopt(cell)
    begin_to_read()
    try:
        await cell.run(recipe, _Up(system.wire, uid))
    except BaseException as exc:  # whatever ended it, SystemExit too, is this actor's end
        reason = reason_of(exc)
    cell.finish(reason)


class _Up:
    """The `task_status` of the actor: tells the node that it is up."""

    def __init__(self, wire: Wire, uid: int) -> None:
        self._wire = wire
        self._uid = uid

    def started(self, value: object = None) -> None:
        self._wire.put((IGNORED,) if value is IGNORE else (UP, self._uid))


def _publish(cell: TaskCell, words: memoryview, at: int) -> None:
    """Write the statistics where the node reads them, whatever the actor is at."""
    length, oldest, processed, busy, busy_since, since, dropped = cell.counts()
    words[at + LENGTH] = length
    words[at + OLDEST] = int(oldest * 1e9)
    words[at + PROCESSED] = processed
    words[at + BUSY] = int(busy * 1e9)
    words[at + BUSY_SINCE] = int(busy_since * 1e9)
    words[at + SINCE] = int(since * 1e9)
    words[at + DROPPED] = dropped
    words[at + RECEIVED] = cell.received


def _kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _leave() -> NoReturn:
    """End at once, with what a process owes at its end but not the time that taking the interpreter down costs."""
    with suppress(Exception):
        atexit._run_exitfuncs()  # noqa: SLF001 what the interpreter calls at its end
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(0)
