"""Checklist M: call and cast."""

from __future__ import annotations

import inspect
import math
import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kathikon_actors import ActorDied, ActorRef, CallTimeout, NoSuchActor, open_actor_system
from kathikon_actors.actors.recipe import Isolation
from supervisors import Crash, ExitReason, Killed, Normal, Shutdown
from tests.actors.cast import Gate, Player
from tests.actors.tools import Stage
from tests.support.waiting import eventually


async def test_m133_a_call_that_timed_out_does_no_harm(stage: Stage, isolation: Isolation) -> None:
    """The server goes on; its late reply is never taken for that of the next call."""
    ref = await stage.system.start(Player, isolation=isolation)
    for _ in range(20):
        with pytest.raises(CallTimeout) as caught:
            await ref.call(Player.later, timeout=0.005)
        assert (caught.value.method, caught.value.seconds) == ("later", 0.005)
        assert await ref.call(Player.answer, "late") == 1
        assert await ref.call(Player.echo, "mine") == "mine"
    gate = await stage.system.start(Gate, name="gate")
    with pytest.raises(CallTimeout):  # also where the server is at work on it still
        await ref.call(Player.wait_at_gate, "late", timeout=0.005)
    await gate.call(Gate.open)
    assert await ref.call(Player.echo, "mine") == "mine"


async def test_m134_each_call_gets_its_own_reply(stage: Stage, isolation: Isolation) -> None:
    """In whatever order they are answered."""
    ref = await stage.system.start(Player, isolation=isolation)
    answers: dict[int, Any] = {}

    async def ask(number: int) -> None:
        answers[number] = await (ref.call(Player.later) if number % 2 else ref.call(Player.echo, number))

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(ask, number)
        await eventually(lambda: len(answers) == 20, "those that are not deferred")
        assert await ref.call(Player.answer, "deferred") == 20
    assert answers == {number: "deferred" if number % 2 else number for number in range(40)}


async def test_m135_a_call_to_nobody_fails_at_once(stage: Stage, isolation: Isolation) -> None:
    """To the dead as to a name that nobody has; the error knows the nearest one."""
    dead = await stage.system.start(Player, isolation=isolation)
    await dead.stop()
    await stage.system.start(Player, name="player", isolation=isolation)
    began = time.monotonic()
    with pytest.raises(NoSuchActor):
        await dead.call(Player.echo, 1)
    with pytest.raises(NoSuchActor, match='Did you mean "player"'):
        await stage.system.ref("plaier", Player).call(Player.echo, 1)
    assert time.monotonic() - began < 4, "not by a timeout"


@pytest.mark.parametrize("reason", [Normal(), Shutdown("x"), Crash(ValueError("y")), Killed()], ids=str)
async def test_m136_the_end_of_the_server_ends_the_call(stage: Stage, isolation: Isolation, reason: ExitReason) -> None:
    """At once, with its reason, `Normal` too; also the calls that still waited."""
    ref = await stage.system.start(Player, isolation=isolation, restart="temporary")
    failed: list[ActorDied] = []

    async def ask(method: Any, *args: Any) -> None:
        with pytest.raises(ActorDied) as caught:
            await ref.call(method, *args, timeout=30.0)
        failed.append(caught.value)

    gate = await stage.system.start(Gate, name="gate")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, Player.later)
        await wait_all_tasks_blocked()
        ref.cast(Player.wait_at_gate)
        nursery.start_soon(ask, Player.leave, reason)
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, Player.echo, 1)
        await wait_all_tasks_blocked()
        began = time.monotonic()
        gate.cast(Gate.open)
    assert time.monotonic() - began < 10, "not by a timeout"
    assert [str(error.reason) for error in failed] == [str(reason)] * 3


async def test_m137_a_call_to_oneself_fails_at_once(stage: Stage, isolation: Isolation) -> None:
    """Instead of waiting for itself; by name as well."""
    began = time.monotonic()
    for name in (None, "me"):
        ref = await stage.system.start(Player, name=name, isolation=isolation)
        assert await ref.call(Player.call_myself) == "CallingSelf"
    assert time.monotonic() - began < 10


async def test_m138_a_cast_never_raises_and_never_waits(stage: Stage, isolation: Isolation) -> None:
    """To nobody, to the dead, to one that does not read."""
    dead = await stage.system.start(Player, isolation=isolation)
    await dead.stop()
    dead.cast(Player.echo, 1)
    stage.system.ref("nobody", Player).cast(Player.echo, 1)
    slow = await stage.system.start(Player, isolation=isolation, shutdown=0.0)
    slow.cast(Player.sleep, 30.0)
    began = time.monotonic()
    for number in range(2000):
        slow.cast(Player.echo, number)
    assert time.monotonic() - began < 20
    slow.kill()


async def test_m139_a_reply_may_come_later_from_anywhere_once(stage: Stage, isolation: Isolation) -> None:
    """After the method has returned, in another message; a second one does nothing."""
    ref = await stage.system.start(Player, isolation=isolation)
    replies: list[str] = []

    async def ask() -> None:
        replies.append(await ref.call(Player.later))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert await ref.call(Player.echo, "it handles others meanwhile")
        assert replies == []
        await eventually(lambda: ref.call(Player.answer, "now"), "one waits")
    assert replies == ["now"]
    assert await ref.call(Player.echo, 2) == 2


async def test_m140_a_cancelled_caller_leaves_nothing_behind(stage: Stage, isolation: Isolation) -> None:
    """The server goes on, its late reply is dropped, and nobody remembers the call: 200 rounds."""
    ref = await stage.system.start(Player, isolation=isolation)
    for number in range(200):
        with trio.move_on_after(0.0005) as scope:
            await ref.call(Player.sleep, 0.001, number)
        assert scope.cancel_called
    assert await ref.call(Player.echo, "still there") == "still there"
    with trio.move_on_after(0.01):
        await ref.call(Player.later)
    with pytest.raises(CallTimeout):
        await ref.call(Player.later, timeout=0.01)
    cell: Any = ref._cell
    assert not any(stage.system.deadlines._buckets.values())
    if isolation == "process":
        assert cell.wire.replies == {}


async def test_m141_messages_keep_their_order(stage: Stage, isolation: Isolation) -> None:
    """From one to another, calls, casts and sends mixed; also from one process to another."""
    receiver = await stage.system.start(Player, name="receiver", isolation=isolation)
    for kind in ("task", "process"):
        stage.lines.clear()
        sender = await stage.system.start(Player, isolation=kind)
        await sender.call(Player.burst, receiver, 50)
        await receiver.call(Player.echo, None)
        await eventually(lambda: len(stage.lines) == 105, "all are there")
        wanted: list[Any] = []
        for number in range(50):
            wanted += [("cast", number), ("send", number)]
            if number % 10 == 0:
                wanted.append(("call", number))
        assert stage.lines == wanted


async def test_m142_five_seconds_are_the_default_and_infinity_is_allowed(autojump_clock: MockClock) -> None:
    """On the clock of the loop; with real processes only the signature can be asked."""
    assert inspect.signature(ActorRef.call).parameters["timeout"].default == 5.0
    async with open_actor_system() as system:
        ref = await system.start(Player)
        began = trio.current_time()
        with pytest.raises(CallTimeout):
            await ref.call(Player.sleep, 7.0)
        assert trio.current_time() - began == pytest.approx(5.0, abs=1 / 64)
        assert await ref.call(Player.sleep, 1000.0, "at last", timeout=math.inf) == "at last"
