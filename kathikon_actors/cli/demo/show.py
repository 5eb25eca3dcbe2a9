"""The show: a node at work, something dying all the time, and an audit of every job at the end."""

from __future__ import annotations

import logging
import random
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeVar
from uuid import UUID

import trio

from kathikon_actors.cli.demo import shop
from kathikon_actors.cli.demo.score import Score
from kathikon_actors.jobs.errors import StoreUnavailable
from kathikon_actors.node.app import App
from kathikon_actors.node.node import Node
from kathikon_actors.node.opening import open_node
from kathikon_actors.telemetry.events import Event, JobTransition, SupervisorReport, WorkerProcessChanged
from kathikon_actors.testing.audit import Verdict, audit
from kathikon_actors.testing.chaos import Chaos, Strike

__all__ = ["run_show"]

VICTIMS: Final = ("worker", "worker", "worker", "producer", "journal", "postgres", "zygote", "table")
EVERY: Final = 0.6
"""Seconds between two kills."""

BURST: Final = 20
PAUSE: Final = 0.06
"""Seconds between two bursts of inserts."""

DEADLY: Final = 0.004
"""The share of jobs that take their process with them at the first attempt."""

PATIENCE: Final = 30.0
DRAW_EVERY: Final = 0.125

Draw = Callable[[Node, Score], None]
T = TypeVar("T")


async def run_show(seconds: float, seed: int, draw: Draw) -> tuple[Score, Verdict]:
    """Run it on a private Postgres in a temporary directory.

    Args:
        seconds: that things die.
        seed: of who dies when.
        draw: called a few times a second.

    Raises:
        StoreUnavailable: there is no PostgreSQL to be had.
    """
    app = App(queues=shop.QUEUES, workers=shop.WORKERS)
    score = Score(seconds)
    acknowledged: list[UUID] = []
    with tempfile.TemporaryDirectory(prefix="kathikon-demo-") as directory, _quiet_logs():
        async with open_node(app, store=f"embedded:{directory}/store", name="demo") as node:
            with _counting(node, score):
                async with trio.open_nursery() as helpers:
                    helpers.start_soon(_draw_on, node, score, draw)
                    await _disturb(node, score, seed, acknowledged)
                    score.say("nothing dies any more: auditing every job")
                    verdict = await audit(node, acknowledged=acknowledged, patience=PATIENCE)
                    await _heal(node)
                    draw(node, score)
                    helpers.cancel_scope.cancel()
    return score, verdict


async def _disturb(node: Node, score: Score, seed: int, acknowledged: list[UUID]) -> None:
    began = trio.current_time()
    chaos = Chaos(seed, kill=VICTIMS, every=EVERY, node=node)
    with trio.move_on_after(score.seconds):
        async with chaos, trio.open_nursery() as nursery:
            nursery.start_soon(_insert, node, random.Random(seed), acknowledged)  # noqa: S311 a show
            told = 0
            while True:
                score.elapsed = trio.current_time() - began
                for strike in chaos.strikes[told:]:
                    if strike.victim:
                        _tell(score, strike)
                        nursery.start_soon(_measure, node, score, acknowledged)
                told = len(chaos.strikes)
                await trio.sleep(0.01)


def _tell(score: Score, strike: Strike) -> None:
    score.kills[strike.kind] += 1
    score.say(f"killed {strike.victim}")


async def _heal(node: Node) -> None:
    """Wait until what died last is there again: all jobs may be done before."""
    with trio.move_on_after(PATIENCE):
        while (await node.health()).status != "ok":
            await trio.sleep(0.01)


async def _insert(node: Node, dice: random.Random, acknowledged: list[UUID]) -> None:
    number = 0
    while True:
        jobs = []
        for _ in range(BURST):
            number += 1
            deaths: tuple[Literal["segfault", "exit", "kill"], ...] = ("segfault", "exit", "kill")
            death: shop.Death = dice.choice(deaths) if dice.random() < DEADLY else ""
            match number % 3:
                case 0:
                    jobs.append(shop.charge.new(number, cents=number % 10_000))
                case 1:
                    jobs.append(shop.render.new(1 + number % 5, death=death))
                case _:
                    jobs.append(shop.send_mail.new(f"user{number}@example.org", death=death))
        many = await _persist(lambda: node.insert_many(jobs))  # noqa: B023 awaited here
        acknowledged += many.ids
        await trio.sleep(PAUSE)


async def _measure(node: Node, score: Score, acknowledged: list[UUID]) -> None:
    """Insert a job into each queue at once and see when all are done: what a user feels of a death."""
    began = trio.current_time()
    pings = [shop.ping.new(), shop.ping.new().options(queue="pdf"), shop.ping_async.new()]
    many = await _persist(lambda: node.insert_many(ping.options(priority=100) for ping in pings))
    acknowledged += many.ids
    for job_id in many.ids:
        await node.wait(job_id)
    score.recoveries.append(trio.current_time() - began)


async def _persist(call: Callable[[], Awaitable[T]]) -> T:
    """Insert as a user would: again, when the store was away."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await trio.sleep(0.01)


async def _draw_on(node: Node, score: Score, draw: Draw) -> None:
    while True:
        draw(node, score)
        await trio.sleep(DRAW_EVERY)


@contextmanager
def _counting(node: Node, score: Score) -> Iterator[None]:
    """Count what the node tells; the handler runs in a thread of its own."""
    lock = threading.Lock()

    def hear(event: Event) -> None:
        with lock:
            match event:
                case JobTransition(event="inserted"):
                    score.inserted[event.queue] += 1
                case JobTransition(event="completed"):
                    score.completed[event.queue] += 1
                case JobTransition(event="failed"):
                    score.failed[event.queue] += 1
                    score.suicides += 1
                case SupervisorReport(context="progress") if event.restarts:
                    score.restarts += 1
                case _:
                    pass

    subscription = node.subscribe(hear, JobTransition, SupervisorReport, WorkerProcessChanged, buffer=100_000)
    try:
        yield
    finally:
        subscription.close()


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """The picture says what happens; tracebacks of what was killed on purpose would tear it."""
    loggers = [logging.getLogger(name) for name in ("supervisors", "kathikon", "kathikon_actors")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
