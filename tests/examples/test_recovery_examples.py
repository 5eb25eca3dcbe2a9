"""The examples about recovery run and say what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 60.0


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
