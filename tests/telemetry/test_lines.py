"""Log lines: each says which job it is about, as text or JSON."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from kathikon_actors import BadConfiguration
from kathikon_actors.jobs import runtime
from kathikon_actors.telemetry import (
    Event,
    JobTransition,
    LogLines,
    NodeChanged,
    StoreCut,
    StoreFlushed,
    configure_logging,
)
from tests.support.records import new_record


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    level = root.level
    yield io.StringIO()
    for handler in [handler for handler in root.handlers if handler.get_name() == "kathikon"]:
        root.removeHandler(handler)
    root.setLevel(level)


class Running:
    """A job that runs here, as far as a log line wants to know."""

    is_async = True

    def __init__(self) -> None:
        self.record = new_record(worker="charge", queue="billing", attempt=2)
        self.job_id = self.record.id
        self.seq = 1


def test_a_line_that_is_logged_while_a_job_runs_says_which(stream: io.StringIO) -> None:
    """Whoever logs it; and one that is logged elsewhere says nothing of a job."""
    configure_logging("json", stream=stream)
    logging.getLogger("shop").info("before")
    running: Any = Running()
    token = runtime.CURRENT.set(running)
    try:
        logging.getLogger("shop").warning("charged %d", 5)
        try:
            raise ValueError("boom")
        except ValueError:
            logging.getLogger("shop").exception("failed")
    finally:
        runtime.CURRENT.reset(token)
    before, charged, failed = map(json.loads, stream.getvalue().splitlines())
    assert before.keys() == {"at", "level", "logger", "message"}
    assert charged == {
        "at": charged["at"], "level": "warning", "logger": "shop", "message": "charged 5", "worker": "charge",
        "job_id": str(UUID(bytes=running.job_id)), "queue": "billing", "attempt": 2,
    }  # fmt: skip
    assert failed["traceback"].endswith("ValueError: boom")


def test_text_lines_end_with_the_job(stream: io.StringIO) -> None:
    """For people."""
    configure_logging("json", stream=io.StringIO())
    configure_logging(stream=stream, level="debug")
    running: Any = Running()
    token = runtime.CURRENT.set(running)
    logging.getLogger("shop").debug("hello")
    runtime.CURRENT.reset(token)
    [line] = stream.getvalue().splitlines()
    job = UUID(bytes=running.job_id)
    assert line.endswith(f"DEBUG shop: hello [job_id={job} worker=charge queue=billing attempt=2]")


def test_events_become_lines_by_their_weight(stream: io.StringIO) -> None:
    """What went wrong is a warning or an error; commits are only for those who debug."""
    configure_logging("json", stream=stream)
    lines = LogLines()
    job: dict[str, Any] = {"job_id": UUID(int=1), "worker": "charge", "queue": "billing", "attempt": 1, "at": 5.0}
    events: list[Event] = [
        JobTransition(event="completed", old="executing", new="completed", seconds=0.25, **job),
        JobTransition(event="failed", old="executing", new="retryable", **job),
        JobTransition(event="failed", old="executing", new="discarded", **job),
        StoreFlushed(lane="inserts", rows=1, seconds=0.1),
        StoreCut(problem="gone"),
        NodeChanged(action="started"),
    ]
    for event in events:
        lines(event)
    found = list(map(json.loads, stream.getvalue().splitlines()))
    assert [line["level"] for line in found] == ["info", "warning", "error", "error", "info"]
    assert found[0]["message"] == "job completed: executing -> completed after 0.250 s"
    assert (found[0]["job_id"], found[0]["worker"], found[0]["seconds"]) == (str(UUID(int=1)), "charge", 0.25)
    assert (found[0]["event"], found[0]["transition"]) == ("JobTransition", "completed")
    assert found[3]["message"] == "StoreCut: problem gone"


@pytest.mark.parametrize(("form", "level"), [("xml", "INFO"), ("text", "LOUD")])
def test_what_is_no_format_or_level_is_refused(form: Any, level: str) -> None:
    """With those that are."""
    with pytest.raises(BadConfiguration, match="give"):
        configure_logging(form, level=level)
