"""Checklist L: the life of a server."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest
import trio

from kathikon_actors import ActorDied, BadReturnValue, CallTimeout, UnknownMessage, actor_spec
from kathikon_actors.actors.recipe import Isolation
from supervisors import Crash, Exit, FailedToStart, Killed, Normal, Shutdown, StartTimeout, open_supervisor
from tests.actors.cast import Counter, Diary, Gate, Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually


async def test_l117_start_waits_for_init_and_no_longer_than_its_timeout(stage: Stage, isolation: Isolation) -> None:
    """The name is free after a start that took too long."""
    began = time.monotonic()
    await stage.system.start(Player, on_start="slow", seconds=0.1, name="slow", isolation=isolation)
    assert time.monotonic() - began >= 0.1
    with pytest.raises(FailedToStart) as caught:
        await stage.system.start(
            Player, on_start="slow", seconds=30.0, name="slower", isolation=isolation, start_timeout=0.1
        )
    assert isinstance(caught.value.reason, Crash)
    assert isinstance(caught.value.reason.exception, StartTimeout)
    assert stage.system.whereis("slower") is None
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("how", ["raise in __init__", "raise", "exit"])
async def test_l118_a_failed_init_leaves_no_name_and_no_terminate(stage: Stage, isolation: Isolation, how: str) -> None:
    """Whether it raised or exited; the cause comes along."""
    with pytest.raises(FailedToStart) as caught:
        await stage.system.start(Player, on_start=how, name="a", isolation=isolation)
    assert stage.system.whereis("a") is None
    if how == "exit":
        assert caught.value.reason == Shutdown("no need")
    else:
        assert isinstance(caught.value.__cause__, ValueError)
    await stage.system.start(Player, name="a", isolation=isolation)
    await stage.settle()
    assert stage.lines == []


async def test_l119_started_runs_before_any_message(stage: Stage, isolation: Isolation) -> None:
    """Also before one that `__init__` sent to itself."""
    await stage.system.start(Player, on_start="send to itself", isolation=isolation)
    await stage.until("from __init__")
    assert stage.lines == ["started", "from __init__"]


async def test_l120_start_returns_before_started_ends(stage: Stage, isolation: Isolation) -> None:
    """However long that takes."""
    gate = await stage.system.start(Gate, name="gate")
    ref = await stage.system.start(Player, on_start="wait at the gate", isolation=isolation)
    assert stage.lines == []
    await gate.call(Gate.open)
    assert await ref.call(Player.say, "then") == "then"
    await stage.until("then")
    assert stage.lines == ["started", "then"]


async def test_l121_the_idle_timeout_comes_once_and_only_in_silence(stage: Stage, isolation: Isolation) -> None:
    """Any message takes it back; 0 does not fire with a message waiting."""
    ref = await stage.system.start(Player, isolation=isolation)
    await ref.call(Player.wait_for_silence, 0.02)
    await stage.until("timeout")
    await stage.settle(0.08)
    assert stage.lines == ["timeout"]
    taken_back = False
    while not taken_back:  # a machine that is busy for so long makes the silence itself
        stage.lines.clear()
        began = time.monotonic()
        await ref.call(Player.wait_for_silence, 0.1)
        await ref.call(Player.echo, 1)
        taken_back = time.monotonic() - began < 0.1
        await stage.settle(0.15)
        await ref.call(Player.say, "all that came before")
        await stage.until("all that came before")
    assert stage.lines == ["all that came before"]
    ref.cast(Player.sleep, 0.05)
    ref.cast(Player.wait_for_silence, 0.0)
    ref.cast(Player.say, "waited already")
    await stage.until("waited already")
    await stage.settle()
    assert stage.lines == ["all that came before", "waited already"]
    await ref.call(Player.wait_for_silence, 0.0)
    await eventually(lambda: stage.lines[2:] == ["timeout"], "0 with nothing waiting fires")


async def test_l122_stop_with_a_reply_terminates_first(stage: Stage, isolation: Isolation) -> None:
    """When the caller has the reply, `terminate` is over."""
    ref = await stage.system.start(Player, on_start="slow end", seconds=0.05, isolation=isolation, restart="temporary")
    assert await ref.call(Player.stop_with_reply, Shutdown("done")) == "bye"
    assert await stage.system.ref("diary", Diary).call(Diary.read) == ["started", ("terminate", "shutdown: done")]
    await eventually(lambda: not ref.alive, "it has ended")


async def test_l123_a_method_that_raises_ends_the_server_and_fails_the_call(stage: Stage, isolation: Isolation) -> None:
    """`terminate` gets the error, and the object as it is then."""
    ref = await stage.system.start(Player, isolation=isolation, restart="temporary")
    with pytest.raises(ActorDied) as caught:
        await ref.call(Player.fail, ValueError("bad"))
    assert isinstance(caught.value.reason, Crash)
    assert isinstance(caught.value.__cause__, ValueError)
    assert str(caught.value.__cause__) == "bad"
    await stage.until(("terminate", "crash: ValueError: bad"))
    assert not ref.alive


async def test_l124_a_hook_that_returns_something_ends_the_server(stage: Stage, isolation: Isolation) -> None:
    """The reason carries what it returned."""
    ref = await stage.system.start(Player, isolation=isolation, restart="temporary")
    monitor = ref.monitor()
    ref.send(("return", 42))
    reason = (await monitor.wait()).reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, BadReturnValue)
    assert (reason.exception.hook, reason.exception.value) == ("handle_info", 42)
    await eventually(lambda: stage.lines, "terminate was called")
    assert stage.lines[0][0] == "terminate"


@pytest.mark.parametrize("trap", [False, True])
async def test_l125_a_supervisor_shutdown_terminates(stage: Stage, isolation: Isolation, trap: bool) -> None:
    """Always, with `Shutdown`: trapping decides only what links do (our decision 7)."""
    async with open_supervisor([actor_spec(Player, trap=trap, isolation=isolation)]):
        pass
    await stage.until(("terminate", "shutdown"))


async def test_l126_the_end_of_the_parent_is_a_stop_request(stage: Stage, isolation: Isolation) -> None:
    """For one that traps, with the parent's reason, `Normal` too; from a stranger it is a message."""
    parent = await stage.system.start(Player, isolation="task", restart="temporary", label="parent ")
    await parent.call(Player.start_linked, isolation, "child")
    child = stage.system.whereis("child")
    assert child is not None
    stranger = await stage.system.start(Player, name="stranger", restart="temporary", label="stranger ")
    await stranger.call(Player.link_to, child)
    await stranger.stop()
    await stage.until(("exit", "stranger", "normal"))
    assert child.alive
    await parent.stop()
    await stage.until(("terminate", "normal"))
    await eventually(lambda: not child.alive, "the child has ended")


