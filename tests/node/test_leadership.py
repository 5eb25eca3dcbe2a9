"""One node of all leads; when it goes another one does."""

from __future__ import annotations

import pytest
import trio
import trio.lowlevel

from kathikon_actors import open_node
from kathikon_actors.node import leadership
from tests.node.workers import app
from tests.support.waiting import eventually

LEASE = 6.0


async def test_leadership_goes_on_when_the_leader_stops(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that stops hands it on at once: nobody has to wait for the end of its lease."""
    monkeypatch.setattr(leadership, "RESIGN_TIMEOUT", 20.0)
    async with open_node(app, store=postgres_dsn, name="second", lease=LEASE) as second:
        await eventually(lambda: second._state.leadership.leads, "the only node leads")
        async with open_node(app, store=postgres_dsn, name="first", lease=LEASE) as first:
            await trio.lowlevel.checkpoint()
            assert not first._state.leadership.leads
            term = second._state.leadership.term
            # A lease that does not run out while this goes on, as it might on a busy machine.
            assert await second._state.store.lead(second._state.the_membership(), 600.0) == term
            await second.supervisor.terminate_child("leadership")
            assert not second._state.leadership.leads
            assert await first._state.store.lead(first._state.the_membership(), LEASE) == term + 1
            await eventually(lambda: first._state.leadership.leads, "the other one knows that it leads")
            assert first._state.leadership.term == term + 1
            with trio.fail_after(10):
                await first._state.leadership.wait()
