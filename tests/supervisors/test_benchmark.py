"""The benchmark program works and gives its rows in the agreed shape; the figures themselves are judged elsewhere."""

from __future__ import annotations

import json

import pytest
import trio

from benchmarks import supervision


def test_benchmark_every_figure_comes_as_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With tiny numbers; as JSON and as a table."""
    rows = trio.run(supervision.starts, 5) + trio.run(supervision.restarts, 20, 10) + trio.run(supervision.stops, 50)
    rows += [supervision.row("memory", trio.run(supervision.memory, "supervisor", 50), "bytes", 8192.0, None)]
    monkeypatch.setattr(supervision, "measure", lambda *, quick: rows if quick else [])
    monkeypatch.setattr("sys.argv", ["supervision", "--quick", "--json"])
    supervision.main()
    shown = json.loads(capsys.readouterr().out)
    assert shown == rows
    assert {tuple(row) for row in shown} == {("figure", "value", "unit", "goal", "better", "floor", "peer", "ratio")}
    monkeypatch.setattr("sys.argv", ["supervision", "--quick"])
    supervision.main()
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 1
