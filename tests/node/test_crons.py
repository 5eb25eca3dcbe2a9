"""Cron entries on real nodes: they fire on time, once, through a leader's death; and later jobs start on time."""

from __future__ import annotations

import datetime as dt
import itertools
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from kathikon_actors import (
    App,
    BadConfiguration,
    Client,
    Cron,
    CronEntry,
    CronExists,
    CronNotFound,
    InvalidJob,
    Job,
    NewJob,
    Node,
    Queue,
    SyncClient,
    Unique,
    UnknownQueue,
    open_node,
)
from kathikon_actors.telemetry import CronFired, CronSkipped, Event, JobTransition
from tests.node import workers
from tests.support.waiting import eventually

WAIT = 30.0
QUEUES = [Queue("default"), Queue("wide")]


def app_with(*crons: Cron) -> App:
    return App(QUEUES, workers=workers.WORKERS, crons=crons)


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    async with open_node(app_with(), store=store_url, name="n1", shutdown_timeout=2.0) as node:
        yield node


async def made_by(node: Node | Client, entry: str) -> list[Job]:
    return [job for job in await node.list(limit=1000, newest_first=False) if job.meta.get("cron") == entry]


async def has_made(node: Node | Client, entry: str, number: int) -> bool:
    return len(await made_by(node, entry)) >= number


async def test_a_declared_entry_makes_its_job_at_each_tick(store_url: str) -> None:
    """With its options, on time, and told of."""
    heard: list[Event] = []
    every = Cron("each second", "* * * * * *", workers.add.new(1, b=2).options(tags=["t"], meta={"k": 1}))
    # Told from the beginning: the first tick may come before the node is open.
    app = App(QUEUES, workers=workers.WORKERS, crons=[every], telemetry=[heard.append])

    def fired() -> list[CronFired]:
        return [event for event in heard if isinstance(event, CronFired)]

    async with open_node(app, store=store_url, name="n1") as node:
        await eventually(lambda: has_made(node, "each second", 3), "three were made")
        jobs = (await made_by(node, "each second"))[:3]
        done = [await node.wait(job.id, timeout=WAIT) for job in jobs]
        assert [(job.result, job.tags, job.meta["k"]) for job in done] == [(3, ["t"], 1)] * 3
        ticks = [dt.datetime.fromisoformat(job.meta["cron_tick"]) for job in done]
        assert ticks[1] - ticks[0] == ticks[2] - ticks[1] == dt.timedelta(seconds=1)
        await eventually(lambda: len(fired()) >= 3, "told")
        event = fired()[0]
        assert (event.entry, event.job_id) == ("each second", jobs[0].id)
        assert 0 <= event.late < 10


async def test_an_entry_whose_worker_has_no_timeout_fires(store_url: str) -> None:
    """What never ends has no number in JSON."""
    endless = Cron("endless", "* * * * * *", workers.add.new(1).options(timeout=math.inf))
    async with open_node(app_with(endless), store=store_url, name="n1") as node:
        assert (await node.crons.get("endless")).problem is None
        await eventually(lambda: has_made(node, "endless", 1), "one was made")
        done = await node.wait((await made_by(node, "endless"))[0].id, timeout=WAIT)
        assert (done.result, done.timeout) == (1, math.inf)


