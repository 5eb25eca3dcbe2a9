"""What is asked of jobs that another node owns: carried out there, once, whatever happens in between."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import trio

from kathikon_actors import (
    App,
    Client,
    InvalidState,
    Job,
    JobNotFound,
    Node,
    OwnedElsewhere,
    Queue,
    StoreUnavailable,
    SyncClient,
    constant,
    open_node,
    worker,
)
from kathikon_actors.jobs.actions import Change
from kathikon_actors.node import asking
from kathikon_actors.store.connection import open_loop
from kathikon_actors.store.postgres import PostgresStore
from tests.node import workers
from tests.support.records import new_record, now_us
from tests.support.rounds import rounds
from tests.support.waiting import eventually, lines_of

WAIT = 20.0


@worker(backoff=constant(3600))
def fail_for_long() -> None:
    raise ValueError("no")


app = App(queues=[Queue("default"), Queue("wide", concurrency=8)], workers=[*workers.WORKERS, fail_for_long])
other_app = App(queues=[Queue("elsewhere")], workers=[workers.add])


def events(job: Job, event: str) -> int:
    return [entry["event"] for entry in job.history].count(event)


async def failed(node: Node) -> UUID:
    """A job of this node that is retryable in an hour."""
    job = await node.insert(fail_for_long.new())

    async def is_retryable() -> bool:
        return (await node.get(job.id)).state == "retryable"

    await eventually(is_retryable, "it failed")
    return job.id


async def test_another_node_and_a_client_change_what_a_node_owns(postgres_dsn: str, tmp_path: Path) -> None:
    """Waiting, running and failed jobs; the answer is the committed job, or what its owner says against it."""
    path = tmp_path / "marks"
    async with (
        open_node(app, store=postgres_dsn, name="owner", shutdown_timeout=1.0) as owner,
        open_node(other_app, store=postgres_dsn, name="other") as other,
        Client(postgres_dsn) as client,
    ):
        for asker in (other, client):
            later = await owner.insert(workers.add.new(1), schedule_in=3600)
            assert (await asker.cancel(later.id)).state == "cancelled"
            given_up = await owner.insert(workers.add.new(1), schedule_in=3600)
            assert (await asker.discard(given_up.id)).state == "discarded"
            path.write_text("")
            running = await owner.insert(workers.hold_async.new(str(path), 600))
            await eventually(lambda: lines_of(path), "it runs")
            stopped = await asker.cancel(running.id)
            assert stopped.state == "cancelled" and events(stopped, "cancelled") == 1
            again = await asker.retry(await failed(owner), delay=3600)
            assert (again.state, events(again, "retried"), again.node) == ("scheduled", 1, "owner")
            with pytest.raises(InvalidState, match="it is scheduled|is scheduled, retry is not possible"):
                await asker.retry(again.id)
            with pytest.raises(InvalidState, match="rerun is not possible"):
                await asker.rerun(again.id)


def test_plain_code_changes_what_a_node_owns(postgres_dsn: str) -> None:
    """By the same names."""

    async def serve(started: Any, stop: Any) -> None:
        async with open_node(app, store=postgres_dsn, name="owner") as owner:
            started.append(await owner.insert(workers.add.new(1), schedule_in=3600))
            await eventually(lambda: stop, "the test is done")

    started: list[Job] = []
    stop: list[bool] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, started, stop)
            await eventually(lambda: started, "the node runs")
            await trio.to_thread.run_sync(ask)
            stop.append(True)

    def ask() -> None:
        with SyncClient(postgres_dsn) as client:
            assert client.cancel(started[0].id).state == "cancelled"

    trio.run(main)


def test_a_client_on_asyncio_asks_too(postgres_dsn: str) -> None:
    """It waits on its own loop; nobody answers here, so it is told who owns the job."""
    before = asking.ANSWER_TIMEOUT
    asking.ANSWER_TIMEOUT = 0.05  # type: ignore[misc]
    try:
        job_id = trio.run(left_behind, postgres_dsn, "away", 60.0)

        async def main() -> None:
            async with Client(postgres_dsn) as client:
                with pytest.raises(OwnedElsewhere, match='live node "away"'):
                    await client.cancel(job_id)

        asyncio.run(main())
    finally:
        asking.ANSWER_TIMEOUT = before  # type: ignore[misc]


async def left_behind(dsn: str, node: str, lease: float) -> UUID:
    """A job that a node of this name owns, which is gone without a word: its lease runs on."""
    record = new_record(worker="add", args=b'{"a":1}', state="scheduled", scheduled_at=now_us() + 3_600_000_000)
    async with open_loop():
        store = PostgresStore(dsn)
        await store.open()
        membership = await store.join(node, lease)
        await store.commit_inserts(membership, 1, [record], may_conflict=False)
        await store.close()
    return UUID(bytes=record.id)


async def test_a_node_that_was_away_carries_it_out_when_it_is_back(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who asked was told that the node has not answered; what was asked for happens all the same."""
    job_id = await left_behind(postgres_dsn, "owner", 60.0)
    monkeypatch.setattr(asking, "ANSWER_TIMEOUT", 0.05)
    async with Client(postgres_dsn) as client:
        with pytest.raises(OwnedElsewhere, match='live node "owner", which has not answered yet'):
            await client.cancel(job_id)
        assert (await client.get(job_id)).state == "scheduled"
        async with open_node(app, store=postgres_dsn, name="owner"):
            assert (await client.wait(job_id, WAIT)).state == "cancelled"
        assert events(await client.get(job_id), "cancelled") == 1


