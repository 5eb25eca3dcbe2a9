"""Section 4 of the contract on a real node: middleware, rules for exceptions, on_discard, the job's log."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kathikon_actors import App, BadConfiguration, Job, Node, Queue, open_node
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.telemetry import JobProgress
from supervisors.testing import crash
from tests.node import contract, workers
from tests.node.conftest import Place
from tests.support.waiting import eventually, lines_of

WAIT = 30.0
SOON = 1.0
"""Seconds: the timeout of what does not end by itself. It is that of `on_discard`, too, which is to have the time."""

FORMS: list[Any] = [contract.wrapped, contract.WrappedAsync]


@pytest.fixture
async def node(place: Place) -> AsyncIterator[Node]:
    async with place.open(contract.app) as node:
        yield node


async def run(node: Node, new: NewJob) -> Job:
    job = await node.insert(new)
    return await node.wait(job.id, timeout=WAIT)


@pytest.mark.parametrize("form", FORMS)
async def test_the_apps_chain_runs_first_then_the_workers_then_perform(node: Node, tmp_path: Path, form: Any) -> None:
    """Each sees the job before, and the outcome after."""
    path = tmp_path / "lines"
    done = await run(node, form.new(path=str(path), how="pass"))
    assert (done.state, done.result) == ("completed", "performed")
    lines = lines_of(path)
    assert lines[0] == f"app before {done.worker} 1"
    assert lines[1] == "worker before"
    assert lines[2].startswith("perform")
    assert lines[3:] == ["app after"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_middleware_may_short_circuit_alter_catch_or_raise(node: Node, tmp_path: Path, form: Any) -> None:
    """With any outcome; what it raises is the job's failure."""
    path = str(tmp_path / "lines")
    assert (await run(node, form.new(path=path, how="short"))).result == "from the middleware"
    assert not any(line.startswith("perform") for line in lines_of(tmp_path / "lines"))
    assert (await run(node, form.new(path=path, how="alter"))).result == {"altered": "performed"}
    assert (await run(node, form.new(path=path, how="catch"))).result == "caught"
    raised = await run(node, form.new(path=path, how="raise"))
    assert (raised.state, raised.errors[0]["message"]) == ("discarded", "LookupError: the middleware's own")
    failed = await run(node, form.new(path=path, how="error"))
    assert (failed.state, failed.errors[0]["message"]) == ("discarded", "ValueError: perform's own")
    snoozed = await node.insert(form.new(path=path, how="snooze"))
    async with node.events() as events:
        while (await node.get(snoozed.id)).state != "scheduled":
            await events.__anext__()
    assert (await node.cancel(snoozed.id)).attempt == 0


async def test_a_middleware_that_needs_a_loop_says_so_round_a_plain_function(node: Node, tmp_path: Path) -> None:
    """Round an async one it may await what it likes."""
    path = str(tmp_path / "lines")
    assert (await run(node, contract.WrappedAsync.new(path=path, how="await"))).state == "completed"
    refused = await run(node, contract.wrapped.new(path=path, how="await"))
    assert refused.state == "discarded"
    assert "async" in refused.errors[0]["message"]


async def test_exceptions_that_are_not_named_by_retry_on_discard_at_once(node: Node) -> None:
    """Those that are, are tried again with a delay of their own."""
    for what in ("timeout", "connection"):
        tried = await run(node, contract.picky.new(what))
        assert (tried.state, tried.attempt) == ("discarded", 3)
    once = await run(node, contract.picky.new("other"))
    assert (once.state, once.attempt) == ("discarded", 1)
    assert once.errors[0]["kind"] == "exception"
    assert "ValueError: other" in (once.errors[0]["traceback"] or "")


async def test_exceptions_named_by_discard_on_discard_at_once(node: Node) -> None:
    """Also out of a nursery, which wraps them."""
    once = await run(node, contract.final.new("key"))
    assert (once.state, once.attempt) == ("discarded", 1)
    tried = await run(node, contract.final.new("value"))
    assert (tried.state, tried.attempt) == ("discarded", 3)


async def test_the_log_of_a_job_carries_its_context(node: Node, tmp_path: Path) -> None:
    """Every line says which job it is about."""
    path = tmp_path / "lines"
    done = await run(node, contract.speaks.new(str(path)))
    assert done.state == "completed"
    assert [line for line in lines_of(path) if not line.startswith("app")] == [
        "kathikon_actors.job.speaks charged 5 cents speaks default 1",
        str(done.id),
    ]


async def test_a_chain_that_cannot_be_sent_is_told_when_the_node_opens() -> None:
    """Nothing runs without the chain that was asked for."""
    held = threading.Lock()  # something that cannot be pickled

    async def local(job: Job, call_next: Any) -> object:
        return held

    with pytest.raises(Exception, match="middleware .*local.* cannot be imported by name"):
        async with open_node(App([Queue("default")], workers=[workers.add], middleware=[local])):
            raise AssertionError("it opens")


def test_a_chain_of_something_else_is_refused_when_declared() -> None:
    """With whose it is."""
    with pytest.raises(BadConfiguration, match="App: middleware"):
        App([Queue("default")], workers=[workers.add], middleware=[print])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("fail", "discarded 2 fail,fail"),
        ("raise", "discarded 2 exception,exception"),
        ("discard", "discarded 1 discard"),
        ("crash", "discarded 2 crash,crash"),
        ("spin", "discarded 2 timeout,timeout"),
    ],
)
async def test_on_discard_is_called_once_with_the_errors_however_the_job_ended(
    node: Node, tmp_path: Path, how: str, line: str
) -> None:
    """In a worker process, also after a crash or a timeout; the end is told when it has run."""
    path = tmp_path / "lines"
    timeout = {"timeout": SOON} if how == "spin" else {}
    done = await run(node, contract.Fragile.new(path=str(path), how=how).options(**timeout))
    assert done.state == "discarded"
    assert [left for left in lines_of(path) if not left.startswith("app")] == [line]
    assert (await node.get(done.id)).to_dict() == done.to_dict()