async def test_entries_are_added_changed_paused_run_and_removed_at_run_time(node: Node) -> None:
    """Each is committed when the call returns, and seen by the leader soon."""
    crons = node.crons
    entry = await crons.add(Cron("sweep", "0 4 * * SUN", workers.add.new(1), timezone="Europe/Athens"))
    assert (entry.name, entry.worker, entry.queue, entry.paused) == ("sweep", "add", "default", False)
    assert entry.next_at is not None
    assert entry.next_at.astimezone(dt.UTC) > dt.datetime.now(dt.UTC)
    with pytest.raises(CronExists, match="sweep"):
        await crons.add(Cron("sweep", "@daily", workers.add.new(1)))
    ran = await crons.run_now("sweep")
    assert (await node.wait(ran.id, timeout=WAIT)).result == 1
    await crons.change("sweep", expression="* * * * * *", timezone="UTC", job=workers.add.new(7))
    await eventually(lambda: has_made(node, "sweep", 3), "it fires each second now")
    assert (await node.wait((await made_by(node, "sweep"))[-1].id, timeout=WAIT)).result == 7
    assert (await crons.pause("sweep")).next_at is None
    before = len(await made_by(node, "sweep"))
    await trio.sleep(1.2)  # a tick passes, under the eyes of a leader that has been told
    assert len(await made_by(node, "sweep")) <= before + 1
    resumed = await crons.resume("sweep")
    assert not resumed.paused
    await eventually(lambda: has_made(node, "sweep", before + 2), "it goes on")
    await crons.remove("sweep")
    assert await crons.list() == []
    for call in (crons.get, crons.pause, crons.resume, crons.remove, crons.run_now):
        with pytest.raises(CronNotFound, match="swep"):
            await call("swep")


async def test_what_does_not_fit_is_refused_and_nothing_is_stored(node: Node) -> None:
    """With entry and field named."""
    crons = node.crons
    with pytest.raises(BadConfiguration, match="cron entry \"x\": .*hour is '99'"):
        Cron("x", "* 99 * * *", workers.add.new(1))
    with pytest.raises(BadConfiguration, match='cron entry "x": .*worker is none'):
        Cron("x", "@daily", NewJob([], {}))  # type: ignore[arg-type]
    with pytest.raises(BadConfiguration, match='cron entry "x": .*partition_key is'):
        async with open_node(app_with(Cron("x", "@daily", workers.add.new(1).options(partition_key="\ud800")))):
            pass
    with pytest.raises(BadConfiguration, match='"x": catch_up'):
        Cron("x", "@daily", workers.add.new(1), catch_up="some")  # type: ignore[arg-type]
    with pytest.raises(BadConfiguration, match='"x": its job has the option schedule_in'):
        Cron("x", "@daily", workers.add.new(1).options(schedule_in=5))
    with pytest.raises(BadConfiguration, match='"x": job is 5'):
        Cron("x", "@daily", 5)  # type: ignore[arg-type]
    with pytest.raises(BadConfiguration, match="a name is"):
        Cron("", "@daily", workers.add.new(1))
    with pytest.raises(UnknownQueue):
        await crons.add(Cron("x", "@daily", workers.add.new(1).options(queue="none")))
    await crons.add(Cron("x", "@daily", workers.add.new(1)))
    for change in ({"expression": ""}, {"expression": "x"}, {"timezone": "Nowhere"}, {"catch_up": "x"}):
        with pytest.raises(BadConfiguration):
            await crons.change("x", **change)  # type: ignore[arg-type]
    assert (await crons.get("x")).expression == "@daily"
    with pytest.raises(BadConfiguration, match="two cron entries"):
        app_with(*[Cron("x", "@daily", workers.add.new(1))] * 2)
    with pytest.raises(BadConfiguration, match='cron entry "x": no queue "none"'):
        async with open_node(app_with(Cron("x", "@daily", workers.add.new(1).options(queue="none")))):
            raise AssertionError("it opens")


async def test_a_unique_job_that_still_waits_is_not_made_twice(node: Node) -> None:
    """The entry fires all the same; what is told and given is the job that is there."""
    waiting = workers.add.new(3).options(unique=Unique(keys=("worker", "args")), queue="wide")
    await node.pause("wide")
    await node.crons.add(Cron("unique", "* * * * * *", waiting))
    async with node.events(CronFired) as events:
        ran = await node.crons.run_now("unique")
        told = [await events.__anext__() for _ in range(2)]
        again = await node.crons.run_now("unique")
        [made] = [job for job in await node.list() if job.meta.get("cron") == "unique"]
        assert {event.job_id for event in told if isinstance(event, CronFired)} == {made.id}
        assert (ran.id, again.id, again.conflict) == (made.id, made.id, True)


