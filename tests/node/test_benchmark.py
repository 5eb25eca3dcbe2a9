"""The benchmark of jobs works and gives its rows in the agreed shape; the figures themselves are judged elsewhere."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import jobs
from benchmarks.floor import measure_floor
from benchmarks.job_queue import startup, throughput
from benchmarks.job_queue.common import Setup
from benchmarks.job_queue.peers import peer_figures
from benchmarks.report import row


def test_benchmark_every_figure_comes_as_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], postgres_dsn: str
) -> None:
    """With tiny numbers; as JSON and as a table."""
    monkeypatch.setattr(throughput, "STATISTICS_LAG", 0.0)
    monkeypatch.setattr(jobs, "startup_rows", list)  # a cluster of its own takes seconds
    floor = measure_floor(postgres_dsn, seconds=0.05)
    assert min(floor.commit_ms, floor.copy, floor.unnest) > 0
    setup = Setup(
        postgres_dsn, floor, jobs=300, samples=5, times=1, seconds=0.05, backlog=2000, small_backlog=1000, deaths=2
    )
    monkeypatch.setattr(jobs, "sized", lambda dsn, *, quick: setup)
    monkeypatch.setattr("sys.argv", ["jobs", "--quick", "--json", "--store", postgres_dsn])
    jobs.main()
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) > 15
    assert {tuple(each) for each in rows} == {("figure", "value", "unit", "goal", "better", "floor", "peer", "ratio")}
    assert all(each["value"] >= 0 for each in rows)


def test_benchmark_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a row, below two of heading."""
    jobs.print_rows([row("copy", 3.0, "rows/s", goal=2, floor=6.0)], as_json=False)
    assert capsys.readouterr().out.splitlines()[2].split() == ["copy", "3", "rows/s", "2", "6", "0.5"]


def test_benchmark_memory_of_a_waiting_job_is_measured() -> None:
    """A table and a heap of many jobs take what they take; nothing else is counted."""
    assert startup.bytes_per_job(5_000) < 100_000


def test_benchmark_peers_do_the_same_work(postgres_dsn: str) -> None:
    """Nothing is said of a peer that is not installed."""
    pytest.importorskip("pgqueuer")
    figures = peer_figures(postgres_dsn, 20, 1)
    assert set(figures) == {"singles", "bulk", "drain"}
    assert min(figures.values()) > 0


def test_benchmark_peers_are_left_out_when_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on without them."""
    monkeypatch.setitem(sys.modules, "pgqueuer", None)
    assert peer_figures("postgresql://nowhere", 1, 1) == {}
