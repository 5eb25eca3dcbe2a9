"""A supervisor and its children in one process: the tree shows through, and dies and comes back as one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

import pytest
import trio

from kathikon_actors import ActorDied, CallTimeout, NoSuchActor, Subtree, Unpicklable, actor_spec, subtree_spec
from kathikon_actors.actors.host import Host
from kathikon_actors.actors.remote_cell import WireReply
from supervisors import (
    ChildSpec,
    Crash,
    FailedToStart,
    InvalidSpec,
    Killed,
    SupervisionError,
    TreeNode,
    open_dynamic_supervisor,
    open_supervisor,
    supervisor_spec,
)
from tests.actors.cast import Counter, Player
from tests.actors.tools import Stage
from tests.processes.tools import alive
from tests.support.waiting import eventually


def shape(node: TreeNode) -> object:
    """Give ids and states only."""
    return (node.id, node.state, [shape(child) for child in node.children])


async def forever() -> None:
    await trio.sleep_forever()


async def test_the_tree_view_shows_through_and_a_kill_restarts_it(stage: Stage) -> None:
    """One process for all of it; inner supervisors too; killing it restarts the whole subtree."""
    inner = [
        actor_spec(Player, name="x", label="x "),
        supervisor_spec("deeper", [actor_spec(Counter, 5, name="y"), ChildSpec("plain", forever)]),
    ]
    async with open_supervisor([subtree_spec("sub", inner, strategy="one_for_all", max_restarts=7)]) as tree:
        wanted = (
            "sub",
            "running",
            [("x", "running", []), ("deeper", "running", [("y", "running", []), ("plain", "running", [])])],
        )
        await eventually(lambda: shape(tree.tree().children[0]) == wanted, "the tree")
        assert "└── sub (one_for_all, 0/7 restarts) running" in tree.format_tree()
        assert "│   └── plain running" in tree.format_tree() or "    └── plain running" in tree.format_tree()
        handle = tree.which_child("sub").info
        assert isinstance(handle, Subtree)
        x, y = stage.system.ref("x", Player), stage.system.ref("y", Counter)
        assert x.pid == y.pid == handle.pid != os.getpid()
        assert await y.call(Counter.add, 1) == 6
        monitor = x.monitor()
        os.kill(handle.pid, signal.SIGKILL)
        assert (await monitor.wait()).reason == Killed()
        await eventually(lambda: y.alive and y.pid != handle.pid, "it is back")
        assert await y.call(Counter.add, 1) == 6
        await eventually(lambda: shape(tree.tree().children[0]) == wanted, "the tree again")
        assert tree.which_child("sub").restarts == 1
    assert not alive(handle.pid)
    await stage.until(("x terminate", "shutdown"))


async def test_what_is_sent_to_a_name_as_soon_as_it_is_held_arrives(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may read it together with the answer to its claim, before the actor's task goes on."""
    request = Host.request

    def and_cast(host: Host, what: str, payload: Any, reply: WireReply) -> None:
        request(host, what, payload, reply)
        if what == "claim":
            stage.system.ref("y", Counter).cast(Counter.add, 1)

    monkeypatch.setattr(Host, "request", and_cast)
    async with open_supervisor([subtree_spec("sub", [actor_spec(Counter, 5, name="y")])]):
        assert await stage.system.ref("y", Counter).call(Counter.add, 1) == 7


async def start_y_at_last() -> None:
    """Try until the name is free."""
    async with open_dynamic_supervisor() as tree:
        while True:
            with suppress(SupervisionError):
                await tree.start_child(actor_spec(Counter, 5, name="y", restart="temporary", start_timeout=0.2))
                await trio.sleep_forever()
            await trio.sleep(0.01)


