"""A parent that waits for its children is cancelled while the last of them ends: nobody waits in a circle."""

from __future__ import annotations

from copy import copy

import pytest
import trio

from kathikon_actors.jobs import machine
from kathikon_actors.jobs.actions import Change
from kathikon_actors.jobs.errors import InvalidState, JobNotFound
from kathikon_actors.jobs.record import Record
from tests.store.conftest import Backend
from tests.store.test_graph import Desk, callback, ended, member, new_batch
from tests.store.test_graph_races import at_once, end_all, two
from tests.support.records import new_record, now_us

ROUNDS = 200


@pytest.fixture(params=["postgres"])
def place(request: pytest.FixtureRequest) -> str:
    """Real connections only."""
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.mark.parametrize("parent_is", ["running", "running, its batch sealed", "waiting"])
async def test_a_parent_is_cancelled_while_its_last_child_ends(backend: Backend, parent_is: str) -> None:
    """Both commit at once; the batch resolves once, with one callback, and the parent has one end."""
    a, b = await two(backend)
    ends: set[str] = set()
    for _ in range(ROUNDS):
        parent = new_record()
        await a.insert(parent)
        batch = new_batch(parent_id=parent.id, on_complete=callback("complete"))
        await a.store.batches.open(batch)
        last = member(batch)
        await b.insert(last)
        if parent_is != "running":
            await a.store.batches.seal(batch.id)
        if parent_is == "waiting":
            await a.write(waiting(parent))
        with trio.fail_after(20):
            await at_once(
                lambda: cancel(a, parent, waits=parent_is == "waiting"),  # noqa: B023
                lambda: b.write(ended(last)),  # noqa: B023
            )
        state = await a.state(parent)
        assert state in ({"cancelled", "completed"} if parent_is == "waiting" else {"cancelled"})
        ends.add(state)
        assert (await a.row(parent)).history.count(b'"%b"' % state.encode()) == 2  # its event, and its new state
        stored = await a.store.batches.get(batch.id)
        assert stored is not None and stored.state == "succeeded"
        claimed = await a.store.claim(a.membership, ["default"], 10)
        assert [record.worker for record in claimed] == ["complete"]
        await a.write(ended(claimed[0]))
        await end_all(a)
    assert ends


def waiting(parent: Record) -> Record:
    run = copy(parent)
    run.fence = 0
    machine.begin(run, now_us())
    machine.wait(run, now_us(), None)
    return run


async def cancel(desk: Desk, parent: Record, *, waits: bool) -> None:
    """By its node while it runs, by an operator while nobody owns it."""
    if not waits:
        await desk.write(ended(parent, "cancelled"))
        return
    try:
        await desk.store.change(parent.id, Change("cancel", now_us()))
    except (InvalidState, JobNotFound):
        assert await desk.state(parent) == "completed"