async def test_l127_what_terminate_raises_is_the_reason(stage: Stage, isolation: Isolation) -> None:
    """It replaces the one that `terminate` got."""
    ref = await stage.system.start(Player, on_start="raise at the end", isolation=isolation, restart="temporary")
    monitor = ref.monitor()
    with pytest.raises(ActorDied, match="KeyError"):
        await ref.stop()
    reason = (await monitor.wait()).reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, KeyError)


async def test_l128_a_kill_runs_no_terminate(stage: Stage, isolation: Isolation) -> None:
    """Whether it is idle or at work."""
    for busy in (False, True):
        ref = await stage.system.start(Player, isolation=isolation, restart="temporary")
        if busy:
            ref.cast(Player.sleep, 30.0)
            await eventually(lambda ref=ref: ref.statistics().busy, "it is at work")  # type: ignore[misc]
        monitor = ref.monitor()
        ref.kill()
        assert (await monitor.wait()).reason == Killed()
    await stage.settle()
    assert stage.lines == []


async def test_l129_what_was_sent_before_the_stop_request_is_handled(stage: Stage, isolation: Isolation) -> None:
    """What comes after it is not."""
    gate = await stage.system.start(Gate, name="gate")
    async with open_supervisor([actor_spec(Player, name="a", isolation=isolation, shutdown=30.0)]) as tree:
        ref = stage.system.ref("a", Player)
        ref.cast(Player.wait_at_gate)
        for number in range(3):
            ref.cast(Player.say, number)
        await eventually(lambda: ref.statistics().length == 3, "it waits at the gate")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.terminate_child, "a")
            await eventually(lambda: ref.statistics().length == 4, "the stop request waits behind the three")
            ref.cast(Player.say, "too late")
            gate.cast(Gate.open)
            with pytest.raises(ActorDied) as caught:
                await ref.call(Player.say, "too late as well")
            assert caught.value.reason == Shutdown()
    await stage.until(("terminate", "shutdown"))
    assert stage.lines == [0, 1, 2, ("terminate", "shutdown")]


