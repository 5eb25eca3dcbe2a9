"""The fixtures, as a user's own test run sees them."""

from __future__ import annotations

import pytest

TEST = """
import pytest
from kathikon_actors import App, Queue, worker

@worker
def double(n: int) -> int:
    return 2 * n

@pytest.fixture
def kathikon_app():
    return App(queues=[Queue("default")], workers=[double])

@pytest.fixture(params=["memory", "postgres"])
def kathikon_store(request):
    return "memory:" if request.param == "memory" else request.getfixturevalue("kathikon_postgres")

async def test_double(kathikon_node):
    job = await kathikon_node.insert(double.new(21))
    assert (await kathikon_node.wait(job.id, timeout=20)).result == 42
"""


@pytest.fixture
def own_run(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\ntrio_mode = true\naddopts = -p kathikon_actors.testing.plugin -p no:cacheprovider")
    return pytester


def test_a_node_and_a_database_come_as_fixtures(own_run: pytest.Pytester) -> None:
    """The user says which app; the store may be a fresh database."""
    own_run.makepyfile(TEST)
    own_run.runpytest_subprocess("-q").assert_outcomes(passed=2)


def test_a_missing_app_is_said_in_one_sentence(own_run: pytest.Pytester) -> None:
    """The node's fixture tells what to define."""
    own_run.makepyfile("async def test_it(kathikon_node):\n    pass\n")
    result = own_run.runpytest_subprocess("-q")
    result.stdout.fnmatch_lines(["*define one that returns your App*"])
