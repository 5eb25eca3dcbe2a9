"""Encrypted jobs on real nodes: nothing readable is stored, nothing runs without its key."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from kathikon_actors import (
    App,
    Batch,
    CannotOpen,
    Client,
    Cron,
    Discard,
    Fail,
    InvalidJob,
    Job,
    Limit,
    Node,
    Queue,
    SyncClient,
    Unique,
    Worker,
    generate_key,
    open_node,
    worker,
)
from kathikon_actors.telemetry import Event, LimitDecision
from tests.node.conftest import Place
from tests.support.waiting import eventually

WAIT = 30.0
SECRET = "4111-1111"
OLD, NEW = generate_key(), generate_key()


@worker(max_attempts=1)
def pay(job: Job, card: str, how: str = "ok") -> Any:
    assert job.args["card"] == card
    if how == "raise":
        raise ValueError(f"no money on {card}")
    if how == "discard":
        return Discard(f"stolen: {card}")
    return {"receipt": f"for {card}", "meta": job.meta}


@worker(max_attempts=1)
async def pay_async(job: Job, card: str) -> str:
    await trio.lowlevel.checkpoint()
    return f"for {card}"


@worker(encrypt=False)
def open_book(card: str) -> str:
    return card


@worker(max_attempts=1, concurrency=Limit(1, by="args.card"))
def pay_in_turn(card: str) -> Any:
    return {f"for {card}": object()}


@worker(max_attempts=1, concurrency=Limit(1, by="args.card"))
async def pay_in_turn_async(card: str) -> Any:
    await trio.lowlevel.checkpoint()
    return {f"for {card}": object()}


def tell_all(_attempt: int, error: BaseException) -> float:
    raise ValueError(f"no backoff for {error}")


@worker(max_attempts=1, backoff=tell_all)
async def pay_with_backoff(card: str) -> Any:
    await trio.lowlevel.checkpoint()
    return Fail(card)


class Mourned(Worker):
    max_attempts = 1

    def perform(self, job: Job, card: str, path: str) -> None:
        raise ValueError(card)

    def on_discard(self, job: Job) -> None:
        Path(job.args["path"]).write_text(f"{job.args['card']} {job.errors[0]['message']}")


@worker
def gather(job: Job) -> list[Any]:
    return list(job.dependency_results.values())


WORKERS = [pay, pay_async, pay_in_turn, pay_in_turn_async, pay_with_backoff, open_book, Mourned, gather]


def app_with(*keys: str, **more: Any) -> App:
    return App([Queue("default")], workers=WORKERS, encryption_keys=keys, **more)


@pytest.fixture
async def node(place: Place) -> AsyncIterator[Node]:
    async with place.open(app_with(NEW), [NEW]) as node:
        yield node


async def run(node: Node, new: Any) -> Job:
    job = await node.insert(new)
    return await node.wait(job.id, timeout=WAIT)


@pytest.mark.parametrize("job", [pay.new(SECRET), pay_async.new(SECRET)])
async def test_an_encrypted_job_runs_as_any_other(node: Node, job: Any) -> None:
    """And is read in plain by whoever has the key."""
    inserted = await node.insert(job)
    assert inserted.args == {"card": SECRET}
    done = await node.wait(inserted.id, timeout=WAIT)
    assert done.state == "completed"
    assert SECRET in str(done.result)
    assert (await node.get(done.id)).to_dict()["args"] == {"card": SECRET}
    again = await node.rerun(done.id)
    assert (await node.wait(again.id, timeout=WAIT)).state == "completed"


@pytest.mark.one_node
@pytest.mark.parametrize("how", ["raise", "discard"])
async def test_words_of_errors_are_encrypted_too(node: Node, how: str) -> None:
    """Message and traceback; the kind stays readable, and the history says nothing."""
    heard: list[Event] = []
    node.subscribe(heard.append)
    done = await run(node, pay.new(SECRET, how=how))
    assert done.state == "discarded"
    assert SECRET in done.errors[0]["message"]
    raw = done._record
    assert SECRET.encode() not in raw.args + raw.errors + raw.history
    assert done.errors[0]["kind"] in ("exception", "discard")
    await eventually(lambda: len(heard) > 3, "told")
    assert not any(SECRET in str(event.to_dict()) for event in heard)


async def test_on_discard_and_dependants_see_it_in_plain(node: Node, tmp_path: Path) -> None:
    """Wherever a job's code looks."""
    path = tmp_path / "mourned"
    await run(node, Mourned.new(card=SECRET, path=str(path)))
    assert path.read_text() == f"{SECRET} ValueError: {SECRET}"
    parent = await node.insert(pay_async.new(SECRET))
    child = await node.insert(gather.new().options(depends_on=[parent]))
    assert (await node.wait(child.id, timeout=WAIT)).result == [f"for {SECRET}"]