async def test_l130_unknown_messages_are_logged_unknown_calls_are_crashes(
    stage: Stage, isolation: Isolation, caplog: pytest.LogCaptureFixture
) -> None:
    """The default `handle_info` goes on; a call and a cast of what is no message end the server."""
    ref = await stage.system.start(Counter, 1, isolation=isolation, restart="temporary")
    if isolation == "task":
        with caplog.at_level(logging.WARNING, "kathikon_actors"):
            ref.send("what?")
            await ref.call(Counter.add, 1)
        assert "does not handle: 'what?'" in caplog.text
    else:  # the log of another process is its stderr
        ref.send("what?")
    assert await ref.call(Counter.add, 1) >= 2
    stranger: Any = ref
    with pytest.raises(ActorDied) as caught:
        await stranger.call(Player.echo, 1)
    assert isinstance(caught.value.__cause__, UnknownMessage)
    other: Any = await stage.system.start(Counter, isolation=isolation, restart="temporary")
    monitor = other.monitor()
    other.cast(Player.terminate, Normal())
    reason = (await monitor.wait()).reason
    assert isinstance(reason, Crash)
    assert isinstance(reason.exception, UnknownMessage)


async def test_l131_stop_ends_with_the_reason_and_reports_only_a_crash(stage: Stage, isolation: Isolation) -> None:
    """Stopping the dead, or for too short a time, is an error of the caller."""
    reports: list[object] = []
    stage.system.supervisor.subscribe(lambda event: event.context != "progress" and reports.append(event.reason))
    for reason in (Normal(), Shutdown("x")):
        ref = await stage.system.start(Player, isolation=isolation)
        monitor = ref.monitor()
        await ref.stop(reason)
        assert (await monitor.wait()).reason == reason
    assert reports == []
    ref = await stage.system.start(Player, isolation=isolation, restart="temporary")
    await ref.stop(Crash(ValueError("wanted")))
    await eventually(lambda: reports, "the report")
    assert [str(reason) for reason in reports] == ["crash: ValueError: wanted"]
    with pytest.raises(Exception, match="alive"):
        await ref.stop()
    ref = await stage.system.start(Player, isolation=isolation, restart="temporary")
    ref.cast(Player.sleep, 0.15)
    with pytest.raises(CallTimeout):
        await ref.stop(timeout=0.05)
    await eventually(lambda: not ref.alive, "the stop still happens")


async def test_l132_a_restarted_name_never_meets_itself(stage: Stage, isolation: Isolation) -> None:
    """200 kills; no start fails, and each life is another one."""
    failed: list[object] = []
    stage.system.supervisor.subscribe(lambda event: event.context == "start_error" and failed.append(event))
    ref = await stage.system.start(Counter, name="phoenix", isolation=isolation)
    lives = set()
    for _ in range(200):
        assert await ref.call(Counter.add, 1) == 1
        cell: Any = stage.system.registry.whereis("phoenix")
        lives.add(cell.uid)
        cell.kill()
        await eventually(lambda cell=cell: not cell.alive and ref.alive, "it is back")  # type: ignore[misc]
    assert failed == []
    assert len(lives) == 200


def test_exit_is_public() -> None:
    """What actors raise to end."""
    assert Exit(Normal()).reason == Normal()
