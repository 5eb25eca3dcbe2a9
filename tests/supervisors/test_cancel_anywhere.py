"""Outer cancellation at any moment: in a start, a restart, a stop, a delay. The stop is always ordered and timed."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from supervisors import (
    Backoff,
    ChildSpec,
    FailedToStart,
    RestartLimitReached,
    open_dynamic_supervisor,
    open_supervisor,
    open_task_supervisor,
    supervisor_spec,
)
from tests.supervisors.tools import Diary, Puppet
from tests.support.waiting import run_within

seconds = st.sampled_from([0.0, 0.0, 0.3, 1.0, 2.5])
strategies = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])
leaves = st.fixed_dictionaries(
    {
        "start_time": seconds,
        "cleanup": seconds,
        "shutdown": st.sampled_from([0.5, 2.0]),
        "restart": st.sampled_from(["permanent", "transient", "temporary"]),
        "backoff": st.sampled_from([None, None, Backoff(0.7, 2.0, jitter=0.0)]),
    }
)
inners = st.fixed_dictionaries({"strategy": strategies, "children": st.lists(leaves, max_size=3)})
trees = st.lists(st.one_of(leaves, leaves, inners), min_size=1, max_size=4)
crashes = st.lists(st.tuples(st.sampled_from([0.1, 0.5, 1.0, 2.0]), st.integers(0, 20)), max_size=6)


class Build:
    """Makes specs of a drawn tree, with a puppet for each leaf."""

    def __init__(self) -> None:
        self.diary = Diary()
        self.puppets: list[Puppet] = []
        self.outermost: list[tuple[int, Puppet]] = []
        self.patience = 0.0

    def spec(self, drawn: dict[str, Any], *, outermost: bool = False) -> ChildSpec:
        if "children" in drawn:
            children = [self.spec(child) for child in drawn["children"]]
            return supervisor_spec(f"s{len(self.puppets)}{id(drawn)}", children, strategy=drawn["strategy"])
        puppet = Puppet(self.diary, f"p{len(self.puppets)}")
        puppet.start_time, puppet.cleanup = drawn["start_time"], drawn["cleanup"]
        if outermost:
            self.outermost.append((len(self.puppets), puppet))
        self.puppets.append(puppet)
        self.patience += min(drawn["cleanup"], drawn["shutdown"])
        return puppet.spec(shutdown=drawn["shutdown"], restart=drawn["restart"], backoff=drawn["backoff"])


async def live_and_cancel(drawn: list[dict[str, Any]], strategy: Any, todo: list[tuple[float, int]], at: float) -> None:
    build = Build()
    specs = [build.spec(one, outermost=True) for one in drawn]
    begun = trio.current_time()
    gave_up = False
    written = 0
    with trio.CancelScope(deadline=begun + at) as scope:
        try:
            async with open_supervisor(specs, strategy=strategy):
                for pause, which in todo:
                    await trio.sleep(pause)
                    if build.puppets:
                        build.puppets[which % len(build.puppets)].end(ValueError("crash"))
                await trio.sleep_forever()
        except (RestartLimitReached, FailedToStart):
            gave_up = True
        finally:
            written = len(build.diary)
    assert scope.cancelled_caught or gave_up
    alive: set[str] = set()
    for line in build.diary:
        name = line[1:]
        if line[0] == "+":
            assert name not in alive, "two lives of one child at a time"
            alive.add(name)
        else:
            alive.discard(name)
    assert not alive, "a child outlived its supervisor"
    assert written == len(build.diary), "something happened after the supervisor's end"
    # One stop that was under way may have used up its time in part: never more than all of them together.
    if not gave_up:
        assert trio.current_time() <= begun + at + build.patience + 1e-6
    # An inner supervisor goes on living until its turn comes; the turns of the outermost children are seen by all.
    turns = [(puppet.asked[-1], -number) for number, puppet in build.outermost if puppet.asked]
    turns = [turn for turn in turns if turn[0][0] >= begun + at - 1e-6]
    assert sorted(turns) == sorted(turns, key=lambda turn: turn[1])


@settings(
    max_examples=400,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(drawn=trees, strategy=strategies, todo=crashes, at=st.integers(0, 120))
def cancel_many(drawn: list[dict[str, Any]], strategy: str, todo: list[tuple[float, int]], at: int) -> None:
    trio.run(live_and_cancel, drawn, strategy, todo, at / 10 + 0.05, clock=MockClock(autojump_threshold=0))


def test_cancelled_at_any_moment_a_tree_stops_in_order_and_in_time() -> None:
    """No orphan, no two lives of one child, no stop longer than the children's own time, in reverse order."""
    cancel_many()


@pytest.mark.parametrize("opening", [open_supervisor, open_dynamic_supervisor, open_task_supervisor])
@pytest.mark.parametrize("steps", range(6))
def test_a_block_that_is_cancelled_before_it_opens_ends_at_once(opening: Any, steps: int) -> None:
    """Cancelled before its first step, or a step or two later: nothing waits for a task that nobody can reach."""

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel_after(count: int) -> None:
                    for _ in range(count):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                if steps == 0:
                    scope.cancel()
                else:
                    nursery.start_soon(cancel_after, steps - 1)
                async with opening():
                    await trio.sleep_forever()
        assert scope.cancelled_caught

    run_within(20, main)
