"""Workflows: order, circles, bad steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kathikon_actors.jobs.errors import BadConfiguration, InvalidJob, WorkflowCycle
from kathikon_actors.jobs.new_job import NewJob
from kathikon_actors.jobs.workflow import Workflow


def step() -> NewJob:
    return NewJob("w", {})


edges = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=25)


def workflow(edges: list[tuple[int, int]]) -> Workflow:
    """Ten steps; an edge says which one waits for which."""
    flow = Workflow()
    for number in range(10):
        flow.add(str(number), step(), after=[str(parent) for child, parent in edges if child == number])
    return flow


@given(edges=edges)
def test_each_step_comes_behind_all_that_it_waits_for(edges: list[tuple[int, int]]) -> None:
    """Where edges lead to smaller numbers only, there is no circle."""
    forward = [(max(pair), min(pair)) for pair in edges if pair[0] != pair[1]]
    seen: set[str] = set()
    for name, _, after in workflow(forward).in_order():
        assert set(after) <= seen
        assert len(after) == len(set(after))
        seen.add(name)
    assert len(seen) == 10


@given(edges=edges)
def test_a_circle_is_named_and_is_one(edges: list[tuple[int, int]]) -> None:
    """Each member waits for the next one, the last one for the first."""
    found: WorkflowCycle | None = None
    try:
        workflow(edges).in_order()
    except WorkflowCycle as error:
        found = error
    if found is None:
        return
    members = [int(name) for name in found.members]
    pairs = set(edges)
    assert len(members) == len(set(members))
    assert all((child, parent) in pairs for child, parent in zip(members, [*members[1:], members[0]], strict=True))
    assert all(name in str(found) for name in found.members)


def test_steps_may_be_added_in_any_order() -> None:
    """A step may wait for one that comes later."""
    flow = Workflow().add("b", step(), after="a").add("a", step())
    assert [name for name, _, _ in flow.in_order()] == ["a", "b"]
    assert len(flow) == 2


def test_a_chain_of_many_steps_needs_no_stack() -> None:
    """Ten thousand."""
    flow = Workflow()
    for number in range(10_000):
        flow.add(str(number), step(), after=str(number - 1) if number else ())
    assert len(flow.in_order()) == 10_000


def test_bad_steps_are_refused() -> None:
    """Naming what, which and the next step."""
    flow = Workflow().add("fetch", step())
    with pytest.raises(BadConfiguration, match='there is a step "fetch" already'):
        flow.add("fetch", step())
    with pytest.raises(BadConfiguration, match="non-empty string"):
        flow.add("", step())
    with pytest.raises(InvalidJob, match=r"give worker\.new"):
        flow.add("x", "job")  # type: ignore[arg-type]
    for after in (5, None, [5]):
        with pytest.raises(BadConfiguration, match='step "x" is after .*give names of steps'):
            flow.add("x", step(), after=after)  # type: ignore[arg-type]
    flow.add("report", step(), after="fetsch", on_dependency_failure="run")
    with pytest.raises(BadConfiguration, match='"report" waits for "fetsch".*Did you mean "fetch"'):
        flow.in_order()
    with pytest.raises(WorkflowCycle, match="a -> a"):
        Workflow().add("a", step(), after="a").in_order()
