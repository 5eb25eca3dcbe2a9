"""The show: it ends with a clean audit, in words and as JSON, and can draw itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SECONDS = 90.0


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "kathikon_actors", "demo", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_the_show_survives_and_says_so_as_json() -> None:
    """Things were killed, jobs were done, none was lost."""
    done = _demo("--seconds", "3", "--seed", "11", "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 0, (summary, done.stderr)
    assert (summary["seed"], summary["ok"], summary["lost"], summary["completed_twice"]) == (11, True, 0, 0)
    assert summary["jobs"] == sum(summary["by_state"].values()) >= 20
    assert sum(summary["kills"].values()) >= 1


def test_piped_it_prints_plain_lines_and_draws_what_it_is_asked_to(tmp_path: Path) -> None:
    """A line a second and one for each kill; the picture is an SVG of the tree."""
    picture = tmp_path / "demo.svg"
    done = _demo("--seconds", "2", "--record", str(picture))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert " inserted, " in done.stdout
    assert "lost              0" in done.stdout
    drawn = picture.read_text()
    assert drawn.startswith("<svg")
    assert "producer" in drawn
    assert done.stderr == ""