async def test_who_takes_the_jobs_over_carries_it_out(postgres_dsn: str) -> None:
    """The owner never comes back: the call waits until its lease has run out, then another node does it."""
    job_id = await left_behind(postgres_dsn, "owner", 1.0)
    async with open_node(app, store=postgres_dsn, name="heir", lease=1.0), Client(postgres_dsn) as client:
        assert (await client.cancel(job_id)).state == "cancelled"


async def test_without_any_node_the_one_who_asks_carries_it_out(postgres_dsn: str) -> None:
    """As soon as the owner's lease has run out."""
    job_id = await left_behind(postgres_dsn, "owner", 1.2)
    async with Client(postgres_dsn) as client:
        done = await client.cancel(job_id)
        assert (done.state, done.node, events(done, "cancelled")) == ("cancelled", None, 1)


async def test_a_command_that_is_tried_again_is_done_once(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its change was committed and its answer was lost, several times: one line of history."""
    give, lost = PostgresStore.give_answers, [3]

    async def lose(self: PostgresStore, answers: Any) -> None:
        if lost[0]:
            lost[0] -= 1
            raise StoreUnavailable("cut")
        await give(self, answers)

    async with open_node(app, store=postgres_dsn, name="owner") as owner, Client(postgres_dsn) as client:
        job_id = await failed(owner)
        monkeypatch.setattr(PostgresStore, "give_answers", lose)
        await client.retry(job_id, delay=3600)
        assert lost == [0]
        again = await failed(owner)
        lost[0] = 1_000_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(client.retry, again, delay=3600))
            await eventually(lambda: lost[0] < 999_998, "it is carried out, and its answer was lost several times")
            nursery.cancel_scope.cancel()
        await owner.supervisor.terminate_child("commands")
        lost[0] = 0
        await owner.supervisor.restart_child("commands")
        await eventually(lambda: answered(postgres_dsn), "both are answered")
        for each in (job_id, again):
            job = await client.get(each)
            assert (job.state, events(job, "retried")) == ("scheduled", 1)
        answers = await client._operator().read_answers(range(1, 10))
        assert set(answers.values()) == {"done"}  # found done, not found impossible


async def answered(dsn: str) -> bool:
    import asyncpg
    import trio_asyncio

    connection = await trio_asyncio.aio_as_trio(asyncpg.connect)(dsn)
    open_ = await trio_asyncio.aio_as_trio(connection.fetchval)(
        "SELECT count(*) FROM kathikon.commands WHERE answered_at IS NULL"
    )
    await trio_asyncio.aio_as_trio(connection.close)()
    return bool(open_ == 0)


async def test_a_command_for_a_job_that_was_purged_meanwhile_is_answered(postgres_dsn: str) -> None:
    """There is nothing to change any more, and the one who asked is told so."""
    async with open_node(app, store=postgres_dsn, name="owner"), Client(postgres_dsn) as client:
        number = await client._operator().ask(new_record().id, Change("cancel", now_us()))
        answers: dict[int, str] = {}

        async def is_answered() -> bool:
            answers.update(await client._operator().read_answers([number]))
            return bool(answers)

        await eventually(is_answered, "it is answered")
        assert answers == {number: "not found"}


async def test_progress_is_told_from_outside(postgres_dsn: str, tmp_path: Path) -> None:
    """Of a job that runs on a node, of one that nobody owns; not of one that has ended."""
    path = tmp_path / "marks"
    async with (
        open_node(app, store=postgres_dsn, name="owner", shutdown_timeout=1.0) as owner,
        open_node(other_app, store=postgres_dsn, name="other") as other,
        Client(postgres_dsn) as client,
    ):
        running = await owner.insert(workers.hold_async.new(str(path), 600))
        await eventually(lambda: lines_of(path), "it runs")
        for teller, percent in ((client, 40), (other, 41), (owner, 42)):
            await teller.report_progress(running.id, percent)
            assert (await owner.get(running.id)).progress == percent
            assert (await client.get(running.id)).progress == percent
        free = await client.insert("nobody", {}, queue="nowhere")
        await client.report_progress(free.id, 7)
        assert (await client.get(free.id)).progress == 7
        await owner.cancel(running.id)
        for teller in (client, owner):
            with pytest.raises(InvalidState, match="cancelled"):
                await teller.report_progress(running.id, 50)
            with pytest.raises(JobNotFound):
                await teller.report_progress(UUID(int=1), 50)
            for wrong in (-1, 101, 1.5, True):
                with pytest.raises(ValueError, match="progress is"):
                    await teller.report_progress(free.id, wrong)  # type: ignore[arg-type]


async def test_two_that_cancel_at_once_write_one_line(postgres_dsn: str) -> None:
    """100 rounds of two clients and one owner: both are told it is cancelled, and it was cancelled once."""
    async with (
        open_node(app, store=postgres_dsn, name="owner") as owner,
        Client(postgres_dsn) as one,
        Client(postgres_dsn) as two,
    ):
        for _ in range(rounds(100)):
            job = await owner.insert(workers.add.new(1), schedule_in=3600)
            told: list[str] = []

            async def cancel(client: Client, job_id: UUID, told: list[str] = told) -> None:
                try:
                    told.append((await client.cancel(job_id)).state)
                except InvalidState as error:
                    told.append(error.old)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel, one, job.id)
                nursery.start_soon(cancel, two, job.id)
            assert told == ["cancelled", "cancelled"]
            assert events(await one.get(job.id), "cancelled") == 1


async def test_cancel_from_elsewhere_against_the_end_of_the_run_has_one_winner(postgres_dsn: str) -> None:
    """200 rounds: what the caller is told is what the store holds."""
    ends = {"cancelled": 0, "completed": 0}
    async with open_node(app, store=postgres_dsn, name="owner") as owner, Client(postgres_dsn) as client:
        for number in range(rounds(200)):
            job = await owner.insert(workers.add_async.new(number))
            try:
                told = (await client.cancel(job.id)).state
            except InvalidState as error:
                told = error.old
            stored = await client.wait(job.id, WAIT)
            assert stored.state == told
            assert events(stored, "cancelled") + events(stored, "completed") == 1
            ends[told] += 1
    assert sum(ends.values()) == rounds(200)


async def test_an_unknown_job_is_not_found_anywhere(postgres_dsn: str) -> None:
    """No command is stored for it."""
    async with open_node(app, store=postgres_dsn, name="owner") as owner, Client(postgres_dsn) as client:
        for asker in (owner, client):
            with pytest.raises(JobNotFound):
                await asker.cancel(UUID(int=1))
