"""Processes of actors and what befalls them: signals, exits, memory, things that cannot be sent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from kathikon_actors import (
    Actor,
    ActorDied,
    ActorRef,
    NoSuchActor,
    ProcessDied,
    RemoteError,
    Unpicklable,
    open_actor_system,
)
from kathikon_actors.actors.wire import LIMIT
from supervisors import Crash, FailedToStart, Killed
from tests.actors.cast import Counter, Player
from tests.actors.tools import Stage
from tests.processes.tools import alive, descriptors
from tests.support.waiting import eventually


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT], ids=lambda number: number.name)
async def test_a_signal_ends_the_calls_and_the_supervisor_restarts(stage: Stage, number: signal.Signals) -> None:
    """At once, with the reason that names the signal; the next life answers under the same name."""
    ref = await stage.system.start(Player, name="a", isolation="process")
    pid = ref.pid
    began = time.monotonic()
    with pytest.raises(ActorDied) as caught:
        await ref.call(Player.die_by, number, timeout=20.0)
    assert time.monotonic() - began < 10, "not by the timeout"
    if number == signal.SIGKILL:
        assert caught.value.reason == Killed()
    else:
        assert isinstance(caught.value.reason, Crash)
        assert isinstance(caught.value.reason.exception, ProcessDied)
        assert caught.value.reason.exception.exit.signal == number
    await eventually(lambda: ref.alive, "it is back")
    assert await ref.call(Player.echo, 1) == 1
    assert ref.pid != pid


async def test_an_exit_ends_the_calls_with_the_status(stage: Stage) -> None:
    """`os._exit` in a library is no secret."""
    ref = await stage.system.start(Player, isolation="process", restart="temporary")
    with pytest.raises(ActorDied, match="exit status 3"):
        await ref.call(Player.quit, 3)


class Hungry(Actor):
    async def eat(self) -> int:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (600_000_000, 600_000_000))
        return len(bytearray(2_000_000_000))


async def test_want_of_memory_is_a_crash_of_the_actor_alone(stage: Stage) -> None:
    """The caller knows; the node is unharmed; the next life answers."""
    ref = await stage.system.start(Hungry, name="hungry", isolation="process")
    with pytest.raises(ActorDied) as caught:
        await ref.call(Hungry.eat)
    assert isinstance(caught.value.__cause__, MemoryError)
    await eventually(lambda: ref.alive, "it is back")


async def test_the_end_of_the_zygote_is_healed() -> None:
    """Its processes are gone with it; a new one forks their next lives."""
    async with open_actor_system(max_restarts=100) as system:
        refs = [await system.start(Counter, name=name, isolation="process") for name in "ab"]
        zygote = system.forker._zygote
        assert zygote is not None
        pids = [ref.pid for ref in refs]
        zygote.kill()

        async def answers(ref: ActorRef[Counter]) -> bool:
            # One that is started meanwhile may meet the dead zygote still, and is started again; without a process
            # it would wait for the new zygote.
            try:
                return ref.pid not in (None, *pids) and await ref.call(Counter.add, 1) == 1
            except (ActorDied, NoSuchActor):
                return False

        for ref in refs:
            await eventually(partial(answers, ref), "a new process answers")


async def test_nothing_is_left_of_processes(stage: Stage) -> None:
    """50 of them, ended in every way: no descriptor, no process, no number in a table."""
    await (await stage.system.start(Counter, isolation="process")).stop()
    spares = stage.system.forker._spares
    await eventually(lambda: spares, "the spare process")
    before = descriptors()
    pids = []
    for number in range(50):
        ref = await stage.system.start(Player, isolation="process", restart="temporary")
        pids.append(ref.pid)
        monitor = ref.monitor()
        if number % 3 == 0:
            ref.kill()
        elif number % 3 == 1:
            ref.cast(Player.leave, Crash(ValueError("x")))
        else:
            await ref.stop()
        await monitor.wait()
    await eventually(lambda: not any(alive(pid) for pid in pids if pid), "they are gone")
    await eventually(lambda: len(spares) == 1 and descriptors() <= before, "descriptors")
    assert stage.system.names() == ["diary"]


async def test_64_megabytes_cross_and_more_is_refused_by_name(stage: Stage) -> None:
    """Both ways; buffers travel beside the pickle; what is beyond the limit fails at the caller."""
    ref = await stage.system.start(Player, isolation="process")
    data = os.urandom(1 << 20) * 64
    assert await ref.call(Player.echo, data, timeout=30) == data
    back = await ref.call(Player.echo, bytearray(data), timeout=30)
    assert type(back) is bytearray
    assert back == data
    with pytest.raises(Unpicklable, match="bytes; a message between processes may have"):
        await ref.call(Player.echo, bytes(LIMIT))
    assert await ref.call(Player.echo, "unharmed") == "unharmed"


async def test_small_messages_behind_a_large_one_keep_their_place(stage: Stage) -> None:
    """Also those that are sent while the large one is still on its way."""
    ref = await stage.system.start(Player, isolation="process")
    for round_number in range(3):
        ref.cast(Player.echo, bytes(20_000_000))
        for number in range(50):
            ref.cast(Player.say, (round_number, number))
            await trio.lowlevel.checkpoint()
    await eventually(lambda: len(stage.lines) == 150, "all are there")
    assert stage.lines == [(round_number, number) for round_number in range(3) for number in range(50)]


class Holder:
    def __init__(self, sock: object) -> None:
        self.sock = sock


async def test_what_cannot_be_sent_is_named_by_its_path(stage: Stage) -> None:
    """In arguments, in keyword arguments, in messages, in results, in the arguments of a start."""
    ref = await stage.system.start(Player, isolation="process")
    with socket.socket() as sock:
        for call, path in (
            (lambda: ref.call(Player.say, [1, {"conn": Holder(sock)}]), "args[0][1]['conn'].sock"),
            (lambda: ref.call(Player.sleep, 0.0, then=sock), "kwargs['then']"),
            (lambda: stage.system.start(Player, label=threading.Lock(), isolation="process"), "kwargs['label']"),  # type: ignore[arg-type]
        ):
            with pytest.raises((Unpicklable, FailedToStart)) as caught:
                await call()  # type: ignore[no-untyped-call]
            error = caught.value if isinstance(caught.value, Unpicklable) else caught.value.__cause__
            assert isinstance(error, Unpicklable)
            assert error.path == path
        with pytest.raises(Unpicklable, match="message"):
            ref.send(sock)
    with pytest.raises(Unpicklable) as caught_result:
        await ref.call(Player.unsendable)
    assert caught_result.value.path == "result['lock']"
    assert await ref.call(Player.echo, "unharmed") == "unharmed"


async def test_a_remote_traceback_comes_whole_as_a_note(stage: Stage) -> None:
    """With the causes; an exception that cannot be sent is stood for by its words."""
    ref = await stage.system.start(Player, isolation="process", restart="temporary")
    with pytest.raises(ActorDied) as caught:
        await ref.call(Player.fail_deeply)
    cause = caught.value.__cause__
    assert isinstance(cause, KeyError)
    [text] = cause.__notes__
    assert f"in process {ref.pid or ''}"[:10] in text
    for line in ("in fail_deeply", "in _deeper", "ZeroDivisionError", "direct cause"):
        assert line in text
    ref = await stage.system.start(Player, isolation="process", restart="temporary")
    with pytest.raises(ActorDied) as caught:
        await ref.call(Player.fail_unsendably)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteError)
    assert (cause.kind, cause.text) == ("Unsendable", "with a lock")
    assert "in fail_unsendably" in cause.__notes__[0]


def test_classes_of_main_work_in_processes(tmp_path: Path) -> None:
    """As from a script or a notebook: the class, its arguments, its results, its errors go by value."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import dataclasses, trio
            from kathikon_actors import Actor, ActorDied, open_actor_system

            @dataclasses.dataclass
            class Point:
                x: int

            class Oops(Exception):
                pass

            class Mover(Actor):
                def __init__(self, start: Point) -> None:
                    self.at = start
                async def move(self, by: Point) -> Point:
                    self.at = Point(self.at.x + by.x)
                    return self.at
                async def fail(self) -> None:
                    raise Oops("here")

            async def main() -> None:
                async with open_actor_system() as system:
                    mover = await system.start(Mover, Point(1), isolation="process")
                    assert await mover.call(Mover.move, Point(2)) == Point(3)
                    local = lambda x: Point(x)
                    assert await mover.call(Mover.move, local(4)) == Point(7)
                    try:
                        await mover.call(Mover.fail)
                    except ActorDied as error:
                        assert type(error.__cause__) is Oops, error.__cause__
                print("fine")

            trio.run(main)
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert (done.stdout, done.returncode) == ("fine\n", 0), done.stderr