async def test_worker_and_call_say_what_is_encrypted(node: Node) -> None:
    """Not at all, the meta too, and never by halves."""
    assert (await run(node, open_book.new(SECRET)))._record.result == f'"{SECRET}"'.encode()
    plain = await node.insert(pay.new(SECRET).options(encrypt=False))
    assert SECRET.encode() in plain._record.args
    both = await run(node, pay.new(SECRET).options(encrypt="meta", meta={"who": SECRET}))
    assert both.meta == {"who": SECRET}
    assert both.result["meta"] == {"who": SECRET}
    assert SECRET.encode() not in both._record.meta
    for bad in (pay.new(SECRET).options(encrypt="all"), pay.new("x").options(unique=Unique(replace=("args",)))):
        with pytest.raises(InvalidJob):
            await node.insert(bad)
    with pytest.raises(InvalidJob, match="callback"):
        async with node.open_batch(Batch(on_complete=pay.new(SECRET))):
            raise AssertionError("it opens")
    with pytest.raises(InvalidJob, match=r"kathikon\.sealed"):
        await node.insert("open_book", {"card": "x"}, meta={"kathikon.sealed": "x"}, encrypt=None)


@pytest.mark.one_node
async def test_filtering_by_encrypted_arguments_is_refused_and_says_why(node: Node) -> None:
    """By what is in plain it goes on."""
    for call in (node.list, node.count_by, node.cancel_by, node.purge_by):
        with pytest.raises(ValueError, match="encrypted.*worker, queue, state, tags or meta"):
            await call(args={"card": SECRET})
    assert await node.count_by(worker="open_book", args={"card": SECRET}) == 0
    await node.insert(pay.new(SECRET).options(tags=["t"], schedule_in=60))
    assert await node.count_by(tags=["t"]) == 1


async def _everything(raw: Any) -> str:
    tables = ("jobs", "finished_jobs", "crons")
    rows = [await raw.fetch(f"SELECT t::text FROM kathikon.{table} t") for table in tables]
    return "\n".join(row[0] for found in rows for row in found)


