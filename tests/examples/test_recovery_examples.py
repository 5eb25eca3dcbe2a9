"""The examples about recovery run and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 90.0


def run_example(name: str, *arguments: str) -> str:
    """Run an example as a user does; give what it prints."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_let_it_crash_keeps_what_a_snapshot_kept() -> None:
    """Zero without one, five with one, in a task and after SIGKILL."""
    out = run_example("let_it_crash.py")
    assert "forgetful: back, and says 0\n" in out
    assert "careful: back, and says 5\n" in out
    assert "process: killed by SIGKILL, back, and says 5\n" in out


def test_poison_job_is_the_only_one_to_be_blamed() -> None:
    """A hundred completed, none counted; the culprit is discarded with the signal's name."""
    out = run_example("poison_job.py")
    assert "innocent: 100 of 100 completed" in out
    assert " 0 of them were blamed" in out
    assert "poison:   discarded after 2 attempts" in out
    assert out.count("SIGSEGV") >= 1


def test_rest_for_one_pipeline_restarts_the_stages_after_the_broken_one() -> None:
    """The source starts once; every number is written once."""
    out = run_example("rest_for_one_pipeline.py")
    assert "source starts, parser starts, writer starts, parser starts, writer starts" in out
    assert "written: [1, 2, 3, 5, 6]" in out


def test_fan_out_fan_in_waits_without_a_process() -> None:
    """The parent waits, the children run, the callback adds up."""
    out = run_example("fan_out_fan_in.py", "--pages", "1200")
    assert "the book is waiting" in out
    assert "the book is completed: 1200 pages are being counted" in out
    assert "1200 of 1200 pages were counted" in out


def test_tenants_are_served_in_turns(tmp_path: Path) -> None:
    """The small ones wait for the flood in a plain queue, and not in a fair one; the plot shows it."""
    picture = tmp_path / "tenants.svg"
    out = run_example("tenants.py", "--plot", str(picture))
    plain, fair = (int(line.split()[-2]) for line in out.splitlines()[:2])
    assert plain > 1000
    assert fair < 400
    assert picture.read_text().count("<rect") == 21


def test_cron_and_leader_fires_each_tick_once_though_the_leader_dies() -> None:
    """No tick is left out, none is fired twice, and the second node takes over."""
    out = run_example("cron_and_leader.py", "--ticks", "5")
    assert "each fired 1 time;" in out
    assert "; 0 of them by the second node" not in out
    assert "no second was left out" in out


def test_supervised_web_app_has_both_order_and_job_or_neither() -> None:
    """The order that is rolled back leaves no job; the other is charged."""
    pytest.importorskip("hypercorn")
    out = run_example("supervised_web_app.py", "--once", "--port", "0")
    assert "tea: 201" in out
    assert "air: 400 an order costs something" in out
    assert '{"orders": [{"id": 1, "item": "tea"}], "charges": ["order 1: charged 450 ct"]}' in out
