"""A directory with an app, and commands run in it as processes of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.cli.program import APP, Directory, embed_jobs
from tests.support.waiting import eventually_sync


@pytest.fixture(scope="session")
def made_store() -> Iterator[Path]:
    """The directory of an embedded store in which nothing runs, with the schema; to be copied."""
    path = Path(tempfile.mkdtemp(prefix="kathikon-test-"))
    trio.run(embed_jobs, path, "nobody")
    yield path
    shutil.rmtree(path)


@pytest.fixture
def embedded(place: Directory, made_store: Path) -> Directory:
    """The directory with the app, and with a store that need not be made first."""
    # Under root the copy is root's: a server gives it to its own user when it starts.
    shutil.copytree(made_store, place.store, ignore=shutil.ignore_patterns("run", "lock"))
    return place


@pytest.fixture
def place() -> Iterator[Directory]:
    """A directory with `shop.py` in it; gone afterwards, and no process may be left that runs in it."""
    path = Path(tempfile.mkdtemp(prefix="kathikon-test-"))
    (path / "shop.py").write_text(APP)
    directory = Directory(path)
    try:
        yield directory
        # A killed node's children are ended by the kernel, a moment later.
        eventually_sync(lambda: not directory.processes(), "no process is left", 30)
    finally:
        directory.end()
        shutil.rmtree(path)
