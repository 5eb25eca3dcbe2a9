"""Nodes in processes of their own, as if they ran on another machine: only the database leads to them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import eventually_sync

__all__ = ["far_node"]


@contextmanager
def far_node(store: str, name: str, app: str = "tests.node.workers:app") -> Iterator[subprocess.Popen[bytes]]:
    """Run a node until the block ends, with a control socket that nobody finds."""
    with tempfile.TemporaryDirectory(prefix="kathikon-far-") as directory, open(f"{directory}/err", "wb") as log:  # noqa: PTH123
        os.chmod(directory, 0o700)  # noqa: PTH101
        command = [sys.executable, "-m", "kathikon_actors", "node", app, "--store", store, "--name", name]
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "KATHIKON_RUNTIME_DIR": directory}
        )
        try:
            said = Path(directory, "err")
            eventually_sync(lambda: b"is ready" in said.read_bytes() or process.poll() is not None, "it is ready", 60)
            assert process.poll() is None, said.read_text()
            yield process
        finally:
            process.kill()
            process.wait()
