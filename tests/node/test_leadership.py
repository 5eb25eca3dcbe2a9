"""One node of all leads; when it goes another one does."""

from __future__ import annotations

import trio
import trio.lowlevel

from kathikon_actors import open_node
from tests.node.workers import app
from tests.support.waiting import eventually


async def test_leadership_goes_on_when_the_leader_stops(postgres_dsn: str) -> None:
    """A node that stops hands it on at once: the lease is far longer than this test waits."""
    async with open_node(app, store=postgres_dsn, name="second", lease=1.5) as second:
        await eventually(lambda: second._state.leadership.leads, "the only node leads")
        async with open_node(app, store=postgres_dsn, name="first", lease=1.5) as first:
            await trio.lowlevel.checkpoint()
            assert not first._state.leadership.leads
            term = second._state.leadership.term
            second.supervisor.which_child("leadership")
            await second.supervisor.terminate_child("leadership")
            assert not second._state.leadership.leads
            await eventually(lambda: first._state.leadership.leads, "the other one leads", 2.0)
            assert first._state.leadership.term == term + 1
            with trio.fail_after(1):
                await first._state.leadership.wait()
