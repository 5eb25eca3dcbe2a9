"""The actors of these tests, importable by other processes; what they do they write into a diary."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import trio

from kathikon_actors import Actor, ActorRef, Down, ExitSignal, ReplyTo, Timeout, defer_reply
from supervisors import Exit, ExitReason, Shutdown

__all__ = ["Counter", "Diary", "Gate", "Player", "note"]


class Diary(Actor):
    """Keeps what others note; in the test's own process."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    async def note(self, line: Any) -> None:
        self.lines.append(line)

    async def read(self) -> list[Any]:
        return list(self.lines)


def note(actor: Actor, line: Any) -> None:
    """Write into the diary, from any process."""
    actor.system.ref("diary", Diary).cast(Diary.note, line)


class Gate(Actor):
    """Whoever waits at it goes on when the test opens it, and not before, however busy the machine is."""

    def __init__(self) -> None:
        self.opened = False
        self.waiting: list[ReplyTo] = []

    async def wait(self) -> None:
        if not self.opened:
            self.waiting.append(defer_reply())

    async def open(self) -> None:
        self.opened = True
        for reply_to in self.waiting:
            reply_to.reply(None)


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.value = start

    async def add(self, by: int) -> int:
        self.value += by
        return self.value


class Unsendable(Exception):
    def __init__(self) -> None:
        super().__init__("with a lock")
        self.lock = threading.Lock()


class Player(Actor):
    """Does what it is told, and notes what happens to it."""

    def __init__(self, *, trap: bool = False, label: str = "", on_start: str = "", seconds: float = 0.0) -> None:
        self.trap_exit = trap
        self.label = label
        self.on_start = on_start
        self.seconds = seconds
        self.waiting: list[ReplyTo] = []
        self.monitors: list[Any] = []
        if on_start == "raise in __init__":
            raise ValueError("no start")
        if on_start == "send to itself":
            self.ref.send("from __init__")

    async def init(self) -> None:
        if self.on_start == "slow":
            await trio.sleep(self.seconds)
        if self.on_start == "raise":
            raise ValueError("no start")
        if self.on_start == "exit":
            raise Exit(Shutdown("no need"))

    async def started(self) -> None:
        if self.on_start == "wait at the gate":
            await self.wait_at_gate()
        if self.on_start:
            note(self, "started")

    async def handle_info(self, message: object) -> Any:
        match message:
            case ("return", value):
                return value
            case ("note later", seconds):
                await trio.sleep(seconds)
            case ExitSignal(ref, reason):
                note(self, ("exit", None if ref is None else ref.name, str(reason)))
            case Down(_, ref, reason):
                note(self, ("down", ref.name, str(reason), self.system.whereis(ref.name or "") is None))
            case Timeout():
                note(self, "timeout")
            case _:
                note(self, message)
        return None

    async def terminate(self, reason: ExitReason) -> None:
        if self.on_start == "slow end":
            await trio.sleep(self.seconds)
        if self.on_start == "raise at the end":
            raise KeyError("end")
        note(self, (f"{self.label}terminate", str(reason)))

    # Messages.

    async def say(self, line: Any) -> Any:
        note(self, line)
        return line

    async def echo(self, value: Any) -> Any:
        return value

    async def sleep(self, seconds: float, then: Any = None) -> Any:
        await trio.sleep(seconds)
        return then

    async def wait_at_gate(self, then: Any = None) -> Any:
        await self.system.ref("gate", Gate).call(Gate.wait, timeout=60.0)
        return then

    async def block(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 that is the point

    async def hang(self) -> None:
        note(self, "hanging")
        while True:
            pass

    async def fail(self, error: BaseException) -> None:
        raise error

    async def leave(self, reason: ExitReason) -> None:
        raise Exit(reason)

    async def stop_with_reply(self, reason: ExitReason) -> str:
        self.stop(reason)
        return "bye"

    async def wait_for_silence(self, seconds: float) -> None:
        self.set_timeout(seconds)

    async def trap(self, on: bool) -> None:
        self.trap_exit = on

    async def call_myself(self) -> str:
        try:
            await self.ref.call(Player.echo, 1)
        except Exception as error:
            return type(error).__name__
        return "answered"

    async def exit_myself(self, reason: ExitReason) -> None:
        self.ref.exit(reason)
        await trio.sleep(30)

    async def link_to(self, other: ActorRef[Any]) -> None:
        self.ref.link(other)

    async def unlink_from(self, other: ActorRef[Any]) -> None:
        self.ref.unlink(other)

    async def watch(self, other: ActorRef[Any]) -> None:
        self.monitors.append(other.monitor())

    async def demonitor(self, flush: bool = True) -> None:
        for monitor in self.monitors:
            monitor.demonitor(flush=flush)

    async def send_exit(self, other: ActorRef[Any], reason: ExitReason) -> None:
        other.exit(reason)

    async def start_linked(self, isolation: Any, name: str) -> None:
        await self.system.start(Player, trap=True, name=name, isolation=isolation, link=True, restart="temporary")

    async def later(self) -> str:
        self.waiting.append(defer_reply())
        return "not this"

    async def answer(self, value: str) -> int:
        count = len(self.waiting)
        for reply_to in reversed(self.waiting):
            reply_to.reply(value)
            reply_to.reply("a second time")
        self.waiting.clear()
        return count

    async def whoami(self) -> tuple[int, ActorRef[Any]]:
        return os.getpid(), self.ref

    async def die_by(self, number: int) -> None:
        os.kill(os.getpid(), number)
        await trio.sleep(30)

    async def quit(self, code: int) -> None:
        os._exit(code)

    async def deaf(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    async def burst(self, to: ActorRef[Any], count: int) -> None:
        for number in range(count):
            to.cast(Player.say, ("cast", number))
            to.send(("send", number))
            if number % 10 == 0:
                await to.call(Player.say, ("call", number))

    async def later_to(self, delay: float, ref: ActorRef[Any], message: object) -> None:
        self.system.send_after(delay, ref, message)

    async def unsendable(self) -> Any:
        return {"lock": threading.Lock()}

    async def fail_deeply(self) -> None:
        self._deeper()

    def _deeper(self) -> None:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            raise KeyError("deep") from error

    async def fail_unsendably(self) -> None:
        raise Unsendable

    async def start_counter(self, isolation: Any, name: str) -> ActorRef[Counter]:
        return await self.system.start(Counter, 7, isolation=isolation, name=name)

    async def measure(self, name: str) -> int:
        return self.system.ref(name, Player).statistics().processed

    async def ask(self, name: str, value: Any) -> Any:
        found = self.system.whereis(name)
        return None if found is None else (found.alive, found.pid, await found.call(Player.echo, value))
