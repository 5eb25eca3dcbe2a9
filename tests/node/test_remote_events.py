"""Events of nodes heard from outside: on trio, on asyncio and in plain code, through the database."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import trio

from kathikon_actors import BadConfiguration, Client, Job, StoreUnavailable, SyncClient, open_node
from kathikon_actors.node import forwarder, remote_events
from kathikon_actors.store import event_listening, event_post
from kathikon_actors.store.event_post import Listener, PostgresEventPost
from kathikon_actors.telemetry import Event, EventsMissed, JobTransition, LimitDecision, NodeChanged, QueueChanged
from kathikon_actors.testing.victims import victims
from supervisors.testing import crash, wait_restarted
from tests.node.workers import add, app
from tests.support.nodes import far_node
from tests.support.waiting import eventually, eventually_sync

WAIT = 30.0

STEPS = [
    ("inserted", None, "available"),
    ("started", "available", "executing"),
    ("completed", "executing", "completed"),
]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gives up on a machine that is busy: not who waits for the nodes to send, nor who says goodbye."""
    for name in ("GREETING_TIMEOUT", "GOODBYE"):
        monkeypatch.setattr(event_listening, name, WAIT)
    monkeypatch.setattr(remote_events, "CLOSE_TIMEOUT", 2 * WAIT)
    monkeypatch.setattr(forwarder, "LAST_WORDS", WAIT)


class Told(Event, frozen=True, kw_only=True):
    """An event of the program's own."""

    number: int
    text: str = ""


async def life_of_one(client: Client) -> tuple[Job, list[Event]]:
    """Insert a job, and hear of it until it has ended."""
    heard: list[Event] = []
    async with client.events(JobTransition) as events:
        job = await client.insert(add.new(1, 2))
        async for event in events:
            heard.append(event)
            if isinstance(event, JobTransition) and event.new == "completed":
                break
    return job, heard


def on_trio(dsn: str) -> tuple[Job, list[Event]]:
    async def main() -> tuple[Job, list[Event]]:
        async with Client(dsn) as client:
            with trio.fail_after(WAIT):
                return await life_of_one(client)

    return trio.run(main)


def on_asyncio(dsn: str) -> tuple[Job, list[Event]]:
    async def main() -> tuple[Job, list[Event]]:
        async with Client(dsn) as client, asyncio.timeout(WAIT):
            return await life_of_one(client)

    return asyncio.run(main())


def in_plain_code(dsn: str) -> tuple[Job, list[Event]]:
    heard: list[Event] = []
    with SyncClient(dsn) as client, client.events(JobTransition, timeout=WAIT) as events:
        job = client.insert(add.new(1, 2))
        for event in events:
            heard.append(event)
            if isinstance(event, JobTransition) and event.new == "completed":
                break
        with client.events(JobTransition, timeout=0.1) as quiet:
            assert list(quiet) == []  # it ends when nothing has happened for so long
    return job, heard


@pytest.mark.parametrize("program", [on_trio, on_asyncio, in_plain_code])
def test_a_client_hears_what_happens_on_a_node(
    program: Callable[[str], tuple[Job, list[Event]]], postgres_dsn: str
) -> None:
    """The same types with the same fields, in order, from the moment on in which the block is entered."""
    with far_node(postgres_dsn, "n1"):
        job, heard = program(postgres_dsn)
    steps = [event for event in heard if isinstance(event, JobTransition) and event.job_id == job.id]
    assert [(step.event, step.old, step.new) for step in steps][-2:] == STEPS[-2:]
    done = steps[-1]
    assert (done.node, done.worker, done.queue, done.attempt) == ("n1", "add", "default", 1)
    assert done.seconds is not None and done.seconds >= 0 and done.at > 1.6e9
    assert done.to_dict()["event"] == "JobTransition"


