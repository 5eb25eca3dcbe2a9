"""The example programs run and say what they promise."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_embed_in_trio_loses_only_the_job_that_crashed(capsys: pytest.CaptureFixture[str]) -> None:
    """Nine of ten numbers are squared, and the crash is told."""
    runpy.run_path(str(EXAMPLES / "embed_in_trio.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "dislikes 13" in out
    assert "9 results" in out
    assert "the tree ended: normal" in out


def test_restart_strategies_tells_each_order(capsys: pytest.CaptureFixture[str]) -> None:
    """Stops in reverse, starts in order, and the limit at the end."""
    runpy.run_path(str(EXAMPLES / "restart_strategies.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "one_for_one   b crashes: stop b, start b\n" in out
    assert "stop b, stop d, stop c, stop a, start a, start b, start c, start d\n" in out
    assert "stop b, stop d, stop c, start b, start c, start d\n" in out
    assert "gave up" in out
