"""The server of a test run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kathikon_actors.testing.postgres import open_postgres_server
from tests.support.waiting import eventually_sync

RUN = """
import time
from kathikon_actors.testing.postgres import open_postgres_server
with open_postgres_server() as server:
    print(server.server.path, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files lie for this test, here and in the processes that it starts."""
    path = Path(tempfile.mkdtemp(prefix="kathikon-test-"))
    path.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    monkeypatch.setenv("TMPDIR", str(path))
    yield path

    def is_gone() -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return not path.exists()

    eventually_sync(is_gone, "the servers are gone, and their files")


def test_what_a_killed_run_left_is_removed_by_the_next_one(place: Path) -> None:
    """Its server died with it; a run that lives keeps its own."""
    runs = [
        subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) for _ in ("killed", "alive")
    ]
    try:
        directories = []
        for run in runs:
            assert run.stdout is not None
            directories.append(Path(run.stdout.readline().strip()))
        killed, alive = directories
        runs[0].kill()
        runs[0].wait()
        assert killed.parent == alive.parent == place
        assert (killed / "data").exists()

        def only_the_living_is_left() -> bool:
            # A server takes a moment to see that its run is dead; until then its files are in use.
            with open_postgres_server() as server:
                return set(place.iterdir()) == {alive, server.server.path}

        eventually_sync(only_the_living_is_left, "the next run has removed what the killed one left", 60)
        assert (alive / "data" / "postmaster.pid").exists()
    finally:
        for run in runs:
            run.kill()
            run.wait()
            assert run.stdout is not None
            run.stdout.close()
