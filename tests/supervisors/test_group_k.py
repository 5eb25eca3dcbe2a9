"""Checklist K: reports."""

# ruff: noqa: PT012  (what raises is the block of the supervisor, which needs its body)

from __future__ import annotations

import logging
import time

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    ChildStarted,
    ChildTerminated,
    Crash,
    Event,
    RestartLimitExceeded,
    RestartLimitReached,
    open_supervisor,
)
from tests.supervisors.tools import puppets, settle, watch


async def test_k112_each_start_and_restart_gives_a_progress_event(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """First starts come before anyone can subscribe: they are in the log, at level DEBUG."""
    caplog.set_level(logging.DEBUG, "supervisors")
    _, (a, b) = puppets("ab")
    async with open_supervisor([a.spec()]) as tree:
        events: list[Event] = []
        tree.subscribe(events.append)
        await tree.start_child(b.spec())
        a.end(ValueError("x"))
        await settle()
    started = [event.child.id for event in events if isinstance(event, ChildStarted)]
    logged = [record.getMessage() for record in caplog.records if "progress" in record.getMessage()]
    assert started == ["b", "a"]
    assert logged[0] == "supervisor: progress of child 'a': None"
    assert len(logged) == 3


async def test_k113_a_clean_end_of_a_transient_child_is_not_reported(autojump_clock: MockClock) -> None:
    """Nothing at all."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec(restart="transient")]) as tree:
        seen = watch(tree)
        a.end()
        await settle()
        assert seen == []


async def test_k114_giving_up_reports_the_death_and_then_the_limit(autojump_clock: MockClock) -> None:
    """Both name the child."""
    _, (a,) = puppets("a")
    seen: list[tuple[type[Event], object]] = []
    with pytest.raises(RestartLimitReached):
        async with open_supervisor([a.spec()], max_restarts=0) as tree:
            tree.subscribe(lambda event: seen.append((type(event), event.child.id)))
            a.end(ValueError("x"))
            await trio.sleep_forever()
    assert seen == [(ChildTerminated, "a"), (RestartLimitExceeded, "a")]


async def test_k115_a_report_says_who_what_and_why(autojump_clock: MockClock) -> None:
    """Supervisor, context, reason, and the child with its spec's fields."""
    _, (a,) = puppets("a")
    error = ValueError("x")
    async with open_supervisor([a.spec(shutdown=2.0, restart="transient")], name="root") as tree:
        events: list[Event] = []
        tree.subscribe(events.append)
        await trio.sleep(3)
        now = trio.current_time()
        a.end(error)
        await settle()
    report = events[0]
    child = report.child
    assert (report.supervisor, report.context, report.reason, report.at) == (
        "root",
        "child_terminated",
        Crash(error),
        now,
    )
    assert (child.id, child.restart, child.shutdown, child.type, child.significant) == (
        "a",
        "transient",
        2.0,
        "worker",
        False,
    )
    assert (events[1].context, events[1].child.info) == ("progress", "a2")


async def test_k116_a_handler_that_raises_or_blocks_does_not_break_supervision(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, the others hear all the same, and it stays subscribed."""
    _, (a,) = puppets("a")
    calls: list[str] = []

    def raising(event: Event) -> None:
        calls.append("raising")
        raise RuntimeError("handler")

    def blocking(event: Event) -> None:
        calls.append("blocking")
        time.sleep(0.01)

    async with open_supervisor([a.spec()]) as tree:
        unsubscribe = tree.subscribe(raising)
        tree.subscribe(blocking)
        a.end(ValueError("x"))
        await settle()
        assert calls == ["raising", "blocking"] * 2
        assert a.lives == 2
        unsubscribe()
        unsubscribe()
        a.end(ValueError("x"))
        await settle()
        assert calls[4:] == ["blocking"] * 2
    assert "an event handler raised" in caplog.text
