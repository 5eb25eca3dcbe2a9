"""What a run gives, from a plain and from an async worker process alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import pytest

from kathikon_actors.jobs import json
from kathikon_actors.processes.handle import WorkerProcess
from kathikon_actors.processes.messages import FromWorker, Progress, Report, Run
from tests.processes.tools import ALL, open_worker, receive, record, report, run


@pytest.fixture
async def plain() -> AsyncIterator[WorkerProcess]:
    async with open_worker() as worker:
        yield worker


@pytest.fixture(params=["plain", "async"])
async def worker(request: pytest.FixtureRequest) -> AsyncIterator[WorkerProcess]:
    kind: Literal["plain", "async"] = request.param
    async with open_worker(kind, 1 if kind == "plain" else 4) as process:
        yield process


EXPECTED: dict[str, tuple[object, ...]] = {
    "none": ("completed", b"null"),
    "value": ("completed", '{"a":[1,"ü",null]}'.encode()),
    "snooze": ("snoozed", None, None, None, 2.5),
    "raise_snooze": ("snoozed", None, None, None, 2.5),
    "bad_snooze": (
        "failed",
        None,
        "invalid_snooze",
        "Snooze(-1): give a number of seconds above 0, at most 100 years",
        None,
    ),
    "far_snooze": (
        "failed",
        None,
        "invalid_snooze",
        "Snooze(300000000000.0): give a number of seconds above 0, at most 100 years",
        None,
    ),
    "text_snooze": (
        "failed",
        None,
        "invalid_snooze",
        "Snooze('soon'): give a number of seconds above 0, at most 100 years",
        None,
    ),
    "fail": ("failed", None, "fail", "no money", None),
    "raise_fail": ("failed", None, "fail", "no money", None),
    "retry": ("failed", None, "retry", "busy", 7.0),
    "retry_far": ("failed", None, "retry", "busy", 40 * 86_400.0),
    "retry_at_once": ("failed", None, "retry", "busy", 0.0),
    "retry_too_far": ("failed", None, "retry", "busy", None),
    "retry_default": ("failed", None, "retry", "busy", None),
    "discard": ("discarded", None, "discard", "bad row", None),
    "group": ("discarded", None, "discard", "bad row", None),
    "cancel": ("cancelled", None, "cancel", "not wanted", None),
    "raise": ("failed", None, "exception", "ValueError: no such invoice", None),
    "exit": ("failed", None, "exit", "SystemExit: 4", None),
    "keyboard": ("failed", None, "exception", "KeyboardInterrupt: ", None),
    "base": ("failed", None, "exception", "BaseException: bare", None),
    "surrogate": ("failed", None, "exception", "ValueError: \\ud800 and \\x00", None),
    "raise_bad_text": (
        "failed",
        None,
        "exception",
        "tests.processes.sample_workers.BadText: <its __str__ raised RuntimeError>",
        None,
    ),
}


async def test_every_outcome_gives_the_verdict_of_the_contract(worker: WorkerProcess) -> None:
    """One process runs them all, one after another, and none of them ends it."""
    for seq, (what, expected) in enumerate(EXPECTED.items(), 1):
        worker.send([run(seq, f"{worker.kind}_outcome", what=what)])
        got = await report(worker)
        fields = (got.verdict, got.result, got.kind, got.message, got.delay)
        assert (got.seq, fields[: len(expected)]) == (seq, expected), what
        assert got.seconds > 0


async def test_a_result_that_is_not_json_completes_with_a_note(worker: WorkerProcess) -> None:
    """A success never turns into a failure after its side effects."""
    worker.send([run(1, f"{worker.kind}_outcome", what="not_json"), run(2, f"{worker.kind}_outcome", what="nan")])
    first, second = sorted(await receive(worker, 2), key=lambda message: message.seq)
    assert isinstance(first, Report) and isinstance(second, Report)
    assert (first.verdict, first.result) == ("completed", b"null")
    assert first.note is not None and first.note.startswith("result is of type object, which is not JSON")
    assert (second.verdict, second.note) == ("completed", "result is nan, which JSON has no number for")


async def test_a_traceback_shows_the_users_frames_only(worker: WorkerProcess) -> None:
    """It begins in the user's code; the loop that called it is left out."""
    worker.send([run(1, f"{worker.kind}_outcome", what="raise")])
    trace = (await report(worker)).traceback
    assert trace is not None
    assert "sample_workers.py" in trace and "kathikon_actors/processes" not in trace
    assert trace.rstrip().endswith("ValueError: no such invoice")


async def test_endless_recursion_is_a_failure_with_a_short_traceback(worker: WorkerProcess) -> None:
    """The stack is gone by the time the report is written."""
    worker.send([run(1, f"{worker.kind}_outcome", what="recursion"), run(2, f"{worker.kind}_outcome", what="none")])
    first, second = sorted(await receive(worker, 2), key=lambda message: message.seq)
    assert isinstance(first, Report) and isinstance(second, Report)
    assert first.kind == "exception" and (first.message or "").startswith("RecursionError: maximum recursion depth")
    assert len(first.traceback or "") < 20_000
    assert second.verdict == "completed"


