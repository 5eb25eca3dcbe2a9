"""Limits under load: real starts, watched from the outside."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from kathikon_actors import Node, Rate
from kathikon_actors.queue.pace import MAX_AHEAD
from kathikon_actors.telemetry import LimitDecision
from tests.node import limited
from tests.node.conftest import Place
from tests.node.limited import margin, most_allowed, most_at_once, most_within, starts_of
from tests.support.waiting import eventually, lines_of

WAIT = 30.0


@pytest.fixture
async def node(place: Place) -> AsyncIterator[Node]:
    async with place.open(limited.app) as node:
        yield node


@pytest.fixture
def marks(tmp_path: Path) -> str:
    return str(tmp_path / "marks")


async def ended(node: Node, number: int) -> None:
    async def all_ended() -> bool:
        counts = await node.counts()
        return sum(queue.by_state.get("completed", 0) for queue in counts) >= number

    await eventually(all_ended, f"{number} have completed", WAIT)


def check_rate(starts: list[float], began: float, rate: Rate) -> None:
    """None is before its slot, and none of the slots that passed unused were kept for later."""
    assert margin(starts, began, rate) >= 0
    for seconds in (0.2, 0.7):
        assert most_within(starts, seconds) <= most_allowed(starts, began, rate, seconds)


@pytest.mark.parametrize("worker", [limited.three, limited.three_plain], ids=["async", "plain"])
async def test_no_more_run_at_once_than_the_limit_says_and_all_of_them_run(
    node: Node, marks: str, worker: object
) -> None:
    """40 jobs for a limit of 3: never a fourth at once, three most of the time, no attempt is burnt."""
    jobs = [worker.new(marks, str(n), 0.02) for n in range(40)]  # type: ignore[attr-defined]
    many = await node.insert_many(jobs)
    await ended(node, 40)
    lines = lines_of(Path(marks))
    assert len(starts_of(lines)) == 40
    assert 2 <= most_at_once(lines) <= 3
    for job_id in many.ids:
        job = await node.get(job_id)
        assert job.attempt == 1
        assert [entry["event"] for entry in job.history] == ["inserted", "started", "completed"]


@pytest.mark.one_node
async def test_one_an_account_lets_other_accounts_go_on(node: Node, marks: str) -> None:
    """Ten accounts side by side, each one job at a time, in its order."""
    await node.insert_many(
        limited.one_an_account.new(marks, account, str(n), 0.01) for n in range(8) for account in range(10)
    )
    await ended(node, 80)
    lines = lines_of(Path(marks))
    assert most_at_once(lines) > 3
    for account in range(10):
        assert most_at_once(lines, f"{account}/") == 1
        order = [line.split()[1] for line in lines if line.startswith(f"start {account}/")]
        assert order == [f"{account}/{n}" for n in range(8)]


async def test_jobs_that_wait_hold_up_no_other_job(node: Node, marks: str, tmp_path: Path) -> None:
    """500 wait for a limit of 3 that stays taken; those behind them, of another worker, run all the same."""
    gate = tmp_path / "gate"
    await node.insert_many(limited.three.new(marks, f"slow{n}", 0.0, str(gate)) for n in range(500))
    await node.insert_many(limited.free.new(marks, f"free{n}") for n in range(20))
    await eventually(lambda: len(starts_of(lines_of(Path(marks)), "free")) == 20, "the free ones ran")
    assert len(starts_of(lines_of(Path(marks)), "slow")) <= 3
    gate.touch()  # what runs keeps no node from stopping


async def test_unique_jobs_that_others_may_replace_keep_a_limit_and_all_of_them_run(node: Node, marks: str) -> None:
    """Their start is committed before they take a place, which is taken once."""
    await node.insert_many(limited.one_guarded.new(marks, str(n)) for n in range(10))
    await ended(node, 10)
    lines = lines_of(Path(marks))
    assert len(starts_of(lines)) == 10
    assert most_at_once(lines) == 1


@pytest.mark.one_node
async def test_better_jobs_get_the_next_place(node: Node, marks: str, tmp_path: Path) -> None:
    """Those that wait for a limit start by priority, also the ones that came last."""
    gate = tmp_path / "gate"
    await node.insert_many(limited.one_an_account.new(marks, 1, f"a{n}", 0.0, str(gate)) for n in range(5))
    await eventually(lambda: lines_of(Path(marks)), "one runs")
    await node.insert_many(limited.one_an_account.new(marks, 1, f"b{n}", 0.0).options(priority=n + 1) for n in range(5))
    gate.touch()
    await ended(node, 10)
    order = [line.split()[1][2:] for line in lines_of(Path(marks)) if line.startswith("start")]
    assert order == ["a0", "b4", "b3", "b2", "b1", "b0", "a1", "a2", "a3", "a4"]


async def test_a_rate_is_kept_and_used(node: Node, marks: str) -> None:
    """50 a second with a burst of 5: 55 jobs take a second, not very much more, and no window sees more."""
    began = time.monotonic()
    await node.insert_many(limited.fifty_a_second.new(marks, str(n)) for n in range(55))
    await ended(node, 55)
    starts = starts_of(lines_of(Path(marks)))
    assert len(starts) == 55
    check_rate(starts, began, Rate(50, burst=5))
    assert starts[-1] - began < 15.0


async def test_the_rate_of_a_queue_holds_for_all_its_workers(node: Node, marks: str) -> None:
    """20 a second, whoever they are."""
    began = time.monotonic()
    for n in range(12):
        await node.insert(limited.free.new(marks, f"f{n}").options(queue="slow"))
        await node.insert(limited.three.new(marks, f"t{n}", 0.0).options(queue="slow"))
    await ended(node, 24)
    check_rate(starts_of(lines_of(Path(marks))), began, Rate(20))


async def test_a_job_under_two_limits_keeps_both(node: Node, marks: str) -> None:
    """A rate and a concurrency by the same key; the other key is not concerned."""
    began = time.monotonic()
    await node.insert_many(limited.both.new(marks, account, str(n)) for n in range(15) for account in ("a", "b"))
    await ended(node, 30)
    lines = lines_of(Path(marks))
    for account in ("a/", "b/"):
        assert most_at_once(lines, account) <= 2
        starts = starts_of(lines, account)
        check_rate(starts, began, Rate(20))
        assert starts[-1] - began < 10.0


async def test_a_cancelled_job_that_waits_keeps_no_place(node: Node, marks: str, tmp_path: Path) -> None:
    """Cancelled while it waits for the limit: the one behind it takes its turn."""
    gate = tmp_path / "gate"
    first = await node.insert(limited.one_an_account.new(marks, 1, "first", 0.0, str(gate)))
    await eventually(lambda: lines_of(Path(marks)), "the first one runs")
    waiting = [await node.insert(limited.one_an_account.new(marks, 1, f"w{n}", 0.0)) for n in range(6)]
    for job in waiting[:5]:
        assert (await node.cancel(job.id)).state == "cancelled"
    gate.touch()
    assert (await node.wait(waiting[5].id, WAIT)).state == "completed"
    assert (await node.wait(first.id, WAIT)).state == "completed"
    assert len(starts_of(lines_of(Path(marks)))) == 2


@pytest.mark.one_node
async def test_a_worker_that_fails_is_given_a_rest_and_tried_again(node: Node, marks: str, tmp_path: Path) -> None:
    """Opens after 5 failures, three probes after the rest, and closes when it is well.

    More jobs than the processes hold when they are given ahead what they can: those run all the same.
    """
    number = 3 * MAX_AHEAD + 200
    well = tmp_path / "well"
    told: list[LimitDecision] = []
    node.subscribe(told.append, LimitDecision)  # type: ignore[arg-type]
    await node.insert_many(limited.fragile.new(marks, str(n), str(well)) for n in range(number))
    await eventually(lambda: any(event.decision == "opened" for event in told), "it opened")
    await node.insert(limited.free.new(marks, "free"))
    await eventually(lambda: starts_of(lines_of(Path(marks)), "free"), "others are not concerned")
    well.touch()

    async def all_ended() -> bool:
        counts = await node.counts()
        return sum(sum(queue.by_state.get(s, 0) for s in ("completed", "discarded")) for queue in counts) == number + 1  # type: ignore[call-overload]

    await eventually(all_ended, "all have ended", WAIT)
    await eventually(lambda: any(event.decision == "closed" for event in told), "it closed")
    changes = [
        event for event in told if event.limit == "breaker" and event.decision in ("opened", "half_open", "closed")
    ]
    assert [event.decision for event in changes[:2]] == ["opened", "half_open"]
    for before, after in pairwise(changes):
        assert after.decision != "half_open" or after.at - before.at >= 0.4, "there was a rest"
    # What the processes had been given ahead runs in the rest, and no more than that. Lines have the monotonic clock.
    starts = [at + time.time() - time.monotonic() for at in starts_of(lines_of(Path(marks)))]
    in_rest = sum(changes[0].at + 0.005 < at < changes[1].at - 0.005 for at in starts)
    assert in_rest <= 3 * MAX_AHEAD + 1, "with the one that no limit concerns"


@pytest.mark.one_node
async def test_what_limits_decide_is_told(node: Node, marks: str, tmp_path: Path) -> None:
    """Held and released by a limit with its worker; a breaker that opens, with the seconds of its rest."""
    told: list[LimitDecision] = []
    node.subscribe(told.append, LimitDecision)  # type: ignore[arg-type]
    await node.insert_many(limited.three.new(marks, str(n), 0.01) for n in range(12))
    await ended(node, 12)
    await node.insert_many(limited.fragile.new(marks, f"x{n}", str(tmp_path / "well")) for n in range(6))

    def all_told() -> bool:
        seen = {(event.limit, event.decision, event.worker) for event in told}
        return seen >= {
            ("concurrency", "held", "three"),
            ("concurrency", "released", "three"),
            ("breaker", "opened", "fragile"),
        }

    await eventually(all_told, "limits and breaker are told of")
    assert next(event.seconds for event in told if event.decision == "opened") == 0.5


@pytest.mark.one_node
@pytest.mark.parametrize("child", ["limiter", "queues", "producer"])
async def test_what_knows_of_limits_may_be_killed(node: Node, marks: str, child: str) -> None:
    """The limiter, all queues or a producer end in the middle: the limit holds, and nothing is stuck."""
    await node.insert_many(limited.three.new(marks, str(n), 0.02) for n in range(60))
    await eventually(lambda: len(lines_of(Path(marks))) > 10, "some run")
    supervisor = node.supervisor
    if child == "producer":
        for queue in supervisor.which_child("queues").info.which_children():
            await queue.info.terminate_child("producer")
            await queue.info.restart_child("producer")
    else:
        await supervisor.terminate_child(child)
        await supervisor.restart_child(child)
    await ended(node, 60)
    lines = lines_of(Path(marks))
    if child != "queues":  # what a stopped process ran leaves no line at its end
        assert most_at_once(lines) <= 3
    assert len({line.split()[1] for line in lines if line.startswith("start")}) == 60