async def test_a_name_whose_claim_is_answered_after_the_life_is_free_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The start was given up while the answer was on its way: the node must hear that nobody has the name."""
    request, answers, claims = Host.request, list[Callable[[], object]](), list[object]()

    class Late:
        def __init__(self, reply: WireReply) -> None:
            self.of, self.fail = reply, reply.fail

        def reply(self, value: Any) -> None:
            answers.append(partial(self.of.reply, value))

    def hold_first(host: Host, what: str, payload: Any, reply: WireReply) -> None:
        if what == "claim":
            claims.append(payload)
        request(host, what, payload, reply if what != "claim" or len(claims) > 1 else cast("WireReply", Late(reply)))

    async def y_answers() -> bool:
        try:
            return await stage.system.ref("y", Counter).call(Counter.add, 0) == 5
        except NoSuchActor:
            return False

    monkeypatch.setattr(Host, "request", hold_first)
    async with open_supervisor([subtree_spec("sub", [ChildSpec("starter", start_y_at_last)])]):
        await eventually(lambda: len(claims) > 1, "the first start was given up, and the next one finds the name held")
        answers[0]()
        await eventually(y_answers, "the name was free for a later one")


async def test_inside_it_supervision_is_as_everywhere(stage: Stage) -> None:
    """A crash inside restarts inside; names move to the new life; giving up is a shutdown for the one above."""
    inner = [actor_spec(Player, name="x", label="x "), actor_spec(Player, name="z", label="z ")]
    async with open_supervisor(
        [subtree_spec("sub", inner, strategy="one_for_all", max_restarts=2, max_seconds=60.0, restart="temporary")]
    ) as tree:
        pid = tree.which_child("sub").info.pid
        x, z = stage.system.ref("x", Player), stage.system.ref("z", Player)
        for number in (1, 2):
            with pytest.raises(ActorDied, match="again"):
                await x.call(Player.fail, ValueError("again"))
            restarts = [number, number]
            await eventually(
                lambda restarts=restarts: [c.total_restarts for c in tree.tree().children[0].children] == restarts,  # type: ignore[misc]
                "the tree tells",
            )
            await eventually(lambda: x.alive and z.alive, "both are back")
            assert await z.call(Player.echo, 1) == 1
        assert x.pid == pid
        ends: list[object] = []
        tree.subscribe(lambda event: ends.append((event.child.id, event.reason)))
        with pytest.raises(ActorDied, match="enough"):
            await x.call(Player.fail, ValueError("enough"))
        await eventually(lambda: not alive(pid), "it gave up")
        await eventually(lambda: tree.count_children().specs == 0, "a temporary one is forgotten")
        assert stage.system.names() == ["diary"]


async def test_a_subtree_that_cannot_start_says_why(stage: Stage) -> None:
    """The cause comes from the other process; what cannot be sent is refused before."""
    broken = subtree_spec("sub", [actor_spec(Player, on_start="raise")])
    with pytest.raises(FailedToStart) as caught:
        async with open_supervisor([broken]):
            pass
    assert isinstance(caught.value.reason, Crash)
    assert "no start" in "".join(getattr(caught.value.reason.exception, "__notes__", []))
    with pytest.raises(Unpicklable, match="children"):
        subtree_spec("sub", [actor_spec(Player, system=stage.system)])
    with pytest.raises(InvalidSpec, match="no such option"):
        subtree_spec("sub", [], strtegy="one_for_all")  # type: ignore[call-arg]


async def test_a_subtree_that_hangs_is_killed_in_time(stage: Stage) -> None:
    """Within its `shutdown`."""
    spec = subtree_spec("sub", [actor_spec(Player, name="x")], shutdown=0.2)
    async with open_supervisor([spec]) as tree:
        pid = tree.which_child("sub").info.pid
        stage.system.ref("x", Player).cast(Player.hang)
        with pytest.raises(CallTimeout):
            await stage.system.ref("x", Player).call(Player.echo, 1, timeout=0.05)
        with trio.fail_after(15):
            await tree.terminate_child("sub")
        await eventually(lambda: not alive(pid), "what was killed is gone")
        assert tree.which_child("sub").last_exit == Killed()