async def test_all_nodes_are_heard_also_those_that_start_later_and_only_what_is_wanted(postgres_dsn: str) -> None:
    """Each says its name."""
    async with (
        open_node(app, store=postgres_dsn, name="first") as first,
        Client(postgres_dsn) as client,
        client.events(QueueChanged, Told) as events,
        open_node(app, store=postgres_dsn, name="second") as second,
    ):
        forwarder_of = [child.id for child in second.supervisor.which_children()]
        assert "forwarder" in forwarder_of
        await eventually(lambda: second._state.bus.active, "the second one forwards")
        await first.wait((await first.insert(add.new(1, 2))).id, WAIT)
        await client.pause("default")
        first._state.bus.emit(Told(number=7, text="words"))
        found: Counter[tuple[str, str]] = Counter()
        with trio.fail_after(WAIT):
            async for event in events:
                found[(event.node, event.name)] += 1
                if sum(found.values()) == 3:
                    break
        assert found == {("first", "QueueChanged"): 1, ("second", "QueueChanged"): 1, ("first", "Told"): 1}


async def test_a_node_pays_only_while_somebody_listens(postgres_dsn: str) -> None:
    """Nothing is subscribed before, nor after the last one has gone; of two each hears what it wants."""
    async with open_node(app, store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        bus = node._state.bus
        assert not bus.active
        async with client.events(QueueChanged) as one:
            assert bus.wants(QueueChanged) and not bus.wants(JobTransition)
            async with client.events() as all_of_it:
                assert bus.wants(JobTransition)
                await client.pause("default")
                with trio.fail_after(WAIT):
                    assert isinstance(await one.__anext__(), QueueChanged)
                    async for event in all_of_it:
                        if isinstance(event, QueueChanged):
                            break
            await eventually(lambda: not bus.wants(JobTransition), "one kind is left")
            assert bus.wants(QueueChanged)
        await eventually(lambda: not bus.active, "nobody listens")


LISTENER = """
import sys, trio
from kathikon_actors import Client
from kathikon_actors.store import event_post, event_listening
event_post.LISTENER_LEASE = 1.0
event_listening.RENEW_EVERY = 0.3
async def main():
    async with Client(sys.argv[1]) as client, client.events() as events:
        print("listens", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_a_listener_that_dies_costs_nothing_after_its_lease(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, so that it says no word; the lease is a second here, and nodes go on sending while it lives."""
    listeners = PostgresEventPost.listeners
    found_at: list[float] = []

    async def note(self: PostgresEventPost) -> list[Listener]:
        found = await listeners(self)
        if found:
            found_at.append(trio.current_time())
        return found

    monkeypatch.setattr(PostgresEventPost, "listeners", note)
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        command = [sys.executable, "-c", LISTENER, postgres_dsn]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220
            try:
                assert process.stdout is not None
                assert await trio.to_thread.run_sync(process.stdout.readline) == b"listens\n"
                await eventually(
                    lambda: found_at and found_at[-1] - found_at[0] > 2.5, "it is found for longer than its lease"
                )
                await eventually(lambda: node._state.bus.active, "it is sent to")
            finally:
                process.send_signal(signal.SIGKILL)
        await eventually(lambda: not node._state.bus.active, "it is not sent to any more")


async def test_a_listener_whose_connection_is_cut_comes_back_and_says_so(postgres_dsn: str) -> None:
    """By its count, and by an event to who wants that; what happens afterwards is heard."""
    async with (
        open_node(app, store=postgres_dsn, name="n1") as node,
        Client(postgres_dsn) as client,
        client.events(Told, EventsMissed) as events,
    ):
        for times in range(1, 4):
            assert events._ear is not None and events._ear._raw is not None
            await terminate(postgres_dsn, events._ear._raw.get_server_pid())
            with trio.fail_after(WAIT):
                missed = await events.__anext__()
            assert isinstance(missed, EventsMissed) and missed.seconds >= 0
            assert events.cuts == times
            node._state.bus.emit(Told(number=times))
            with trio.fail_after(WAIT):
                told = await events.__anext__()
            assert isinstance(told, Told) and told.number == times and told.node == "n1"
        assert events.dropped == 0


async def terminate(dsn: str, pid: int) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
        finally:
            await connection.close()

    await trio.to_thread.run_sync(lambda: asyncio.run(run()))


async def test_events_are_heard_again_after_the_server_was_killed(tmp_path: Path) -> None:
    """It has forgotten who listens; listeners and nodes come back by themselves."""
    store = f"embedded:{tmp_path / 'store'}"
    async with (
        open_node(app, store=store, name="n1") as node,
        Client(store) as client,
        client.events(Told, EventsMissed) as events,
    ):
        (server,) = victims(node, "postgres")
        assert server.kill()
        heard: list[Event] = []
        with trio.fail_after(2 * WAIT):
            async with trio.open_nursery() as nursery:

                async def tell() -> None:
                    while True:
                        node._state.bus.emit(Told(number=1))
                        await trio.sleep(0.1)

                nursery.start_soon(tell)
                async for event in events:
                    heard.append(event)
                    if isinstance(event, Told) and events.cuts:
                        break
                nursery.cancel_scope.cancel()
        assert any(isinstance(event, EventsMissed) for event in heard)


async def test_a_lease_is_renewed_long_before_it_ends(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the listener lives, and nothing is missed by that."""
    monkeypatch.setattr(event_listening, "RENEW_EVERY", 0.05)

    async def lease_until(raw: Any) -> Any:
        return await raw.fetchval("SELECT extract(epoch FROM lease_until) FROM kathikon.listeners")

    async with Client(postgres_dsn) as client, client.events() as events:
        first = await client.run(lease_until)

        async def is_later() -> bool:
            later: bool = await client.run(lease_until) > first
            return later

        await eventually(is_later, "it is renewed")
        assert events.cuts == 0


async def test_a_lease_that_ran_out_is_told_as_a_cut(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that was stopped for longer than its lease has missed what happened."""
    monkeypatch.setattr(event_listening, "RENEW_EVERY", 0.5)
    monkeypatch.setattr(event_post, "LISTENER_LEASE", 0.1)
    async with Client(postgres_dsn) as client, client.events(EventsMissed) as events:
        with trio.fail_after(WAIT):
            assert isinstance(await events.__anext__(), EventsMissed)


async def test_what_nobody_can_keep_up_with_is_dropped_and_counted(postgres_dsn: str) -> None:
    """On the node, whose buffer is bounded, and here; what is heard and what was dropped is all there was."""
    async with (
        open_node(app, store=postgres_dsn, name="n1") as node,
        Client(postgres_dsn) as client,
        client.events(Told, buffer=100_000) as wide,
        client.events(Told, buffer=10) as narrow,
    ):
        for number in range(30_000):  # at once: nothing can go out meanwhile
            node._state.bus.emit(Told(number=number))
        await eventually(lambda: len(wide._buffer) >= 10_000, "what the node has kept is here")
        node._state.bus.emit(Told(number=-1))
        heard: list[Event] = []
        with trio.fail_after(WAIT):
            while not heard or heard[-1].number != -1:  # type: ignore[attr-defined]
                heard += await wide.batch()
        assert len(heard) + wide.dropped == 30_001
        assert [event.number for event in heard[:-1]] == list(range(len(heard) - 1))  # type: ignore[attr-defined]
        await eventually(lambda: narrow.dropped == 30_001 - 10, "the narrow one has counted the rest")
        assert len(await narrow.batch()) == 10


async def test_a_forwarder_that_dies_goes_on(postgres_dsn: str) -> None:
    """It is a child of the tree as any other."""
    async with (
        open_node(app, store=postgres_dsn, name="n1") as node,
        Client(postgres_dsn) as client,
        client.events(Told) as events,
    ):
        crash(node.supervisor, ["forwarder"], KeyError("gone"))
        await wait_restarted(node.supervisor, ["forwarder"], timeout=WAIT)
        await eventually(lambda: node._state.bus.wants(Told), "it forwards again")
        node._state.bus.emit(Told(number=1))
        with trio.fail_after(WAIT):
            assert isinstance(await events.__anext__(), Told)
        assert len(node._state.bus.subscriptions) == 1


@pytest.mark.parametrize("slow", [0.0, 0.3])
async def test_what_a_stopping_node_tells_is_heard(
    postgres_dsn: str, monkeypatch: pytest.MonkeyPatch, slow: float
) -> None:
    """As far as it can still send: not that it has stopped. What is on its way when it stops is not lost."""
    heard, send = [], PostgresEventPost.send

    async def send_late(self: PostgresEventPost, payloads: Sequence[str]) -> None:
        await trio.sleep(slow)
        await send(self, payloads)

    async with Client(postgres_dsn) as client, AsyncExitStack() as stack:
        async with open_node(app, store=postgres_dsn, name="n1") as node:
            events = await stack.enter_async_context(client.events(NodeChanged))
            await eventually(lambda: node._state.bus.subscriptions, "the node sends")
            monkeypatch.setattr(PostgresEventPost, "send", send_late)
        with trio.fail_after(WAIT):
            async for event in events:
                assert isinstance(event, NodeChanged) and event.node == "n1"
                heard.append(event.action)
                if event.action == "draining":
                    break
    assert "stopped" not in heard


async def test_a_stream_is_opened_once_and_ends_with_its_client(postgres_dsn: str) -> None:
    """Or with its block; what is of no use is refused at once."""
    async with Client(postgres_dsn) as client:
        with pytest.raises(BadConfiguration, match="is no kind of event"):
            client.events(int)  # type: ignore[arg-type]
        with pytest.raises(BadConfiguration, match="buffer is 0"):
            client.events(buffer=0)
        events = client.events()
        with pytest.raises(RuntimeError, match="is not open"):
            await events.__anext__()
        async with events:
            pass
        assert [event async for event in events] == []
        with pytest.raises(RuntimeError, match="opened before"):
            await events.open()
        left = client.events()
        await left.open()
    with trio.fail_after(WAIT):
        assert [event async for event in left] == []
    with pytest.raises(StoreUnavailable):
        await client.events().open()


@pytest.mark.parametrize("run", [trio.run, lambda main: asyncio.run(main())])
def test_a_listener_that_is_cancelled_leaves_nothing_behind(run: Callable[[Any], Any], postgres_dsn: str) -> None:
    """Its row is gone, whatever it was doing."""

    async def main() -> int:
        async with Client(postgres_dsn) as client:
            for seconds in (0.0, 0.001, 0.003, 0.01, 0.03, 0.1):
                await stopped_after(seconds, client)
            number: int = await client.run(count_listeners)
            return number

    assert run(main) == 0


async def count_listeners(raw: Any) -> int:
    number: int = await raw.fetchval("SELECT count(*) FROM kathikon.listeners")
    return number


async def stopped_after(seconds: float, client: Client) -> None:
    async def listen() -> None:
        async with client.events() as events:
            async for _ in events:
                pass

    if client._on_trio:
        with trio.move_on_after(seconds):
            await listen()
    else:
        task = asyncio.ensure_future(listen())
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("closes", ["the stream", "the client"])
def test_a_plain_loop_is_ended_by_another_thread(closes: str, postgres_dsn: str) -> None:
    """Whoever waits gets no event, and the loop ends."""
    client = SyncClient(postgres_dsn)
    events = client.events(LimitDecision)
    assert events.next(timeout=0.01) is None
    found: list[list[Event]] = []
    waiting = threading.Thread(target=lambda: found.append(list(events)), daemon=True)
    waiting.start()
    eventually_sync(events._lock.locked, "it waits")
    (events if closes == "the stream" else client).close()
    waiting.join(WAIT)
    assert found == [[]]
    events.close()
    client.close()


def test_a_forked_process_has_to_ask_for_a_stream_of_its_own(postgres_dsn: str) -> None:
    """The connection stays with the one that opened it."""
    with SyncClient(postgres_dsn) as client, client.events() as events:
        events._pid = -1
        with pytest.raises(StoreUnavailable, match="opened before the fork"):
            events.next()
        events.close()  # the other one goes on listening
        assert client._open()._streams
