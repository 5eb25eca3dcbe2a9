"""Fixtures that every room of the tests shares, and how property tests run: no file is left, no clock decides."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from kathikon_actors.testing.postgres import PostgresServer

pytest_plugins = ["kathikon_actors.testing.plugin", "pytester"]

settings.register_profile("tests", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background has us ignore Ctrl-C, and what we start inherits that: give it back, so
    # that the tests which send it mean something.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, None, None]:
    """Have Ctrl-C end the run: out of a nursery it comes in a group, which pytest takes for the failure of a test."""
    try:
        return (yield)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            raise KeyboardInterrupt from group
        raise


@pytest.fixture(scope="session")
def postgres_server(kathikon_postgres_server: PostgresServer) -> PostgresServer:
    """The server of the run."""
    return kathikon_postgres_server


@pytest.fixture
def postgres_dsn(kathikon_postgres: str) -> str:
    """The address of a fresh, empty database."""
    return kathikon_postgres


if "KATHIKON_RUNTIME_DIR" not in os.environ:
    # Control sockets of the nodes that tests start, killed ones included, lie here and go with the run.
    os.environ["KATHIKON_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="kathikon-test-")
    atexit.register(shutil.rmtree, os.environ["KATHIKON_RUNTIME_DIR"], ignore_errors=True)
