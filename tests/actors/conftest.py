"""Each number of the checklist runs twice: with the actor as a task and as a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from kathikon_actors.actors.recipe import Isolation
from tests.actors.tools import Stage, end_zygote, open_stage


@pytest.fixture(params=["task", "process"])
def isolation(request: pytest.FixtureRequest) -> Isolation:
    """Where the actor under test lives."""
    kind: Isolation = request.param
    return kind


@pytest.fixture
async def stage(nursery: trio.Nursery) -> AsyncIterator[Stage]:
    """A system with a diary; a test that waits for what does not come fails."""
    nursery.start_soon(_fail_later)
    async with open_stage() as opened:
        yield opened


async def _fail_later() -> None:
    await trio.sleep(90)
    raise TimeoutError("the test has taken more than 90 s")


@pytest.fixture(scope="session", autouse=True)
def _zygote_ends() -> Iterator[None]:
    yield
    end_zygote()