async def test_the_workers_own_backoff_gives_the_delay(plain: WorkerProcess) -> None:
    """It is asked in the worker process, with the attempt and the error; an unusable answer is the default."""
    names = ["own_backoff", "useless_backoff", "raising_backoff"]
    plain.send([run(seq, name) for seq, name in enumerate(names, 1)])
    got = await receive(plain, 3)
    assert [message.delay for message in got if isinstance(message, Report)] == [24.0, None, None]
    assert {message.verdict for message in got if isinstance(message, Report)} == {"failed"}


async def test_the_class_form_makes_an_instance_for_each_run(plain: WorkerProcess) -> None:
    """`perform(self, job, ...)` gets the job and its arguments."""
    plain.send([run(1, "ClassForm"), run(2, "ClassForm", start=9)])
    got = [json.decode(m.result or b"") for m in await receive(plain, 2) if isinstance(m, Report)]
    assert got == [["ClassForm", 5, 1], ["ClassForm", 9, 2]]


async def test_the_async_class_form_is_awaited() -> None:
    """An async `perform` runs on the loop and takes free-form arguments through the job."""
    async with open_worker("async", 2) as worker:
        worker.send([run(1, "AsyncClassForm", any=1, name="x")])
        assert (await report(worker)).result == b'{"any":1,"name":"x"}'


async def test_arguments_that_do_not_fit_are_a_failure_that_says_which(worker: WorkerProcess) -> None:
    """They fitted when the job was inserted; the code may have changed since."""
    bad = record("write_line", path="x")
    broken = record("write_line")
    broken.args = b"[1"
    worker.send([Run(1, bad), Run(2, broken)])
    first, second = sorted(await receive(worker, 2), key=lambda message: message.seq)
    assert isinstance(first, Report) and isinstance(second, Report)
    assert (first.verdict, first.kind) == (second.verdict, second.kind) == ("failed", "arguments")
    assert first.message == "write_line: missing a required argument: 'line'"


async def test_an_unknown_worker_is_a_failure_and_the_process_goes_on(worker: WorkerProcess) -> None:
    """Code that is deployed later must not put the process into a crash loop."""
    worker.send([run(1, "deployed_later"), run(2, f"{worker.kind}_outcome", what="none")])
    first, second = sorted(await receive(worker, 2), key=lambda message: message.seq)
    assert isinstance(first, Report) and isinstance(second, Report)
    assert (first.verdict, first.kind) == ("failed", "unknown_worker")
    assert 'no worker "deployed_later"' in (first.message or "")
    assert second.verdict == "completed"


async def test_runs_are_executed_in_order(plain: WorkerProcess) -> None:
    """A plain process runs what it is sent in the order it was sent."""
    plain.send([run(seq, "double", number=seq) for seq in range(1, 501)])
    got = await receive(plain, 500)
    assert [(m.seq, m.result) for m in got if isinstance(m, Report)] == [
        (seq, str(2 * seq).encode()) for seq in range(1, 501)
    ]


async def test_progress_arrives_before_the_report(worker: WorkerProcess) -> None:
    """`report_progress` is sent at once, in order, and the job knows its attempt."""
    name = "tell_progress" if worker.kind == "plain" else "async_tell_progress"
    worker.send([run(1, name, percents=[10, 50, 50, 100])])
    got = await receive(worker, 4)
    assert got[:3] == [Progress(1, 10), Progress(1, 50), Progress(1, 100)]
    assert isinstance(got[3], Report) and got[3].result == b"[2,false]"


async def test_a_tight_loop_of_progress_does_not_flood_the_node(plain: WorkerProcess) -> None:
    """Of tens of thousands of calls, a burst and then 20 a second pass."""
    plain.send([run(1, "tight_progress", seconds=0.5)])
    messages: list[FromWorker] = []
    while not (messages and isinstance(messages[-1], Report)):
        messages += await plain.receive()
    assert isinstance(messages[-1], Report)
    calls, took = json.decode(messages[-1].result or b"")
    assert calls > 1_000
    assert 20 <= len(messages) - 1 <= 20 + 20 * took + 1


async def test_context_variables_do_not_leak_into_the_next_job(worker: WorkerProcess) -> None:
    """Each run has a context of its own."""
    name = "remember" if worker.kind == "plain" else "async_remember"
    worker.send([run(1, name, note="first"), run(2, name, note="second")])
    assert [m.result for m in await receive(worker, 2) if isinstance(m, Report)] == [b'"untouched"'] * 2


async def test_an_async_worker_in_a_plain_process_fails_with_a_reason() -> None:
    """A job sent to the wrong kind of process is told so; nothing is left unawaited."""
    async with open_worker("plain", definitions=ALL) as worker:
        worker.send([run(1, "async_noop")])
        got = await report(worker)
    assert (got.verdict, got.kind) == ("failed", "exception")
    assert got.message == "TypeError: this worker is async; it runs in an async worker process"