async def test_one_call_schedules_in_three_ways(node: Node) -> None:
    """At a time, after a time, again and again; anything else is an error that names the three."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    first = await node.schedule(workers.add.new(1), at=at)
    second = await node.schedule(workers.add, {"a": 1}, in_=3600)
    third = await node.schedule("add", {"a": 1}, cron="@daily", name="daily add", tags=["t"])
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert (first.scheduled_at, second.state) == (at, "scheduled")
    assert isinstance(third, CronEntry)
    assert third.name == "daily add"
    for how in ({}, {"at": at, "in_": 5}):
        with pytest.raises(InvalidJob, match=r"at=, in_= and cron="):
            await node.schedule(workers.add.new(1), **how)  # type: ignore[arg-type]


async def test_missed_ticks_are_made_up_for_as_the_entry_says(postgres_dsn: str) -> None:
    """After a downtime that the store remembers: the last, all of them, or none."""
    names = ("last", "all", "none")
    minute = (dt.datetime.now(dt.UTC).minute + 30) % 60  # none is due while this runs
    hourly = [Cron(name, f"{minute} * * * *", workers.add.new(1), catch_up=name) for name in names]  # type: ignore[arg-type]
    async with open_node(app_with(*hourly), store=postgres_dsn, name="n1") as node:
        await eventually(lambda: listed(node, 3), "declared")
    async with Client(postgres_dsn) as client:
        await client._run(_let_time_pass, "5 hours")
    heard: list[Event] = []
    app = App(QUEUES, workers=workers.WORKERS, telemetry=[heard.append])
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        await eventually(lambda: has_made(node, "all", 5), "all are made up for")
        await eventually(lambda: has_made(node, "last", 1), "the last one is")
        await eventually(lambda: any(isinstance(e, CronSkipped) and e.entry == "none" for e in heard), "told of none")
        numbers = {name: len(await made_by(node, name)) for name in names}
    assert numbers == {"last": 1, "all": 5, "none": 0}


async def listed(node: Node, number: int) -> bool:
    return len(await node.crons.list()) == number


async def _let_time_pass(raw, interval: str) -> None:  # type: ignore[no-untyped-def]
    await raw.execute(f"UPDATE kathikon.crons SET last_tick = last_tick - interval '{interval}'")


async def test_one_bad_stored_entry_stops_nothing(postgres_dsn: str) -> None:
    """An expression that cannot be read, a time zone that is gone, a job that is no job: told of, shown, left out."""
    heard: list[Event] = []
    app = App(
        QUEUES,
        workers=workers.WORKERS,
        crons=[Cron(name, "* * * * * *", workers.add.new(1)) for name in ("good", "bad", "zone", "job", "queue")],
        telemetry=[heard.append],
    )
    async with open_node(app, store=postgres_dsn, name="n0") as node:
        await eventually(lambda: listed(node, 5), "declared")
    async with Client(postgres_dsn) as client:
        await client._run(_spoil)
        shown = {entry.name: entry for entry in await client.crons.list()}
        assert "minute is 'x'" in (shown["bad"].problem or "")
        assert shown["job"].problem
        assert shown["good"].problem is None
        made = {name: len(await made_by(client, name)) for name in ("good", "job")}  # until they were spoiled
    async with open_node(app, store=postgres_dsn, name="n1") as node:
        await eventually(lambda: has_made(node, "good", made["good"] + 2), "the good one fires")

        def broken() -> set[str]:
            return {e.entry for e in heard if isinstance(e, CronSkipped) and e.reason == "invalid"}

        await eventually(lambda: {"bad", "zone", "job"} <= broken(), "told")
        assert len(await made_by(node, "job")) == made["job"]
        await node.crons.change("bad", expression="* * * * * *")
        bad = len(await made_by(node, "bad"))
        await eventually(lambda: has_made(node, "bad", bad + 1), "mended, it fires")


async def _spoil(raw) -> None:  # type: ignore[no-untyped-def]
    await raw.execute("UPDATE kathikon.crons SET expression = 'x * * * *' WHERE name = 'bad'")
    await raw.execute("UPDATE kathikon.crons SET timezone = 'Atlantis' WHERE name = 'zone'")
    await raw.execute("UPDATE kathikon.crons SET template = '[1, 2]' WHERE name = 'job'")
    await raw.execute("UPDATE kathikon.cron_version SET version = version + 1")


async def test_each_tick_makes_one_job_through_the_deaths_of_leaders(postgres_dsn: str) -> None:
    """Three nodes; whoever leads is closed or loses its crons child, again and again; no tick twice, none left out."""
    every = Cron("tick", "* * * * * *", workers.add.new(1))
    app = app_with(every)
    async with Client(postgres_dsn) as client, trio.open_nursery() as nursery:
        stops: dict[str, trio.CancelScope] = {}

        async def live(name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            with trio.CancelScope() as stops[name]:
                async with open_node(app, store=postgres_dsn, name=name, lease=3.0, shutdown_timeout=0.5):
                    task_status.started()
                    await trio.sleep_forever()

        for name in ("a", "b"):
            await nursery.start(live, name)
        end = time.monotonic() + 6
        victims = ["a", "b"]
        while time.monotonic() < end:
            await trio.sleep(1.3)
            victim = victims.pop(0)
            stops[victim].cancel()
            fresh = f"{victim[0]}{len(stops)}"
            await nursery.start(live, fresh)
            victims.append(fresh)
        await eventually(lambda: has_made(client, "tick", 5), "ticks have come")
        nursery.cancel_scope.cancel()
    async with Client(postgres_dsn) as client:
        ticks = Counter(job.meta["cron_tick"] for job in await made_by(client, "tick"))
    assert set(ticks.values()) == {1}
    moments = sorted(dt.datetime.fromisoformat(tick) for tick in ticks)
    assert len(moments) >= 5
    gaps = {later - earlier for earlier, later in itertools.pairwise(moments)}
    assert gaps == {dt.timedelta(seconds=1)}


async def test_clients_handle_entries_too(postgres_dsn: str, tmp_path: Path) -> None:
    """Async and plain: what they add fires on the node."""
    async with open_node(app_with(), store=postgres_dsn, name="n1") as node, Client(postgres_dsn) as client:
        await client.crons.add(Cron("c", "* * * * * *", workers.add.new(5).options(queue="default")))
        entry = await client.schedule("add", {"a": 1}, cron="@daily", name="d", queue="default")
        assert isinstance(entry, CronEntry)
        await eventually(lambda: has_made(node, "c", 1), "made")

        def plain() -> list[str]:
            with SyncClient(postgres_dsn) as sync:
                sync.crons.pause("c")
                sync.crons.change("d", expression="@weekly")
                sync.schedule("add", {"a": 2}, in_=60, queue="default")
                job = sync.crons.run_now("d")
                assert sync.wait(job.id, timeout=WAIT).result == 1
                sync.crons.remove("c")
                return [e.expression for e in sync.crons.list()]

        assert await trio.to_thread.run_sync(plain) == ["@weekly"]


async def test_a_job_that_is_due_later_starts_within_50_ms(node: Node) -> None:
    """On an idle node. So that a busy machine does not decide it is measured against a timer of the same loop."""
    await node.wait((await node.insert(workers.add.new(1))).id, timeout=WAIT)
    late: list[float] = []
    behind: list[float] = []

    async def sleep_until(due: float) -> None:
        await trio.sleep(max(0.0, due - time.time()))
        behind[-1] -= max(0.0, time.time() - due)

    with trio.fail_after(60):
        while len(late) < 8:
            async with node.events(JobTransition) as events, trio.open_nursery() as nursery:
                due = time.time() + 0.15
                at = dt.datetime.fromtimestamp(due, dt.UTC)
                job = await node.insert(workers.add.new(1).options(schedule_at=at))
                if time.time() >= due:  # the store had other things to do
                    continue
                behind.append(0.0)
                nursery.start_soon(sleep_until, due)
                async for event in events:
                    if isinstance(event, JobTransition) and event.job_id == job.id and event.new == "executing":
                        late.append(event.at - at.timestamp())
                        behind[-1] += late[-1]
                        break
            await node.wait(job.id, timeout=WAIT)
    assert min(late) >= 0
    assert sorted(behind)[len(behind) // 2] < 0.05, (late, behind)
