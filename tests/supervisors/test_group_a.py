"""Checklist A: specs and validation."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from supervisors import (
    BRUTAL_KILL,
    ChildSpec,
    DuplicateChild,
    InvalidSpec,
    check_childspecs,
    open_supervisor,
    supervisor_spec,
)
from tests.supervisors.tools import puppets, settle


async def test_a1_a_bare_spec_has_otps_defaults(autojump_clock: MockClock) -> None:
    """Given only id and start: permanent, not significant, 5 seconds, worker."""
    _, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        spec = tree.get_childspec("a")
    assert (spec.restart, spec.significant, spec.shutdown, spec.type) == ("permanent", False, 5.0, "worker")


def test_a2_a_supervisor_has_all_the_time_to_stop() -> None:
    """type="supervisor" makes shutdown infinite unless it is given."""
    assert ChildSpec("s", trio.sleep_forever, type="supervisor").shutdown == math.inf
    assert ChildSpec("s", trio.sleep_forever, type="supervisor", shutdown=1.0).shutdown == 1.0
    assert supervisor_spec("s", []).shutdown == math.inf


def test_a3_an_id_and_a_start_are_needed() -> None:
    """None is neither, and a missing one is a TypeError of Python's own."""
    with pytest.raises(InvalidSpec, match="id=None"):
        ChildSpec(None, trio.sleep_forever)
    with pytest.raises(InvalidSpec, match="start=None"):
        ChildSpec("a", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ChildSpec("a")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("restart", "sometimes"),
        ("type", "boss"),
        ("shutdown", -1),
        ("shutdown", "5"),
        ("start", 5),
        ("id", []),
        ("start_timeout", -1),
        ("backoff", 1.0),
        ("child_intensity", 3),
        ("child_intensity", (-1, 5)),
        ("restart_if", True),
    ],
)
def test_a4_each_bad_field_has_its_own_named_error(field: str, value: object) -> None:
    """The error carries the field, the value, and what is legal."""
    fields: dict[str, Any] = {"id": "a", "start": trio.sleep_forever, field: value}
    with pytest.raises(InvalidSpec) as caught:
        ChildSpec(**fields)
    assert (caught.value.field, caught.value.value) == (field, value) or field == "child_intensity"
    assert caught.value.field == field
    assert caught.value.legal


async def test_a5_a_duplicate_id_is_found_before_any_child_starts(autojump_clock: MockClock) -> None:
    """The first of the two does not run either."""
    diary, (a, b) = puppets("ab")
    with pytest.raises(DuplicateChild) as caught:
        async with open_supervisor([a.spec(), b.spec(), a.spec()]):
            raise AssertionError("must not open")
    assert (caught.value.value, diary) == ("a", [])


async def test_a6_one_float_one_and_true_are_three_ids(autojump_clock: MockClock) -> None:
    """Ids are compared by type and value."""
    _, (a, b, c) = puppets("abc")
    async with open_supervisor([a.spec(id=1), b.spec(id=1.0), c.spec(id=True)]) as tree:
        assert tree.which_child(1.0).info == "b1"
        assert tree.which_child(True).info == "c1"
        await tree.terminate_child(1)
        assert [info.state for info in tree.which_children()] == ["running", "running", "stopped"]


async def test_a7_significant_needs_a_restart_type_and_a_supervisor_that_fit(autojump_clock: MockClock) -> None:
    """Not with permanent, and not where auto_shutdown is never, at start and in start_child alike."""
    _, (a,) = puppets("a")
    with pytest.raises(InvalidSpec, match="significant"):
        a.spec(significant=True)
    spec = a.spec(significant=True, restart="transient")
    with pytest.raises(InvalidSpec, match="auto_shutdown"):
        async with open_supervisor([spec]):
            raise AssertionError("must not open")
    async with open_supervisor() as tree:
        with pytest.raises(InvalidSpec, match="auto_shutdown"):
            await tree.start_child(spec)
    assert a.starts == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_restarts", -1),
        ("max_restarts", 1.5),
        ("max_seconds", 0),
        ("max_seconds", -1),
        ("strategy", "two_for_one"),
        ("auto_shutdown", "always"),
        ("on_exceed", "shrug"),
        ("kill_timeout", 0),
        ("name", 3),
    ],
)
async def test_a8_each_bad_option_is_named(autojump_clock: MockClock, field: str, value: object) -> None:
    """Opening a supervisor with a bad option starts nothing."""
    _, (a,) = puppets("a")
    options: dict[str, Any] = {field: value}
    with pytest.raises(InvalidSpec) as caught:
        async with open_supervisor([a.spec()], **options):
            raise AssertionError("must not open")
    assert (caught.value.field, caught.value.value, a.starts) == (field, value, 0)


async def test_a9_shutdown_zero_asks_and_kills_at_once(autojump_clock: MockClock) -> None:
    """A cleanup of any length is cut off."""
    diary, (a,) = puppets("a")
    a.cleanup = 10
    started = trio.current_time()
    async with open_supervisor([a.spec(shutdown=0)]):
        pass
    assert (diary, trio.current_time() - started) == (["+a", "-a"], 0)


def test_a10_check_childspecs_starts_nothing() -> None:
    """It returns the specs, or raises the first error."""
    _, (a, b) = puppets("ab")
    assert [spec.id for spec in check_childspecs([a.spec(), b.spec(shutdown=BRUTAL_KILL)])] == ["a", "b"]
    with pytest.raises(DuplicateChild):
        check_childspecs([a.spec(), a.spec()])
    with pytest.raises(InvalidSpec, match="children=7"):
        check_childspecs([a.spec(), 7])  # type: ignore[list-item]
    assert a.starts == 0


async def test_a11_a_bad_spec_in_start_child_leaves_the_supervisor_alone(autojump_clock: MockClock) -> None:
    """The error goes to the caller; the children run on."""
    diary, (a,) = puppets("a")
    async with open_supervisor([a.spec()]) as tree:
        with pytest.raises(InvalidSpec):
            await tree.start_child("b")  # type: ignore[arg-type]
        await settle()
        assert diary == ["+a"]
        assert tree.count_children().specs == 1
