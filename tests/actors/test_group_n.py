"""Checklist N: links, monitors, signals."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import trio

from kathikon_actors import ActorRef
from kathikon_actors.actors.recipe import Isolation
from supervisors import Crash, Killed, Normal, Shutdown
from tests.actors.cast import Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually


async def pair(stage: Stage, isolation: Isolation, **of_b: Any) -> tuple[ActorRef[Player], ActorRef[Player]]:
    """Start a, in a task, and b, of the kind under test; linked by b."""
    a = await stage.system.start(Player, name="a", restart="temporary", label="a ")
    b = await stage.system.start(Player, name="b", isolation=isolation, restart="temporary", label="b ", **of_b)
    await b.call(Player.link_to, a)
    return a, b


async def down(stage: Stage, ref: ActorRef[Any]) -> str:
    """Wait for an end; say with what reason."""
    return str((await ref.monitor().wait()).reason)


async def test_n143_a_crash_takes_the_linked_along(stage: Stage, isolation: Isolation) -> None:
    """With the same reason, along chains, in both directions."""
    for first in ("a", "c"):
        a, b = await pair(stage, isolation)
        c = await stage.system.start(Player, name="c", isolation=isolation, restart="temporary")
        await c.call(Player.link_to, b)
        monitors = [ref.monitor() for ref in (a, b, c)]
        stage.system.ref(first, Player).cast(Player.fail, ValueError("all of us"))
        assert {str((await monitor.wait()).reason) for monitor in monitors} == {"crash: ValueError: all of us"}
        await eventually(lambda: stage.system.names() == ["diary"], "the names are free")


async def test_n144_a_normal_end_is_a_message_at_most(stage: Stage, isolation: Isolation) -> None:
    """To one that traps; to others it is nothing."""
    a, b = await pair(stage, isolation, trap=True)
    c = await stage.system.start(Player, isolation=isolation)
    await c.call(Player.link_to, a)
    await a.stop()
    await stage.until(("exit", "a", "normal"))
    assert b.alive
    assert await c.call(Player.echo, 1) == 1


async def test_n145_a_kill_cannot_be_trapped(stage: Stage, isolation: Isolation) -> None:
    """The reason is `Killed`; a linked one that traps gets it as a message, and lives."""
    a, b = await pair(stage, isolation, trap=True)
    a.exit(Killed())
    await stage.until(("exit", "a", "killed"))
    monitor = b.monitor()
    b.exit(Killed())
    assert (await monitor.wait()).reason == Killed()


async def test_n146_one_that_ends_itself_as_killed_sends_a_message(stage: Stage, isolation: Isolation) -> None:
    """Which is trappable, unlike a kill."""
    a, b = await pair(stage, isolation, trap=True)
    a.cast(Player.leave, Killed())
    await stage.until(("exit", "a", "killed"))
    assert await b.call(Player.echo, 1) == 1


async def test_n147_exit_normal_is_for_oneself(stage: Stage, isolation: Isolation) -> None:
    """From another it is ignored, or a message; from oneself it ends the actor."""
    for trap in (False, True):
        ref = await stage.system.start(Player, trap=trap, isolation=isolation, restart="temporary")
        ref.exit(Normal())
        assert await ref.call(Player.echo, 1) == 1
        other = await stage.system.start(Player, name=f"other{trap}")
        await other.call(Player.send_exit, ref, Normal())
        assert await ref.call(Player.echo, 1) == 1
        if not trap:
            monitor = ref.monitor()
            ref.cast(Player.exit_myself, Normal())
            assert (await monitor.wait()).reason == Normal()
    await stage.until(("exit", None, "normal"), ("exit", "otherTrue", "normal"))
    assert ("exit", "otherFalse", "normal") not in stage.lines


async def test_n148_links_do_not_stack_and_oneself_is_nobody(stage: Stage, isolation: Isolation) -> None:
    """Twice linked, once unlinked: no link."""
    a, b = await pair(stage, isolation)
    await b.call(Player.link_to, a)
    await b.call(Player.link_to, b)
    await b.call(Player.unlink_from, a)
    await a.stop(Crash(ValueError("alone")))
    assert await b.call(Player.echo, 1) == 1
    monitor = b.monitor()
    await b.stop()
    assert (await monitor.wait()).reason == Normal()


async def test_n149_after_unlink_nothing_comes(stage: Stage, isolation: Isolation) -> None:
    """However soon the peer dies: 50 rounds; unlinked by either side."""
    b = await stage.system.start(Player, name="b", isolation=isolation, trap=True)
    for number in range(50):
        a = await stage.system.start(Player, name=f"a{number}", restart="temporary")
        if number % 2:
            await b.call(Player.link_to, a)
            await b.call(Player.unlink_from, a)
        else:
            a.link(b)
            a.unlink(b)
        a.kill()
    await b.call(Player.say, "end")
    await stage.until("end")
    assert stage.lines == ["end"]


async def test_n150_a_link_to_the_dead_is_an_exit_of_nobody(stage: Stage, isolation: Isolation) -> None:
    """A message to one that traps, the end of one that does not."""
    dead = await stage.system.start(Player, isolation=isolation)
    await dead.stop()
    stage.lines.clear()
    trapping = await stage.system.start(Player, trap=True, isolation=isolation)
    await trapping.call(Player.link_to, dead)
    await eventually(lambda: stage.lines, "the message")
    assert stage.lines[0][0] == "exit"
    assert "NoSuchActor" in stage.lines[0][2]
    other = await stage.system.start(Player, isolation=isolation, restart="temporary")
    monitor = other.monitor()
    other.cast(Player.link_to, dead)
    assert "NoSuchActor" in str((await monitor.wait()).reason)


async def test_n151_a_monitor_of_the_dead_fires_at_once_and_once(stage: Stage, isolation: Isolation) -> None:
    """With the reason of nobody."""
    dead = await stage.system.start(Player, isolation=isolation, name="dead")
    await dead.stop()
    watcher = await stage.system.start(Player, isolation=isolation)
    await watcher.call(Player.watch, dead)
    await eventually(lambda: stage.lines[1:], "it came")
    await stage.settle()
    kind, name, reason, _ = stage.lines[-1]
    assert (kind, name) == ("down", "dead")
    assert "NoSuchActor" in reason
    assert len(stage.lines) == 2  # the first is `dead`'s own terminate
    assert "NoSuchActor" in str((await dead.monitor().wait()).reason)


async def test_n152_each_monitor_fires_and_harms_nobody(stage: Stage, isolation: Isolation) -> None:
    """Two monitors, two messages; the watcher lives on, and its own end is nothing to the watched."""
    watched = await stage.system.start(Player, name="watched", isolation=isolation, restart="temporary")
    watcher = await stage.system.start(Player, isolation=isolation, restart="temporary")
    brief = await stage.system.start(Player, isolation=isolation, restart="temporary")
    await brief.call(Player.watch, watched)
    await brief.stop(Crash(ValueError("brief")))
    await watcher.call(Player.watch, watched)
    await watcher.call(Player.watch, watched)
    assert await watched.call(Player.echo, 1) == 1
    stage.lines.clear()
    watched.cast(Player.fail, ValueError("gone"))
    line = ("down", "watched", "crash: ValueError: gone", True)
    await eventually(lambda: stage.lines.count(line) == 2, "both")
    assert await watcher.call(Player.echo, 1) == 1
    await stage.settle()
    assert stage.lines.count(line) == 2


async def test_n153_demonitor_takes_back_what_waits(stage: Stage, isolation: Isolation) -> None:
    """A `Down` that is in the mailbox already, too."""
    watched = await stage.system.start(Player, isolation=isolation, restart="temporary")
    watcher = await stage.system.start(Player, isolation=isolation)
    await watcher.call(Player.watch, watched)
    watcher.cast(Player.sleep, 0.1)
    watcher.cast(Player.demonitor)
    monitor = watched.monitor()
    watched.kill()
    await monitor.wait()
    await watcher.call(Player.say, "end")
    await stage.until("end")
    assert stage.lines == ["end"]


async def test_n154_down_carries_the_exact_reason(stage: Stage, isolation: Isolation) -> None:
    """Its type and its text, from process to process; also details and groups."""
    for reason in (
        Normal(),
        Shutdown(("a", {"detail": 1})),
        Crash(ValueError("text", 2)),
        Crash(ExceptionGroup("two", [KeyError("k"), OSError(2, "no")])),
    ):
        ref = await stage.system.start(Player, name="x", isolation=isolation, restart="temporary")
        watcher = await stage.system.start(Player, isolation=isolation, restart="temporary")
        await watcher.call(Player.watch, ref)
        monitor = ref.monitor()
        ref.cast(Player.leave, reason)
        seen = (await monitor.wait()).reason
        if isinstance(reason, Crash):
            assert isinstance(seen, Crash)
            assert repr(seen.exception) == repr(reason.exception)
        else:
            assert seen == reason
        await stage.until(("down", "x", str(reason), True))


async def test_n155_the_name_is_free_when_the_end_is_seen(stage: Stage, isolation: Isolation) -> None:
    """By a monitor, by a link, by a caller: 40 rounds."""
    watcher = await stage.system.start(Player, trap=True, isolation=isolation)
    for number in range(40):
        ref = await stage.system.start(Player, name="x", isolation=isolation, restart="temporary")
        monitor = ref.monitor()
        if number % 4 == 0:
            await watcher.call(Player.watch, ref)
        with pytest.raises(Exception, match="ended"):
            await ref.call(Player.leave, Shutdown(number))
        assert stage.system.whereis("x") is None
        await monitor.wait()
        if number % 4 == 0:
            await stage.until(("down", "x", f"shutdown: {number}", True))


async def test_n156_trap_exit_can_be_turned_off(stage: Stage, isolation: Isolation) -> None:
    """And then it dies as others do."""
    ref = await stage.system.start(Player, trap=True, isolation=isolation, restart="temporary")
    ref.exit(Shutdown("first"))
    await stage.until(("exit", None, "shutdown: first"))
    await ref.call(Player.trap, False)
    monitor = ref.monitor()
    ref.exit(Shutdown("second"))
    assert (await monitor.wait()).reason == Shutdown("second")


async def test_n157_sigkill_of_a_process_is_seen_at_once(stage: Stage) -> None:
    """By monitors and by linked actors in tasks and in other processes; the reason is `Killed`."""
    victim = await stage.system.start(Player, name="victim", isolation="process", restart="temporary")
    local = await stage.system.start(Player, trap=True)
    remote = await stage.system.start(Player, trap=True, isolation="process")
    for ref in (local, remote):
        await ref.call(Player.link_to, victim)
        await ref.call(Player.watch, victim)
    monitor = victim.monitor()
    pid = victim.pid
    assert pid is not None
    assert pid != os.getpid()
    began = trio.current_time()
    os.kill(pid, signal.SIGKILL)
    assert (await monitor.wait()).reason == Killed()
    await eventually(lambda: len(stage.lines) == 4, "everybody knows")
    assert trio.current_time() - began < 10
    exits, downs = ("exit", "victim", "killed"), ("down", "victim", "killed", True)
    assert (stage.lines.count(exits), stage.lines.count(downs)) == (2, 2)


async def test_n158_messages_to_the_dead_vanish(stage: Stage, isolation: Isolation) -> None:
    """Without a word, in whatever way they are sent."""
    dead = await stage.system.start(Player, isolation=isolation)
    await dead.stop()
    stage.lines.clear()
    dead.send("x")
    dead.cast(Player.say, "x")
    dead.exit(Shutdown())
    dead.kill()
    sender = await stage.system.start(Player, isolation=isolation)
    await sender.call(Player.send_exit, dead, Shutdown())
    await sender.call(Player.later_to, 0.0, dead, "x")
    await stage.settle()
    assert stage.lines == []