async def test_from_inside_a_process_all_actors_are_in_reach(stage: Stage) -> None:
    """Found by name, called, watched, linked, started: in the node and in other processes."""
    inside = await stage.system.start(Player, isolation="process")
    for kind in ("task", "process"):
        other = await stage.system.start(Player, name=kind, isolation=kind)
        assert await inside.call(Player.ask, kind, "hello") == (True, other.pid, "hello")
        started: Any = await inside.call(Player.start_counter, kind, f"new {kind}")
        assert started == stage.system.whereis(f"new {kind}")
        assert await started.call(Counter.add, 1) == 8
    assert await inside.call(Player.ask, "nobody", 1) is None
    pid, itself = await inside.call(Player.whoami)
    assert (pid, itself) == (inside.pid, inside)
    assert await itself.call(Player.echo, 1) == 1
    assert await inside.call(Player.measure, "task") == 1


async def test_statistics_tell_of_a_process_that_does_not_react(stage: Stage) -> None:
    """They come from shared memory, not from it."""
    ref = await stage.system.start(Player, isolation="process")
    for number in range(10):
        await ref.call(Player.echo, number)
    quiet = ref.statistics()
    assert (quiet.processed, quiet.length, quiet.oldest) == (10, 0, 0.0)
    ref.cast(Player.block, 60.0)
    for number in range(5):
        ref.cast(Player.echo, number)
    await eventually(lambda: ref.statistics().length == 5, "five wait")
    await eventually(lambda: ref.statistics().busy > 0.5, "it is seen to be busy")
    ref.kill()
