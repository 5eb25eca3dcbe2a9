"""The server of a test run."""

from __future__ import annotations

import os
import shutil
import signal
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


@pytest.mark.parametrize("at_once", [True, False])
def test_what_a_killed_run_left_is_removed_by_the_next_one(place: Path, *, at_once: bool) -> None:
    """Its server died with it, in whatever state it left its files; a run that lives keeps its own."""
    runs = [
        subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) for _ in ("killed", "alive")
    ]
    try:
        directories = []
        for run in runs:
            assert run.stdout is not None
            directories.append(Path(run.stdout.readline().strip()))
        killed, alive = directories
        pid_file = killed / "data" / "postmaster.pid"
        server = int(pid_file.read_text().split()[0])
        runs[0].kill()
        runs[0].wait()
        assert killed.parent == alive.parent == place
        assert (killed / "data").exists()
        if at_once:
            os.kill(server, signal.SIGKILL)  # else it sees that its run is dead, and stops as it should
        else:
            eventually_sync(lambda: not pid_file.exists(), "its server has stopped")

        def only_the_living_is_left() -> bool:
            with open_postgres_server() as server:
                return set(place.iterdir()) == {alive, server.server.path}

        # The last processes of the server may write a file after the first of these.
        eventually_sync(only_the_living_is_left, "the next run has removed what the killed one left", 60)
        assert (alive / "data" / "postmaster.pid").exists()
    finally:
        for run in runs:
            run.kill()
            run.wait()
            assert run.stdout is not None
            run.stdout.close()