async def test_on_discard_in_its_other_forms(node: Node, tmp_path: Path) -> None:
    """An async method, and a function given to the decorator."""
    path = tmp_path / "lines"
    await run(node, contract.FragileAsync.new(path=str(path)))
    await run(node, contract.hopeless.new(str(path)))
    found = [left for left in lines_of(path) if not left.startswith("app")]
    assert found == ["discarded ValueError: boom", "hopeless discarded"]


@pytest.mark.parametrize("hook", ["raise", "crash", "spin", "babble"])
async def test_a_broken_on_discard_is_logged_and_changes_nothing(
    node: Node, tmp_path: Path, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What it raises, that it kills its process, does not end in the job's timeout, writes into the node's socket."""
    path = tmp_path / "lines"
    timeout = {"timeout": SOON} if hook == "spin" else {}
    new = contract.Fragile.new(path=str(path), how="discard").options(meta={"hook": hook}, **timeout)
    done = await run(node, new)
    assert (done.state, len(done.errors), done.errors[0]["kind"]) == ("discarded", 1, "discard")
    words = {
        "raise": "the hook is broken too",
        "crash": "SIGKILL",
        "spin": "did not end within 1 s",
        "babble": "sent what is no frame",
    }
    said = [record.getMessage() for record in caplog.records if "on_discard of job" in record.getMessage()]
    assert any(words[hook] in message for message in said)
    again = await run(node, contract.Fragile.new(path=str(path), how="discard"))
    assert again.state == "discarded"


async def test_on_discard_is_not_called_for_what_did_not_fail(node: Node, tmp_path: Path) -> None:
    """A success, and a job that an operator discards."""
    path = tmp_path / "lines"
    assert (await run(node, contract.Fragile.new(path=str(path), how="fine"))).state == "completed"
    later = await node.insert(contract.Fragile.new(path=str(path), how="fine").options(schedule_in=60))
    assert (await node.discard(later.id)).state == "discarded"
    assert not [left for left in lines_of(path) if not left.startswith("app")]


async def test_progress_is_seen_live_told_and_stored(node: Node, tmp_path: Path) -> None:
    """In the node's memory at once, as an event, and in the store as soon as the job is shown as executing."""
    async with node.events(JobProgress) as events:
        job = await node.insert(contract.creep.new(flag=str(tmp_path / "flag")))
        await eventually(lambda: live(node, job, 10), "seen live")
        await eventually(lambda: stored(node, job, 10), "stored")
        (tmp_path / "flag").touch()
        assert (await node.wait(job.id, timeout=WAIT)).progress == 100
        event = await events.__anext__()
    assert isinstance(event, JobProgress)
    assert (event.job_id, event.worker, event.percent) == (job.id, "creep", 2)


async def live(node: Node, job: Job, least: int) -> bool:
    return (await node.get(job.id)).progress >= least


async def stored(node: Node, job: Job, least: int) -> bool:
    return any(found.progress >= least for found in await node.list(state="executing") if found.id == job.id)


async def test_a_node_that_stops_lets_on_discard_run_first(store_url: str, tmp_path: Path) -> None:
    """Within its shutdown timeout."""
    path = tmp_path / "lines"
    async with (
        open_node(contract.app, store=store_url, name="n1", shutdown_timeout=20) as node,
        node.events() as events,
    ):
        job = await node.insert(contract.Fragile.new(path=str(path), how="discard"))
        async for event in events:
            if getattr(event, "new", None) == "discarded":
                break
    assert [left for left in lines_of(path) if not left.startswith("app")] == ["discarded 1 discard"]
    assert job.worker == "Fragile"


@pytest.mark.one_node
async def test_mourners_that_crash_call_on_discard_again(node: Node, tmp_path: Path) -> None:
    """What was under way is taken up, and the job ends as it should."""
    path, flag = tmp_path / "lines", tmp_path / "flag"
    meta = {"flag": str(flag)}
    new = contract.Fragile.new(path=str(path), how="discard").options(meta=meta, timeout=20)
    job = await node.insert(new)
    await eventually(lambda: len(mourned(path)) == 1, "it is called")
    assert (await node.get(job.id)).state == "executing"
    crash(node.supervisor, "mourners", RuntimeError("killed by the test"))
    await eventually(lambda: len(mourned(path)) == 2, "it is called again")
    flag.touch()
    assert (await node.wait(job.id, timeout=WAIT)).state == "discarded"
    assert mourned(path) == ["discarded 1 discard"] * 2


def mourned(path: Path) -> list[str]:
    return [left for left in lines_of(path) if not left.startswith("app")]


async def test_on_discard_is_not_called_when_an_operator_discards_a_running_job(node: Node, tmp_path: Path) -> None:
    """That is no failure."""
    path = tmp_path / "lines"
    job = await node.insert(contract.Fragile.new(path=str(path), how="spin").options(timeout=60))
    await eventually(lambda: len(lines_of(path)) == 1, "it runs")
    assert (await node.discard(job.id)).state == "discarded"
    assert mourned(path) == []
