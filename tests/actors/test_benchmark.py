"""The benchmark program works and gives its rows in the agreed shape; the figures themselves are judged elsewhere."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("pykka", reason="a peer of the benchmark; installed by the extra `bench`")

from benchmarks import actors


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_benchmark_every_row_of_the_cost_table_comes_with_floor_and_peer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With tiny numbers; as JSON and as a table."""
    rows = actors.measure(actors.SIZES["tiny"])
    assert [row["goal"] for row in rows] == [60_000, 9_000, 40_000, 3_000, 200_000, 8, 15, 10_240]
    assert all(row["value"] and row["floor"] and row["peer"] for row in rows)
    monkeypatch.setattr(actors, "measure", lambda sizes: rows)
    monkeypatch.setattr("sys.argv", ["actors", "--quick", "--json"])
    actors.main()
    shown = json.loads(capsys.readouterr().out)
    assert shown == rows
    assert {tuple(row) for row in shown} == {("figure", "value", "unit", "goal", "better", "floor", "peer", "ratio")}
    monkeypatch.setattr("sys.argv", ["actors"])
    actors.main()
    assert len(capsys.readouterr().out.splitlines()) == len(rows) + 2