async def test_nothing_readable_is_stored_and_no_key_is_shown(
    postgres_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in the database, in no log, in no title or environment of a process."""
    caplog.set_level(logging.DEBUG)
    app = app_with(NEW, crons=[Cron("pay day", "@yearly", pay.new(SECRET))])
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        await run(node, pay.new(SECRET))
        await run(node, pay.new(SECRET, how="raise"))
        await node.insert(pay.new(SECRET).options(schedule_in=60, unique=Unique()))
        await eventually(lambda: listed(node), "declared")
        ran = await node.crons.run_now("pay day")
        assert (await node.wait(ran.id, timeout=WAIT)).args == {"card": SECRET}
        for pid in [os.getpid(), *(pid for pids in node.worker_pids().values() for pid in pids)]:
            assert NEW.encode() not in shown_of(pid)
        for text in (repr(app.__dict__), repr(node), node.format_tree(), repr(app.keyring)):
            assert NEW not in text
            assert repr(app.keyring.raw[0]) not in text  # type: ignore[union-attr]
    async with Client(postgres_dsn) as client:
        stored = await client._run(_everything)
        assert "kathikon.sealed" in stored
        assert SECRET not in stored
        assert NEW not in stored
        assert (await client.list(worker="pay"))[0].to_dict()["args"] == {"encrypted": True}
        with pytest.raises(CannotOpen, match="no open node or client"):
            _ = (await client.list(worker="pay"))[0].args
    assert NEW not in caplog.text
    assert SECRET not in caplog.text


def shown_of(pid: int) -> bytes:
    return b"".join((Path(f"/proc/{pid}") / name).read_bytes() for name in ("cmdline", "comm", "environ"))


async def listed(node: Node) -> bool:
    return len(await node.crons.list()) == 1


@pytest.mark.parametrize("keys", [(), (OLD,)])
async def test_a_job_whose_key_is_missing_or_wrong_is_not_run(postgres_dsn: str, keys: tuple[str, ...]) -> None:
    """It fails closed, with a word about why; with the key it runs."""
    async with Client(postgres_dsn, encryption_keys=[NEW]) as client:
        jobs = [
            await client.insert(kind.new(SECRET).options(max_attempts=1, queue="default")) for kind in (pay, pay_async)
        ]
    async with open_node(app_with(*keys), store=postgres_dsn, name="n1") as node:
        for job in jobs:
            failed = await node.wait(job.id, timeout=WAIT)
            assert (failed.state, failed.errors[0]["kind"]) == ("discarded", "encryption")
            assert "decrypted" in failed.errors[0]["message"]
            assert failed.result is None
    async with open_node(app_with(NEW, *keys), store=postgres_dsn, name="n1") as node:
        await node.retry(jobs[0].id)
        assert (await node.wait(jobs[0].id, timeout=WAIT)).state == "completed"


async def test_keys_are_rotated(store_url: str) -> None:
    """Everything is sealed anew; then the old key is not needed any more."""
    if store_url == "memory:":
        async with open_node(app_with(NEW), store=store_url, name="n1") as node:
            await run(node, pay.new(SECRET))
            assert (await node.rotate_keys()).jobs == 0
        return
    crons = [Cron("yearly", "@yearly", pay.new(SECRET))]
    async with open_node(app_with(OLD, crons=crons), store=store_url, name="n1") as node:
        done = [await run(node, pay.new(SECRET, how=how)) for how in ("ok", "raise")]
        later = await node.insert(pay.new(SECRET).options(schedule_in=3600))
        parent = await run(node, pay_async.new(SECRET))
        await eventually(lambda: listed(node), "declared")
    async with Client(store_url, encryption_keys=[NEW, OLD]) as client:
        rotated = await client.rotate_keys()
        assert (rotated.jobs, rotated.crons, rotated.unreadable, rotated.pending) == (4, 1, 0, 0)
        assert (await client.rotate_keys()).jobs == 0
    async with Client(store_url, encryption_keys=[NEW]) as client:
        assert SECRET in (await client.get(done[1].id)).errors[0]["message"]
        assert SECRET in str((await client.get(done[0].id)).result)
        assert (await client.get(later.id)).args == {"card": SECRET}
        assert (await client.get(parent.id)).result == f"for {SECRET}"
        ran = await client.crons.run_now("yearly")
        assert (await client.get(ran.id)).args == {"card": SECRET}
    with pytest.raises(Exception, match="encryption_keys"):
        async with Client(store_url) as client:
            await client.rotate_keys()


async def test_a_change_of_keys_leaves_what_was_changed_of_cron_entries_by_hand(postgres_dsn: str) -> None:
    """A declaration is the same whichever key it is encrypted with."""
    crons = [Cron("monthly", "@monthly", pay.new(SECRET)), Cron("yearly", "@yearly", pay.new(SECRET))]
    async with open_node(app_with(OLD, crons=crons), store=postgres_dsn, name="n1") as node:
        await eventually(lambda: lists(node, ["@monthly", "@yearly"]), "declared")
        await node.crons.change("monthly", expression="@weekly")
    for number, keys in enumerate([(NEW, OLD), (NEW,)]):
        name = f"sign {number}"
        more = [*crons, Cron(name, "@hourly", pay.new(SECRET))]
        async with open_node(app_with(*keys, crons=more), store=postgres_dsn, name="n1") as node:
            await eventually(lambda: lists(node, ["@weekly", "@hourly", "@yearly"]), "the app's entries are declared")
            await node.rotate_keys()
            await node.crons.remove(name)


async def lists(node: Node, expressions: list[str]) -> bool:
    return [entry.expression for entry in await node.crons.list()] == expressions


async def test_clients_insert_and_read_encrypted_jobs(postgres_dsn: str) -> None:
    """With the app's keys; the plain one too."""
    async with open_node(app_with(NEW), store=postgres_dsn, name="n1"):

        def plain() -> str:
            with SyncClient(postgres_dsn, encryption_keys=[NEW]) as client:
                job = client.insert(pay_async.new(SECRET).options(queue="default"))
                return str(client.wait(job.id, timeout=WAIT).result)

        assert await trio.to_thread.run_sync(plain) == f"for {SECRET}"


@pytest.mark.parametrize("how", ["complete", "fail", "discard"])
async def test_what_an_external_runner_says_of_an_encrypted_job_is_encrypted(postgres_dsn: str, how: str) -> None:
    """Result and errors are stored sealed; a runner without the key cannot even say it."""
    async with Client(postgres_dsn, encryption_keys=[NEW]) as client:
        job = await client.insert(pay.new(SECRET), queue="outside", max_attempts=2)
        (claimed,) = await client.claim("outside")
        assert claimed.args["card"] == SECRET
        match how:
            case "complete":
                done = await client.complete(claimed, {"receipt": f"for {SECRET}"})
                assert done.result == {"receipt": f"for {SECRET}"}
            case "fail":
                done = await client.fail(claimed, f"no money on {SECRET}")
            case _:
                done = await client.discard(claimed, f"stolen: {SECRET}")
        opened = await client.get(job.id)
        assert opened.state == done.state
        if how != "complete":
            assert SECRET in opened.errors[0]["message"]
    await nothing_is_readable(postgres_dsn)
    async with Client(postgres_dsn) as stranger:
        shown = (await stranger.get(job.id)).to_dict()
        assert SECRET not in str(shown)


async def test_a_runner_without_the_key_is_refused_and_keeps_its_claim(postgres_dsn: str) -> None:
    """Nothing of an encrypted job is stored in plain."""
    async with Client(postgres_dsn, encryption_keys=[NEW]) as client:
        job = await client.insert(pay.new(SECRET), queue="outside")
    async with Client(postgres_dsn) as stranger:
        (claimed,) = await stranger.claim("outside")
        with pytest.raises(InvalidJob, match="encryption_keys"):
            await stranger.complete(claimed, SECRET)
        with pytest.raises(InvalidJob, match="encryption_keys"):
            await stranger.fail(claimed, SECRET)
        assert await stranger.status(job.id) == "executing"
        await stranger.snooze(claimed, 60)
    await nothing_is_readable(postgres_dsn)


@pytest.mark.parametrize("kind", [pay_in_turn, pay_in_turn_async])
async def test_the_key_of_a_limit_and_the_note_of_a_result_tell_nothing(
    postgres_dsn: str, caplog: pytest.LogCaptureFixture, kind: Any
) -> None:
    """Not in the store, in no event, in no log: the key is a hash, and the path into what is no JSON is not told."""
    caplog.set_level(logging.DEBUG)
    heard: list[Event] = []
    async with open_node(app_with(NEW), store=postgres_dsn, name="n1") as node:
        node.subscribe(heard.append)
        await node.pause("default")
        jobs = [await node.insert(kind.new(SECRET)) for _ in range(3)]
        await node.resume("default")
        done = [await node.wait(job.id, timeout=WAIT) for job in jobs]
        assert [(job.state, job.result) for job in done] == [("completed", None)] * 3
        assert all("encrypted" in str(list(job.history)) for job in done)
        await eventually(lambda: any(isinstance(event, LimitDecision) for event in heard), "told")
        await nothing_is_readable(postgres_dsn, kind.__name__)
        keys = {event.key for event in heard if isinstance(event, LimitDecision)}
    assert [len(str(key)) for key in keys] == [64]
    assert SECRET not in str([event.to_dict() for event in heard]) + caplog.text


async def test_the_log_tells_nothing_of_what_a_backoff_raised(caplog: pytest.LogCaptureFixture) -> None:
    """It names the type: the words may be those of the job's own error."""
    app = App([Queue("default", isolation="task")], workers=[pay_with_backoff], encryption_keys=[NEW])
    async with open_node(app) as node:
        assert (await run(node, pay_with_backoff.new(SECRET))).state == "discarded"
    assert "backoff of pay_with_backoff raised ValueError" in caplog.text
    assert SECRET not in caplog.text


async def nothing_is_readable(dsn: str, shown: str = "outside") -> None:
    """Look at every table as text."""
    import asyncio

    import asyncpg

    async def look() -> str:
        raw = await asyncpg.connect(dsn)
        try:
            tables = await raw.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'kathikon'")
            return " ".join([str(await raw.fetch(f"SELECT t::text FROM kathikon.{row[0]} t")) for row in tables])
        finally:
            await raw.close()

    text = await trio.to_thread.run_sync(lambda: asyncio.run(look()))
    assert shown in text
    assert SECRET not in text
