"""OpenTelemetry: one trace from the insert to the run, and to the spans of the job's own code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kathikon_actors import App, BadConfiguration, Queue
from kathikon_actors.telemetry.tracing import traced
from tests.node import workers

ROOT = Path(__file__).parents[2]

PROGRAM = """
import trio
from opentelemetry import trace
from kathikon_actors import open_node
from tests.node import traced

async def main():
    async with open_node(traced.app) as node:
        with trace.get_tracer("shop").start_as_current_span("request"):
            jobs = [await node.insert(traced.outer_work.new("a").options(meta={"kept": 1}))]
            jobs += [await node.insert(traced.plain_work.new(how)) for how in ("ok", "raise", "fail")]
        for job in jobs:
            await node.wait(job.id, timeout=30)
        assert jobs[0].meta["kept"] == 1 and "traceparent" in jobs[0].meta

trio.run(main)
"""

SEALED_PROGRAM = """
import trio
from kathikon_actors import open_node
from tests.node import traced

async def main():
    async with open_node(traced.sealed_app) as node:
        for job in [await node.insert(traced.plain_work.new(how)) for how in ("ok", "raise")]:
            await node.wait(job.id, timeout=30)

trio.run(main)
"""


def spans_of(program: str, path: Path) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "KATHIKON_TEST_SPANS": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_trace_goes_from_the_insert_to_the_job(tmp_path: Path) -> None:
    """Across the processes: request, insert, perform, and what the job does in it."""
    spans = spans_of(PROGRAM, tmp_path / "spans")
    assert len({span["context"]["trace_id"] for span in spans}) == 1
    by_id = {span["context"]["span_id"]: span for span in spans}
    by_name: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        by_name.setdefault(span["name"], []).append(span)
    [inside] = by_name["inside"]
    perform = by_id[inside["parent_id"]]
    insert = by_id[perform["parent_id"]]
    assert (perform["name"], insert["name"]) == ("perform outer_work", "insert outer_work")
    assert by_id[insert["parent_id"]]["name"] == "request"
    assert perform["kind"] == "SpanKind.CONSUMER"
    assert perform["attributes"]["messaging.destination.name"] == "default"
    statuses = sorted(span["status"]["status_code"] for span in by_name["perform plain_work"])
    assert statuses == ["ERROR", "ERROR", "UNSET"]
    assert "boom: 4111" in str(spans)


def test_spans_of_an_app_that_encrypts_tell_nothing_of_what_an_error_says(tmp_path: Path) -> None:
    """The type of the error stands there; its words would leave the encryption."""
    spans = spans_of(SEALED_PROGRAM, tmp_path / "spans")
    statuses = [span["status"] for span in spans if span["name"] == "perform plain_work"]
    assert {"status_code": "ERROR", "description": "ValueError"} in statuses
    assert len(statuses) == 2
    assert "4111" not in str(spans)


def test_without_a_provider_nothing_is_added_to_a_job() -> None:
    """The interface alone makes no spans."""
    assert traced(workers.add.new(1)).given.get("meta") in (None, {})


def test_tracing_is_on_or_off() -> None:
    """Anything else is refused."""
    with pytest.raises(BadConfiguration, match="tracing"):
        App([Queue("default")], workers=[workers.add], tracing="yes")  # type: ignore[arg-type]
